"""Elements into records: a dict of arrays with one leading axis, all like the first element."""

import operator
from collections.abc import Collection, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from feedrace.plugin import (
    VALID_MASK,
    DataError,
    arriving_dtype,
    canonical,
    check_no_mask,
    is_host_dtype,
    is_wide,
)
from feedrace_batchers.sequences import (
    as_sequence,
    check_plain,
    check_sequence,
    is_like_sequence,
    shown,
)


class Stacker:
    """Stacks elements, checking each against the first.

    first: pytree whose leaves are arrays, numbers or strings.
    sequences: names of fields whose length may differ from element to element; elements are then
        dicts, and these fields arrays or lists of numbers.

    Raises `DataError` for an element that is not a dict if there are sequences, that lacks one of
    them, or that has a field called `valid_mask` or by anything but a string.
    """

    def __init__(self, first: Any, sequences: Collection[str] = ()) -> None:
        self._sequences: dict[str, Any] = dict.fromkeys(sequences)
        check_names(first, "element 0")
        rest = self._rest(first, 0)
        self._structure: Any = jax.tree.structure(rest)
        flat = type(rest) is dict and jax.tree_util.all_leaves(rest.values())
        # Columns of flat dicts, which are frequent, need no flattening of each element.
        self._keys = list(rest) if flat else None
        leaves = list(rest.values()) if flat else jax.tree.leaves(rest)
        if not leaves and not self._sequences:
            raise DataError(f"element 0 is {first!r}, which has no leaf to batch")
        self._specs = []
        for i, leaf in enumerate(leaves):
            known = type(leaf) is np.ndarray and leaf.dtype.kind in "biufc"
            self._specs.append((leaf.shape, leaf.dtype) if known else self._first_spec(rest, i))

    def stack(self, elements: Sequence[Any], number: int, size: int) -> dict[str, Any]:
        """Return the elements, the first of which is element `number`, as records.

        Every leaf gets a leading axis of `size`, at least the number of elements, the rest of it
        zeros (None for strings). Sequences come as 1-D arrays of arrays, without the rest. A
        pytree that is not a dict stands under "data".

        Raises `DataError` for an element unlike the first, a number that does not fit, and a
        sequence whose dtype no element shows.
        """
        if self._sequences:
            rest = [self._rest(element, i) for i, element in enumerate(elements, number)]
        else:
            rest = list(elements)
        stacked = [
            self._stack_leaf(i, column, rest, number, size)
            for i, column in enumerate(self._columns(rest, number))
        ]
        if self._keys is not None:
            batch: dict[Any, Any] = dict(zip(self._keys, stacked, strict=True))
        else:
            made = jax.tree.unflatten(self._structure, stacked)
            batch = made if isinstance(made, dict) else {"data": made}
        for name in self._sequences:
            batch[name] = self._sequence_column(name, [e[name] for e in elements], number)
        return batch

    def _stack_leaf(
        self, leaf_number: int, column: Any, elements: list[Any], number: int, size: int
    ) -> Any:
        """Return one leaf of all elements, stacked."""
        spec = self._specs[leaf_number]
        joined = _joined(column, spec, size)
        if joined is not None:
            return joined
        if not _alike_numbers(column, spec) and not all(is_like(x, spec) for x in column):
            self._refuse_leaf(elements, column, leaf_number, number)
        try:
            return _stacked(column, spec, size)
        except DataError:
            path = self._path(elements[0], leaf_number)
            for i, value in enumerate(column, number):  # find the element
                canonical(f"element {i}{path}", value, wide=is_wide())
            raise

    def _columns(self, elements: list[Any], number: int) -> Any:
        """Return the values of each leaf; raise `DataError` if a structure differs."""
        try:
            if self._keys is None:
                return list(zip(*map(self._structure.flatten_up_to, elements), strict=True))
            if set(map(type, elements)) == {dict} and set(map(len, elements)) == {len(self._keys)}:
                return [list(map(operator.itemgetter(key), elements)) for key in self._keys]
        except (ValueError, KeyError):  # the element to blame is named below
            pass
        self._refuse_structure(elements, number)
        raise AssertionError("every element has the structure of the first")

    def _path(self, element: Any, leaf: int) -> str:
        """Return the path of a leaf, for messages."""
        if self._keys is not None:
            return f"[{self._keys[leaf]!r}]"
        paths: Any = jax.tree_util.tree_leaves_with_path(element)
        return jax.tree_util.keystr(paths[leaf][0])

    def _first_spec(self, first: Any, leaf: int) -> tuple[Any, Any]:
        """Return the spec of a leaf of the first element, if JAX can have it."""
        value = jax.tree.leaves(first)[leaf] if self._keys is None else first[self._keys[leaf]]
        name = f"element 0{self._path(first, leaf)}"
        spec = leaf_spec(value, name)
        if spec[1] is not str and spec[1] is not bytes:
            canonical(name, value, wide=is_wide())
        return spec

    def _rest(self, element: Any, number: int) -> Any:
        """Return an element without its sequences."""
        if not self._sequences:
            return element
        if not isinstance(element, dict):
            raise DataError(
                f"element {number} is {type(element).__name__}, not a dict with the fields "
                f"{', '.join(self._sequences)}"
            )
        missing = [name for name in self._sequences if name not in element]
        if missing:
            raise DataError(
                f"element {number} has no field {missing[0]!r}; it has {', '.join(element)}"
            )
        return {name: value for name, value in element.items() if name not in self._sequences}

    def _sequence_column(self, name: str, values: list[Any], number: int) -> Any:
        column = np.empty(len(values), object)
        unknown = []
        like = self._sequences[name]
        for i, value in enumerate(values):
            sequence = value
            if like is None or not is_like_sequence(value, like):
                where = f"element {number + i}[{name!r}]"
                sequence = as_sequence(value, where)
                if not len(sequence) and not hasattr(value, "dtype"):
                    unknown.append(i)  # an empty list does not show its dtype
                elif like is None:
                    like = self._sequences[name] = sequence
                else:
                    check_sequence(sequence, like, where, "the first")
            column[i] = sequence
        if like is None:
            raise DataError(
                f"element {number}[{name!r}] is an empty list, as are all in its window, so that "
                f"its dtype is unknown; give the first as an array with a dtype"
            )
        for i in unknown:
            column[i] = like[:0]
        return column

    def _refuse_structure(self, elements: Sequence[Any], number: int) -> None:
        for i, element in enumerate(elements, number):
            check_names(element, f"element {i}")
            structure = jax.tree.structure(element)
            if structure == self._structure:
                continue
            has, wanted = _paths(structure), _paths(self._structure)
            if missing := [path for path in wanted if path not in has]:
                raise DataError(f"element {i} has no {missing[0]}, which the first has")
            if extra := [path for path in has if path not in wanted]:
                raise DataError(f"element {i} has {extra[0]}, which the first lacks")
            raise DataError(
                f"element {i} has the structure {structure}; the first has {self._structure}"
            )

    def _refuse_leaf(
        self, elements: Sequence[Any], column: Sequence[Any], leaf_number: int, number: int
    ) -> None:
        self._refuse_structure(elements, number)
        path, spec = self._path(elements[0], leaf_number), self._specs[leaf_number]
        for i, leaf in enumerate(column, number):
            if not is_like(leaf, spec):
                found = leaf_spec(leaf, f"element {i}{path}")
                raise DataError(
                    f"element {i}{path} is {shown(*found)}; the first has {shown(*spec)}"
                )


def check_names(element: Any, name: str) -> None:
    """Raise `DataError` for a field called `valid_mask`, or by anything but a string."""
    if not isinstance(element, dict):
        return
    check_no_mask(element)
    for key in element:
        if not isinstance(key, str):
            raise DataError(
                f"{name} has a field called {key!r}, which cannot be sorted among names such as "
                f"{VALID_MASK!r}; call it {str(key)!r}"
            )


def _paths(structure: Any) -> list[str]:
    """Return the paths of all leaves."""
    whole = jax.tree.unflatten(structure, range(structure.num_leaves))
    paths = jax.tree_util.tree_leaves_with_path(whole)
    return [jax.tree_util.keystr(path) or "single value" for path, _ in paths]


def leaf_spec(leaf: Any, name: str) -> tuple[Any, Any]:
    """Return (shape, dtype) of a leaf; the dtype is `str` or `bytes` for text.

    Raises `DataError` for anything but an array, a number or a string.
    """
    if isinstance(leaf, str | bytes):
        return (), bytes if isinstance(leaf, bytes) else str
    if not hasattr(leaf, "dtype") and not isinstance(leaf, bool | int | float | complex):
        raise DataError(f"{name} is {leaf!r}, which is not an array, number or string")
    check_plain(leaf, name)
    array = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
    if isinstance(leaf, int) and array.dtype == object:
        raise DataError(f"{name} is {leaf}, which fits no dtype; leave the field out")
    if not isinstance(array, jax.Array) and array.dtype.names:
        raise DataError(f"{name} has the fields {array.dtype.names}; make them fields of a dict")
    if isinstance(array, jax.Array) or array.dtype != object:
        if not isinstance(array, jax.Array) and array.dtype.kind in "US":
            return tuple(array.shape), bytes if array.dtype.kind == "S" else str
        return tuple(array.shape), array.dtype
    kinds = {type(entry) for entry in array.reshape(-1).tolist()}
    if kinds <= {str} or kinds == {bytes}:
        return tuple(array.shape), bytes if bytes in kinds else str
    raise DataError(f"{name} is {leaf!r}, an array of neither numbers nor strings")


def is_like(leaf: Any, spec: tuple[Any, Any]) -> bool:
    """Return whether a leaf has the shape and dtype of a spec."""
    try:
        return leaf_spec(leaf, "") == spec
    except (DataError, ValueError):  # the reason is found when it is refused
        return False


def _alike_numbers(column: Sequence[Any], spec: tuple[Any, Any]) -> bool:
    """Return whether the leaves are numbers of one type, like the first: a quick `is_like`."""
    shape, dtype = spec
    kind = type(column[0])
    if shape or dtype is str or dtype is bytes or set(map(type, column)) != {kind}:
        return False
    if kind is int:
        return bool(dtype == np.int64) and -(2**63) <= min(column) <= max(column) < 2**63
    if kind is bool or kind is float:
        return bool(dtype == np.dtype(kind))
    return issubclass(kind, np.generic) and bool(column[0].dtype == dtype)


def _joined(column: Sequence[Any], spec: tuple[Any, Any], size: int) -> Any:
    """Return numpy leaves that are all like the spec, stacked; None for any others.

    Joining along an existing axis is faster than stacking, and checks the dtype and all other axes.
    """
    shape, dtype = spec
    if set(map(type, column)) != {np.ndarray} or not shape:
        return None
    if is_host_dtype(dtype) or arriving_dtype(dtype, wide=is_wide()) != dtype:
        return None
    if {len(leaf) if leaf.ndim else None for leaf in column} != {shape[0]}:
        return None
    out = np.empty((size, *shape), dtype)
    count = len(column)
    try:
        joined = out[:count].reshape(count * shape[0], *shape[1:])
        np.concatenate(column, out=joined, casting="no")
    except (TypeError, ValueError):
        return None
    out[count:] = np.zeros((), dtype)
    return out


def _stacked(column: Sequence[Any], spec: tuple[Any, Any], size: int) -> Any:
    """Return leaves that are all like the spec, stacked, in the dtype that arrives.

    Raises `DataError` if a number does not fit it.
    """
    shape, dtype = spec
    count = len(column)
    if dtype is str or dtype is bytes:
        texts = np.full((size, *shape), None, object)
        for i, leaf in enumerate(column):
            texts[i] = leaf
        return texts
    if any(isinstance(leaf, jax.Array) for leaf in column):
        whole = jnp.stack(column)
        padding = jnp.broadcast_to(jnp.zeros_like(whole[:1]), (size - count, *shape))
        return jnp.concatenate([whole, padding]) if size > count else whole
    stacked = np.stack(column) if shape else np.array(column)
    stacked = canonical("", stacked, wide=is_wide())
    out = np.empty((size, *shape), stacked.dtype)
    out[:count] = stacked
    out[count:] = np.zeros((), out.dtype)
    return out
