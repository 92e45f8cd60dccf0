"""The batcher that takes records as they come."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from penstock import BatcherModule, DataError, specs


class DefaultBatcher(BatcherModule):
    """Stacks records into batches; a short last batch is padded and masked, or dropped."""

    row_wise = True

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
        first: Any = None
        number = 0
        while group := list(itertools.islice(elements, batch_size)):
            first = group[0] if number == 0 else first
            if len(group) < batch_size and drop_remainder:
                self._skipped_count.set_value(self._skipped_count.get_value() + len(group))
                return
            yield self.collate(_stack(group, first, number), batch_size=batch_size)
            number += len(group)

    def collate(self, records: dict[str, Any], *, batch_size: int) -> dict[str, Any]:
        """Return a batch of up to `batch_size` records that are stacked already."""
        return specs.pad_batch(records, batch_size=batch_size)


def _stack(elements: list[Any], first: Any, number: int) -> dict[str, Any]:
    """Stack elements, the first of which is element `number`; all must be like `first`."""
    structure: Any = jax.tree.structure(first)
    paths = [jax.tree_util.keystr(p) for p, _ in jax.tree_util.tree_leaves_with_path(first)]
    expected = [_leaf_spec(leaf) for leaf in jax.tree.leaves(first)]
    columns: list[list[Any]] = [[] for _ in expected]
    for i, element in enumerate(elements, number):
        if jax.tree.structure(element) != structure:
            raise DataError(
                f"element {i} has the structure {jax.tree.structure(element)}; "
                f"the first has {structure}"
            )
        for leaf, column, spec, path in zip(
            jax.tree.leaves(element), columns, expected, paths, strict=True
        ):
            if _leaf_spec(leaf) != spec:
                raise DataError(f"element {i}{path} is {_leaf_spec(leaf)}; the first has {spec}")
            column.append(leaf)
    stacked = [_stack_leaf(path, column) for path, column in zip(paths, columns, strict=True)]
    batch = jax.tree.unflatten(structure, stacked)
    return batch if isinstance(batch, dict) else {"data": batch}


def _stack_leaf(path: str, column: list[Any]) -> Any:
    if isinstance(column[0], jax.Array):
        return jnp.stack(column)
    if isinstance(column[0], str | bytes):
        return np.array(column, dtype=object)
    return specs.canonical(path, np.stack(column))


def _leaf_spec(leaf: Any) -> tuple[Any, Any]:
    if isinstance(leaf, str | bytes):
        return (), type(leaf)
    array = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
    return tuple(array.shape), array.dtype
