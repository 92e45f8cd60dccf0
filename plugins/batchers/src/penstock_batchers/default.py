"""The batcher that takes records as they come."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from penstock import BatcherModule, DataError, StructuralConfig, specs
from penstock.source import split_records
from penstock_batchers.stacking import Stacker


class DefaultBatcher(BatcherModule):
    """Stacks records into batches; a short last batch is padded and masked, or dropped.

    collate_fn: function of a list of elements that gives a pytree of arrays with a leading axis of
        their number, in place of stacking them; padding and mask are added to it. A config cannot
        hold it, so that `pipeline.config` is refused then.
    """

    def __init__(
        self,
        config: StructuralConfig,
        *,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        rngs: nnx.Rngs | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(config, rngs=rngs, name=name)
        if collate_fn is not None and not callable(collate_fn):
            raise TypeError(f"collate_fn is {collate_fn!r}, which cannot be called")
        self._collate_with(collate_fn)

    def _collate_with(self, collate_fn: Callable[[list[Any]], Any] | None) -> None:
        self.collate_fn = collate_fn
        self.row_wise = collate_fn is None
        self.unnamed = "" if self.row_wise else "has a collate_fn, which no config can hold"

    def process(
        self,
        elements: Iterable[Any],
        *args: Any,
        batch_size: int,
        drop_remainder: bool = False,
        **kwargs: Any,
    ) -> Iterator[dict[str, Any]]:
        """Return an iterator of batches; no elements give no batch.

        elements: pytrees of one structure, their leaves of one shape and dtype. A pytree that is
            not a dict stands under the key "data".

        Raises `ConfigError` for a batch size below 1; `DataError`, on the way, for an element that
        is unlike the first, and for an integer that does not fit the dtype that arrives.
        """
        specs.check_batch_size(batch_size)
        return self._batches(iter(elements), batch_size, drop_remainder)

    def _batches(
        self, elements: Iterator[Any], batch_size: int, drop_remainder: bool
    ) -> Iterator[dict[str, Any]]:
        stacker = None
        number = 0
        while group := list(itertools.islice(elements, batch_size)):
            if len(group) < batch_size and drop_remainder:
                self._skipped_count.set_value(self._skipped_count.get_value() + len(group))
                return
            if self.collate_fn is not None:
                yield specs.pad_batch(self._collated(group), batch_size=batch_size)
            else:
                stacker = stacker or Stacker(group[0])
                batch = stacker.stack(group, number, batch_size)
                yield {**batch, specs.VALID_MASK: np.arange(batch_size) < len(group)}
            number += len(group)

    def collate(self, records: dict[str, Any], *, batch_size: int) -> dict[str, Any]:
        """Return a batch of up to `batch_size` records that are stacked already.

        A whole batch is passed on as it is, with its mask. Raises `DataError` for fields whose
        length differs from record to record, unless there is a `collate_fn`.
        """
        if self.collate_fn is not None:
            host = jax.tree.map(_on_host, records)
            records = self._collated(list(split_records(host)))
        return specs.pad_batch(records, batch_size=batch_size)

    def batch_spec(self, element_spec: Any, *, batch_size: int) -> dict[str, Any]:
        """Return the spec of a batch: a leading `(batch_size,)` on each leaf, and `valid_mask`.

        Where there is a `collate_fn` it is called with one element of zeros; where that fails,
        `NotImplementedError` is raised. Raises `DataError` for fields whose length differs from
        record to record, unless there is a `collate_fn`.
        """
        if self.collate_fn is not None:
            specs.check_batch_size(batch_size)
            zeros = jax.tree.map(_zeros, element_spec)
            try:
                element_spec = specs.spec_of(self._collated([zeros]))
            except Exception as error:  # the function is the user's and may fail in any way
                raise NotImplementedError(
                    f"what collate_fn gives is not known before it is called: on an element of "
                    f"zeros it failed with {type(error).__name__}: {error}"
                ) from error
        return super().batch_spec(element_spec, batch_size=batch_size)

    def take_over(self, other: Self) -> None:
        super().take_over(other)
        self._collate_with(other.collate_fn)

    def _collated(self, elements: list[Any]) -> dict[str, Any]:
        """Return what `collate_fn` makes of the elements, as records."""
        assert self.collate_fn is not None
        made = self.collate_fn(elements)
        records: dict[str, Any] = made if isinstance(made, dict) else {"data": made}
        records = jax.tree_util.tree_map_with_path(
            lambda path, leaf: specs.canonical(jax.tree_util.keystr(path), leaf), records
        )
        count = specs.count_records(records)
        if count != len(elements):
            raise DataError(
                f"collate_fn gave arrays with leading axis {count} for {len(elements)} elements; "
                f"padding and mask are added to what it gives"
            )
        return records


def _on_host(leaf: Any) -> Any:
    keys = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.extended)
    return leaf if keys else np.asarray(leaf)


def _zeros(leaf: Any) -> Any:
    """Return an element's leaf of zeros, 1 long where its length may be any."""
    shape = tuple(1 if n is None else n for n in leaf.shape)
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(
            jnp.zeros((*shape, *jax.random.key_data(jax.random.key(0)).shape), np.uint32)
        )
    if specs.is_host_dtype(leaf.dtype):
        return np.full(shape, "", object) if shape else ""
    return np.zeros(shape, leaf.dtype)
