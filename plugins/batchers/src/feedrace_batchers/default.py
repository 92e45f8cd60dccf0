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
    code_digest,
    count_records,
    is_host_dtype,
    is_wide,
    leaves,
    map_leaves,
    pad_batch,
    spec_of,
    split_records,
)
from feedrace_batchers.sequences import check_plain, is_keys, shown
from feedrace_batchers.stacking import Stacker, check_names


class DefaultBatcher(BatcherModule):
    """Stacks records into batches; a short last batch is padded and masked, or dropped.

    collate_fn: function from a list of elements to a dict, list or tuple of arrays (which may be
        nested) with a leading axis of their number, used in place of stacking. Padding and mask are
        added to what it returns. All other axes must have the same size, whatever the elements. A
        config cannot hold it, so that `pipeline.config` raises.
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
        # The spec of a row that collate_fn made, for each kind of element that it received.
        self._row_specs: dict[Any, Any] = nnx.static(IdentityDict())
        self.unnamed = "" if self.row_wise else "has a collate_fn, which no config can hold"

    def identity(self) -> str:
        """Return a digest of `collate_fn`'s code, which decides what batches hold."""
        return "" if self.collate_fn is None else code_digest(self.collate_fn)

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

        Raises `ConfigError` for a batch size below 1; during iteration `DataError` for an element
        that is unlike the first, for a number that does not fit the dtype that arrives, and if
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

        The arrays of a full batch are passed on as they are. Raises `DataError` for fields whose
        length differs from record to record, unless there is a `collate_fn`, and if that gives
        other shapes or dtypes than it did before, or than `batch_spec` returned.
        """
        if self.collate_fn is not None:
            host = map_leaves(lambda leaf: leaf if is_keys(leaf) else np.asarray(leaf), records)
            kind = _kind(spec_of(host))
            made = self._collated(list(split_records(host)))
            records = _checked(made, self._row_specs, kind)
        check_names(records, "a record")
        return pad_batch(records, batch_size=batch_size)

    def batch_spec(self, element_spec: Any, *, batch_size: int) -> dict[str, Any]:
        """Return the spec of a batch: a leading `(batch_size,)` on each leaf, and `valid_mask`.

        A `collate_fn` is called with one element of zeros. Raises `NotImplementedError` if that
        fails, or if an axis of an element varies; without a `collate_fn` `DataError` for fields
        whose length differs from record to record.
        """
        if self.collate_fn is not None:
            check_batch_size(batch_size)
            for name, leaf in leaves(element_spec):
                if None in leaf.shape:
                    raise NotImplementedError(
                        f"what collate_fn gives is unknown before it is called: "
                        f"{name or 'the element'!r} has the shape {leaf.shape}, so that no element "
                        f"of zeros can represent all"
                    )
            zeros = map_leaves(_zeros, element_spec)
            kind = _kind(element_spec)
            try:
                element_spec = spec_of(self._collated([zeros]))
            except Exception as error:  # the function is the user's and may fail in any way
                raise NotImplementedError(
                    f"what collate_fn gives is unknown before it is called: on an element of "
                    f"zeros it failed with {type(error).__name__}: {error}"
                ) from error
            self._row_specs.setdefault(kind, element_spec)
        check_names(element_spec, "a record")
        return super().batch_spec(element_spec, batch_size=batch_size)

    def take_over(self, other: Self) -> None:
        """Take what a copy with another config keeps of `other`: statistics and `collate_fn`."""
        super().take_over(other)
        self._collate_with(other.collate_fn)

    def _collated(self, elements: list[Any]) -> dict[str, Any]:
        """Return what `collate_fn` makes of the elements, as records."""
        assert self.collate_fn is not None
        made = self.collate_fn(elements)
        records: dict[str, Any] = made if isinstance(made, dict) else {"data": made}
        check_names(records, "what collate_fn gave")
        names = iter([name for name, _ in leaves(records)])
        records = map_leaves(lambda leaf: _given(next(names), leaf), records)
        count = count_records(records)
        if count != len(elements):
            raise DataError(
                f"collate_fn gave arrays with leading axis {count} for {len(elements)} elements; "
                f"padding and mask are added to what it gives"
            )
        return records


def _given(name: str, leaf: Any) -> Any:
    """Return a leaf that `collate_fn` gave with the dtype that arrives; text as objects."""
    check_plain(leaf, f"field {name!r}, which collate_fn gave,")
    leaf = canonical(name, leaf, wide=is_wide())
    return leaf.astype(object) if is_host_dtype(leaf.dtype) else leaf


def _kind(element_spec: Any) -> Any:
    """Return what separates elements of other shapes or dtypes; ragged ones are all alike."""
    return frozenset(
        (name, None if None in leaf.shape else (leaf.shape, leaf.dtype))
        for name, leaf in leaves(element_spec)
    )


def _checked(records: dict[str, Any], row_specs: dict[Any, Any], kind: Any) -> dict[str, Any]:
    """Return the records; raise `DataError` if their spec is not that of the first of the kind."""
    found = spec_of(records)
    expected = row_specs.setdefault(kind, found)
    if found != expected:
        was, now = dict(leaves(expected)), dict(leaves(found))
        name = next(name for name in {**was, **now} if was.get(name) != now.get(name))
        raise DataError(
            f"collate_fn gave field {name!r} as {_row(now.get(name))} a row, and "
            f"{_row(was.get(name))} before; return one shape and dtype, whatever the elements (pad "
            f"to one length, or use the batcher `bucket`)"
        )
    return records


def _row(spec: Any) -> str:
    return "nothing" if spec is None else shown(spec.shape, spec.dtype)


def _zeros(leaf: Any) -> Any:
    """Return an element's leaf of zeros."""
    shape = leaf.shape
    if is_keys(leaf):
        return jax.random.wrap_key_data(
            jnp.zeros((*shape, *jax.random.key_data(jax.random.key(0)).shape), np.uint32)
        )
    if is_host_dtype(leaf.dtype):
        return np.full(shape, "", object) if shape else ""
    return np.zeros(shape, leaf.dtype)
