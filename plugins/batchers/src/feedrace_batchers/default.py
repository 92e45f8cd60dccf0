"""The batcher that takes records as they come."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from feedrace.plugin import (
    VALID_MASK,
    BatcherModule,
    DataError,
    IdentityDict,
    StructuralConfig,
    canonical,
    check_batch_size,
    count_records,
    is_host_dtype,
    pad_batch,
    spec_of,
    split_records,
)
from feedrace_batchers.stacking import Stacker, check_names, check_plain


class DefaultBatcher(BatcherModule):
    """Stacks records into batches; a short last batch is padded and masked, or dropped.

    collate_fn: function of a list of elements that gives a pytree of arrays with a leading axis of
        their number, in place of stacking them; padding and mask are added to it. All axes but that
        one have one size, whatever the elements. A config cannot hold it, so that `pipeline.config`
        is refused then.
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
        # What collate_fn gave a row, for each kind of element that it was given.
        self._row_specs: dict[Any, Any] = nnx.static(IdentityDict())
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
        is unlike the first, for an integer that does not fit the dtype that arrives, and where
        `collate_fn` gives other shapes or dtypes than it did for the first batch.
        """
        check_batch_size(batch_size)
        return self._batches(iter(elements), batch_size, drop_remainder)

    def _batches(
        self, elements: Iterator[Any], batch_size: int, drop_remainder: bool
    ) -> Iterator[dict[str, Any]]:
        stacker = None
        number = 0
        row_specs: dict[Any, Any] = {}
        while group := list(itertools.islice(elements, batch_size)):
            if len(group) < batch_size and drop_remainder:
                self._skipped_count.set_value(self._skipped_count.get_value() + len(group))
                return
            if self.collate_fn is not None:
                records = _checked(self._collated(group), row_specs, "first")
                yield pad_batch(records, batch_size=batch_size)
            else:
                stacker = stacker or Stacker(group[0])
                batch = stacker.stack(group, number, batch_size)
                yield {**batch, VALID_MASK: np.arange(batch_size) < len(group)}
            number += len(group)

    def collate(self, records: dict[str, Any], *, batch_size: int) -> dict[str, Any]:
        """Return a batch of up to `batch_size` records that are stacked already.

        A whole batch is passed on as it is, with its mask. Raises `DataError` for fields whose
        length differs from record to record, unless there is a `collate_fn`, and where that gives
        other shapes or dtypes than it did before, or than `batch_spec` says.
        """
        if self.collate_fn is not None:
            host = jax.tree.map(_on_host, records)
            kind = _kind(spec_of(host))
            made = self._collated(list(split_records(host)))
            records = _checked(made, self._row_specs, kind)
        check_names(records, "a record")
        return pad_batch(records, batch_size=batch_size)

    def batch_spec(self, element_spec: Any, *, batch_size: int) -> dict[str, Any]:
        """Return the spec of a batch: a leading `(batch_size,)` on each leaf, and `valid_mask`.

        Where there is a `collate_fn` it is called with one element of zeros; where that fails, or
        an element has an axis of no one size, `NotImplementedError` is raised. Raises `DataError`
        for fields whose length differs from record to record, unless there is a `collate_fn`.
        """
        if self.collate_fn is not None:
            check_batch_size(batch_size)
            for path, leaf in jax.tree_util.tree_leaves_with_path(element_spec):
                if None in leaf.shape:
                    name = jax.tree_util.keystr(path, simple=True, separator=".") or "the element"
                    raise NotImplementedError(
                        f"what collate_fn gives is not known before it is called: {name!r} has the "
                        f"shape {leaf.shape}, so that no element of zeros can stand for all"
                    )
            zeros = jax.tree.map(_zeros, element_spec)
            kind = _kind(element_spec)
            try:
                element_spec = spec_of(self._collated([zeros]))
            except Exception as error:  # the function is the user's and may fail in any way
                raise NotImplementedError(
                    f"what collate_fn gives is not known before it is called: on an element of "
                    f"zeros it failed with {type(error).__name__}: {error}"
                ) from error
            self._row_specs.setdefault(kind, element_spec)
        check_names(element_spec, "a record")
        return super().batch_spec(element_spec, batch_size=batch_size)

    def take_over(self, other: Self) -> None:
        super().take_over(other)
        self._collate_with(other.collate_fn)

    def _collated(self, elements: list[Any]) -> dict[str, Any]:
        """Return what `collate_fn` makes of the elements, as records."""
        assert self.collate_fn is not None
        made = self.collate_fn(elements)
        records: dict[str, Any] = made if isinstance(made, dict) else {"data": made}
        check_names(records, "what collate_fn gave")
        records = jax.tree_util.tree_map_with_path(_given, records)
        count = count_records(records)
        if count != len(elements):
            raise DataError(
                f"collate_fn gave arrays with leading axis {count} for {len(elements)} elements; "
                f"padding and mask are added to what it gives"
            )
        return records


def _given(path: Any, leaf: Any) -> Any:
    """Return a leaf that `collate_fn` gave with the dtype that arrives; text as objects."""
    name = jax.tree_util.keystr(path, simple=True, separator=".")
    check_plain(leaf, f"field {name!r}, which collate_fn gave,")
    leaf = canonical(name, leaf)
    return leaf.astype(object) if is_host_dtype(leaf.dtype) else leaf


def _kind(element_spec: Any) -> Any:
    """Return what tells elements of other shapes or dtypes apart; ragged ones are all alike."""
    leaves, structure = jax.tree.flatten(element_spec)
    return structure, tuple(None if None in leaf.shape else leaf for leaf in leaves)


def _checked(records: dict[str, Any], row_specs: dict[Any, Any], kind: Any) -> dict[str, Any]:
    """Return the records; raises `DataError` where they are not as the first of their kind were."""
    found = spec_of(records)
    expected = row_specs.setdefault(kind, found)
    if found != expected:
        was = dict(jax.tree_util.tree_leaves_with_path(expected))
        now = dict(jax.tree_util.tree_leaves_with_path(found))
        path = next(path for path in {**was, **now} if was.get(path) != now.get(path))
        raise DataError(
            f"collate_fn gave {jax.tree_util.keystr(path)} as {_shown(now.get(path))} a row, and "
            f"{_shown(was.get(path))} before; whatever the elements, it has to give one shape and "
            f"dtype (pad to one length, or use the batcher `bucket`)"
        )
    return records


def _shown(spec: Any) -> str:
    return "nothing" if spec is None else f"{spec.dtype}{list(spec.shape)}"


def _on_host(leaf: Any) -> Any:
    keys = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.extended)
    return leaf if keys else np.asarray(leaf)


def _zeros(leaf: Any) -> Any:
    """Return an element's leaf of zeros."""
    shape = leaf.shape
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(
            jnp.zeros((*shape, *jax.random.key_data(jax.random.key(0)).shape), np.uint32)
        )
    if is_host_dtype(leaf.dtype):
        return np.full(shape, "", object) if shape else ""
    return np.zeros(shape, leaf.dtype)
