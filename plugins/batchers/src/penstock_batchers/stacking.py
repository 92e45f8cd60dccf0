"""Elements into records: a dict of arrays with one leading axis, all like the first element."""

from collections.abc import Collection, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from penstock import DataError, specs


class Stacker:
    """Stacks elements, checking each against the first.

    first: pytree whose leaves are arrays, numbers or strings.
    sequences: names of fields whose length may differ from element to element; elements are dicts
        then, and these fields are arrays or lists of numbers.

    Raises `DataError` where an element is no dict and has to be, lacks a sequence, or has a field
    called `valid_mask`.
    """

    def __init__(self, first: Any, sequences: Collection[str] = ()) -> None:
        self._sequences: dict[str, Any] = dict.fromkeys(sequences)
        if isinstance(first, dict):
            specs.check_no_mask(first)
        rest = self._rest(first, 0)
        leaves: Any = jax.tree_util.tree_leaves_with_path(rest)
        self._structure: Any = jax.tree.structure(rest)
        self._paths = [jax.tree_util.keystr(path) for path, _ in leaves]
        self._specs = [
            leaf_spec(leaf, f"element 0{path}")
            for path, (_, leaf) in zip(self._paths, leaves, strict=True)
        ]
        for path, (_, leaf), (_, dtype) in zip(self._paths, leaves, self._specs, strict=True):
            if dtype is not str and dtype is not bytes:
                specs.canonical(f"element 0{path}", leaf)  # it refuses what JAX has not
        if not leaves and not self._sequences:
            raise DataError(f"element 0 is {first!r}, which has no leaf to batch")

    def stack(self, elements: Sequence[Any], number: int, size: int) -> dict[str, Any]:
        """Return the elements, the first of which is element `number`, as records.

        Every leaf gets a leading axis of `size`, at least the number of elements, the rest of it
        zeros (None for strings). Sequences come as 1-D arrays of arrays, without the rest. A
        pytree that is not a dict stands under "data".

        Raises `DataError` for an element unlike the first, and an integer that does not fit.
        """
        if self._sequences:
            rest = [self._rest(element, i) for i, element in enumerate(elements, number)]
        else:
            rest = list(elements)
        try:
            flat = list(map(self._structure.flatten_up_to, rest))
        except ValueError:
            self._refuse_structure(rest, number)
            raise
        stacked = []
        columns = zip(*flat, strict=True)
        for path, spec, column in zip(self._paths, self._specs, columns, strict=False):
            if not _all_like(column, spec):
                self._refuse_leaf(rest, column, path, spec, number)
            stacked.append(_stack_column(column, spec, size, path, number))
        batch = jax.tree.unflatten(self._structure, stacked)
        batch = batch if isinstance(batch, dict) else {"data": batch}
        for name in self._sequences:
            batch[name] = self._sequence_column(name, [e[name] for e in elements], number)
        return batch

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
        for i, value in enumerate(values):
            sequence = as_sequence(value, f"element {number + i}[{name!r}]")
            like = self._sequences[name]
            if like is None and (len(sequence) or hasattr(value, "dtype")):
                like = self._sequences[name] = sequence  # an empty list says nothing of its dtype
            if like is not None:
                if not len(sequence) and not hasattr(value, "dtype"):
                    sequence = like[:0]
                check_sequence(sequence, like, f"element {number + i}[{name!r}]", "the first")
            column[i] = sequence
        return column

    def _refuse_structure(self, elements: Sequence[Any], number: int) -> None:
        for i, element in enumerate(elements, number):
            if jax.tree.structure(element) != self._structure:
                raise DataError(
                    f"element {i} has the structure {jax.tree.structure(element)}; "
                    f"the first has {self._structure}"
                )

    def _refuse_leaf(
        self, elements: Sequence[Any], column: Sequence[Any], path: str, spec: Any, number: int
    ) -> None:
        self._refuse_structure(elements, number)
        for i, leaf in enumerate(column, number):
            if not is_like(leaf, spec):
                found = leaf_spec(leaf, f"element {i}{path}")
                raise DataError(f"element {i}{path} is {_shown(found)}; the first has "
                                f"{_shown(spec)}")  # fmt: skip


def leaf_spec(leaf: Any, name: str) -> tuple[Any, Any]:
    """Return (shape, dtype) of a leaf; the dtype is `str` or `bytes` for text.

    Raises `DataError` for anything but an array, a number or a string.
    """
    if isinstance(leaf, str | bytes):
        return (), bytes if isinstance(leaf, bytes) else str
    array = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
    if isinstance(leaf, int) and array.dtype == object:
        raise DataError(f"{name} is {leaf}, which fits no dtype; leave the field out")
    if isinstance(array, jax.Array) or array.dtype != object:
        if not isinstance(array, jax.Array) and array.dtype.kind in "US":
            return tuple(array.shape), bytes if array.dtype.kind == "S" else str
        return tuple(array.shape), array.dtype
    kinds = {type(entry) for entry in array.reshape(-1).tolist()}
    if kinds <= {str} or kinds == {bytes}:
        return tuple(array.shape), bytes if bytes in kinds else str
    raise DataError(
        f"{name} is {leaf!r}, of type {type(leaf).__name__}, which is neither an array of numbers "
        f"nor a number nor a string"
    )


def _all_like(column: Sequence[Any], spec: tuple[Any, Any]) -> bool:
    shape, dtype = spec
    plain = [type(x) is np.ndarray and x.shape == shape and x.dtype == dtype for x in column]
    return all(plain) or all(is_like(leaf, spec) for leaf in column)


def is_like(leaf: Any, spec: tuple[Any, Any]) -> bool:
    """Return whether a leaf has the shape and dtype of a spec."""
    try:
        return leaf_spec(leaf, "") == spec
    except (DataError, ValueError):  # it is told apart when it is refused
        return False


def as_sequence(value: Any, name: str) -> Any:
    """Return an array or list of numbers as a numpy array of at least one axis.

    Raises `DataError` for anything else.
    """
    if type(value) is np.ndarray and value.ndim and value.dtype.kind in "biufc":
        return value  # the common case, without the dear checks
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.extended):
        raise DataError(f"{name} is {value.dtype}; only numbers can be padded")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise DataError(f"{name} is no array: {error}") from error
    if array.dtype.kind in "OSU":
        raise DataError(f"{name} is {value!r}, which is not a sequence of numbers that fit")
    if array.ndim == 0:
        raise DataError(f"{name} is the single value {value!r}, not a sequence")
    return array


def check_sequence(sequence: Any, like: Any, name: str, other: str) -> None:
    """Raise `DataError` where two sequences differ in more than their lengths."""
    if sequence.dtype != like.dtype or sequence.shape[1:] != like.shape[1:]:
        raise DataError(
            f"{name} is {_shown(((None, *sequence.shape[1:]), sequence.dtype))}; {other} has "
            f"{_shown(((None, *like.shape[1:]), like.dtype))}"
        )


def _shown(spec: tuple[Any, Any]) -> str:
    shape, dtype = spec
    return f"{getattr(dtype, '__name__', dtype)}{list(shape)}".replace("None", "any")


def _stack_column(column: Sequence[Any], spec: Any, size: int, path: str, number: int) -> Any:
    shape, dtype = spec
    count = len(column)
    if dtype is str or dtype is bytes:
        texts = np.full((size, *shape), None, object)
        for i, leaf in enumerate(column):
            texts[i] = leaf
        return texts
    if any(isinstance(leaf, jax.Array) for leaf in column):
        stacked = jnp.stack(column)
        padding = jnp.broadcast_to(jnp.zeros_like(stacked[:1]), (size - count, *shape))
        return jnp.concatenate([stacked, padding]) if size > count else stacked
    wanted = specs.arriving_dtype(dtype)
    if dtype.kind in "iu" and wanted != dtype:
        whole = np.stack(column)
        try:
            column = specs.canonical(path, whole)
        except DataError:
            for i, leaf in enumerate(column, number):  # say which element it is
                specs.canonical(f"element {i}{path}", leaf)
            raise
    out = np.empty((size, *shape), wanted)
    if shape and isinstance(column, tuple):  # joining along an axis there is: quicker than stacking
        joined = out[:count].reshape(count * shape[0], *shape[1:])
        np.concatenate(column, out=joined, casting="same_kind")
    else:
        out[:count] = column
    out[count:] = np.zeros((), wanted)
    return out
