"""How the decoded fields of records lie in a batch: fixed, padded or ragged."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from feedrace.errors import ConfigError, DataError, Problem, clipped, did_you_mean
from feedrace.host.records import aligned, arriving_dtype, canonical

Shape = tuple[int | None, ...]  # None for an axis that varies


def _as_dtype(dtype: Any) -> "np.dtype[Any]":
    made: np.dtype[Any] = np.dtype(dtype)
    return made


@attrs.frozen(eq=False)
class Leaf:
    """One array of a batch.

    name: its path in a batch: `("label",)`, or `("objects", "bbox")` of a nested one.
    shape, dtype: of one record's values; None for an axis that varies, dtype object for str, bytes.
    target: the shape that they are padded to, or None.
    source: the path of its values in a decoded record, if it is another.
    """

    name: tuple[str, ...]
    shape: Shape
    dtype: "np.dtype[Any]" = attrs.field(converter=_as_dtype)
    target: tuple[int, ...] | None = None
    source: tuple[str, ...] = attrs.Factory(lambda self: self.name, takes_self=True)

    @property
    def dotted(self) -> str:
        """The name as messages show it."""
        return ".".join(self.name)

    @property
    def is_ragged(self) -> bool:
        """Whether each record's values are a separate array."""
        return None in self.shape and self.target is None

    @property
    def length_name(self) -> tuple[str, ...]:
        """The path of the true lengths of padded values."""
        return (*self.name[:-1], f"{self.name[-1]}_length")

    def allocate(self, size: int) -> NDArray[Any]:
        """Return an array for `size` records."""
        if self.is_ragged:
            return np.empty(size, object)
        if self.target is not None:
            return _aligned((size, *self.target), self.dtype, fill=True)
        fixed = tuple(axis or 0 for axis in self.shape)
        try:
            return _aligned((size, *fixed), self.dtype, fill=False)
        except (MemoryError, ValueError) as error:  # damaged metadata may promise any shape
            raise DataError(
                f"field {self.dotted!r} has {self.dtype} values of shape {fixed}: {size} records "
                f"of it do not fit into memory; fetch fewer at once, or leave the field out"
            ) from error

    def allocate_lengths(self, size: int) -> NDArray[np.int32] | None:
        """Return an array for the true lengths of `size` records, or None if they have one shape.

        Shape (size,), or (size, varying axes) if several axes vary.
        """
        varying = self.shape.count(None)
        if self.target is None:
            return None
        return np.zeros((size, varying) if varying > 1 else size, np.int32)

    def put(self, array: NDArray[Any], lengths: Any, slot: int, value: Any) -> None:
        """Put one record's values into its slot.

        Raises `ValueError` for values of another shape, or longer than the padding.
        """
        if self.target is not None:
            true = _pad(array[slot], value, self.name)
            varying = [n for n, size in zip(true, self.shape, strict=True) if size is None]
            lengths[slot] = varying if len(varying) > 1 else varying[0]
        elif self.is_ragged:
            value = np.asarray(value, self.dtype)
            if value.ndim != len(self.shape):
                raise ValueError(f"{self.dotted} has shape {value.shape}")
            array[slot] = value
        elif np.shape(value) != self.shape:
            raise ValueError(f"{self.dotted} has shape {np.shape(value)}")
        else:
            array[slot] = value

    def blank(self, array: NDArray[Any], lengths: Any, slot: int) -> None:
        """Put nothing into a slot: zeros, None for strings, or an empty array."""
        if self.is_ragged:
            array[slot] = np.zeros([size or 0 for size in self.shape], self.dtype)
        else:
            array[slot] = None if self.dtype == object else 0
        if lengths is not None:
            lengths[slot] = 0

    def arriving(self, array: NDArray[Any], wide: bool) -> Any:
        """Return the array with the dtype that arrives on a device; a ragged one is changed.

        Raises `DataError` for a number that does not fit.
        """
        if arriving_dtype(self.dtype, wide=wide) == self.dtype:
            return array
        if not self.is_ragged:
            return canonical(self.dotted, array, wide=wide)
        for row, entry in enumerate(array):
            array[row] = canonical(self.dotted, entry, wide=wide)
        return array


@attrs.frozen(eq=False)
class Arrays:
    """The arrays of a batch that is being filled, one for each leaf, and their true lengths."""

    values: list[NDArray[Any]]
    lengths: list[NDArray[np.int32] | None]

    def part(self, start: int, stop: int) -> "Arrays":
        """Return views of the slots [start, stop)."""
        return Arrays(
            [array[start:stop] for array in self.values],
            [None if array is None else array[start:stop] for array in self.lengths],
        )

    def put(self, start: int, part: "Arrays") -> None:
        """Take over what a decoder put in place of the views of a part that begins at `start`."""
        for array, values in zip(self.values, part.values, strict=True):
            if values.base is not array.base:
                array[start : start + len(values)] = values


@attrs.frozen(eq=False)
class Field:
    """The shape and dtype of one field of a record."""

    shape: Shape
    dtype: "np.dtype[Any]"


def _as_leaves(leaves: Iterable[Leaf]) -> tuple[Leaf, ...]:
    return tuple(leaves)


@attrs.frozen(eq=False)
class Layout:
    """The leaves of a batch; the memory for a batch, and the batch when that is filled."""

    leaves: tuple[Leaf, ...] = attrs.field(converter=_as_leaves)

    def fields(self, *, wide: bool) -> dict[str, Any]:
        """Return a `Field` for each field of a record, nested as their names are.

        wide: whether JAX's x64 mode is on; the dtypes are those that arrive on a device. Strings
            have dtype object.
        """
        fields: dict[str, Any] = {}
        for leaf in self.leaves:
            shape = leaf.shape if leaf.target is None else leaf.target
            set_at(fields, leaf.name, Field(shape, arriving_dtype(leaf.dtype, wide=wide)))
            if leaf.target is not None:
                count = leaf.shape.count(None)
                lengths = Field((count,) if count > 1 else (), np.dtype(np.int32))
                set_at(fields, leaf.length_name, lengths)
        return fields

    def allocate(self, size: int) -> Arrays:
        """Return arrays for `size` records; ragged leaves are arrays of objects."""
        return Arrays(
            [leaf.allocate(size) for leaf in self.leaves],
            [leaf.allocate_lengths(size) for leaf in self.leaves],
        )

    def pack(self, arrays: Arrays, *, wide: bool) -> dict[str, Any]:
        """Return the arrays, with the dtypes that arrive, as a dict nested as their names are.

        The arrays belong to the dict afterwards. Raises `DataError` for a number that does not fit.
        """
        batch: dict[str, Any] = {}
        for leaf, values, lengths in self._each(arrays):
            set_at(batch, leaf.name, leaf.arriving(values, wide))
            if lengths is not None:
                set_at(batch, leaf.length_name, lengths)
        return batch

    def blank(self, arrays: Arrays, slot: int) -> None:
        """Put nothing into the slot of a record."""
        for leaf, values, lengths in self._each(arrays):
            leaf.blank(values, lengths, slot)

    def copy(self, arrays: Arrays, slot: int, other: Arrays, other_slot: int) -> None:
        """Copy a record from other arrays of this layout."""
        for into, out_of in ((arrays.values, other.values), (arrays.lengths, other.lengths)):
            for array, taken in zip(into, out_of, strict=True):
                if array is not None and taken is not None:
                    array[slot] = taken[other_slot]

    def decoded_bytes(self, records: int) -> int:
        """Return the bytes of so many records; a string or ragged leaf counts as a pointer."""
        return records * sum(leaf.allocate(1).nbytes for leaf in self.leaves)

    def ragged(self) -> list[str]:
        """Return the names of the leaves whose records differ in shape, with their shapes."""
        return [f"{leaf.dotted} {leaf.shape}" for leaf in self.leaves if leaf.is_ragged]

    def _each(self, arrays: Arrays) -> Iterator[tuple[Leaf, NDArray[Any], Any]]:
        return zip(self.leaves, arrays.values, arrays.lengths, strict=True)


def chosen(names: Sequence[str], columns: Sequence[str] | None, where: str) -> list[str]:
    """Return the columns that a config chooses, in the order of the config; None chooses all.

    names: those that there are. where: what has them, for the message.

    Raises `ConfigError` for one that there is not.
    """
    if columns is None:
        return list(names)
    problems = [
        Problem(
            f"columns[{i}]",
            f"{clipped(name)} is no column of {where}{did_you_mean(name, names)}; it has "
            f"{', '.join(names)}",
        )
        for i, name in enumerate(columns)
        if name not in names
    ]
    if problems:
        raise ConfigError(problems)
    return list(columns)


def set_at(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Set the value at a path of a nested dict."""
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = value


def _aligned(shape: tuple[int, ...], dtype: "np.dtype[Any]", *, fill: bool) -> NDArray[Any]:
    """Return an array whose memory XLA can take over as it is, with zeros if `fill`."""
    if dtype.hasobject:
        return np.full(shape, b"", object) if fill else np.empty(shape, object)
    array: NDArray[Any] = aligned(shape, dtype)
    if fill:
        array.fill(0)
    return array


def _pad(into: NDArray[Any], value: Any, name: tuple[str, ...]) -> list[int]:
    """Write values, which may be lists of arrays, at the front of `into`; return their lengths."""
    if isinstance(value, list):
        inner = [_pad(into[i], part, name) for i, part in enumerate(value[: len(into)])]
        true = [len(value), *(max(sizes) for sizes in zip(*inner, strict=True))]
        true += [0] * (into.ndim - len(true))
    else:
        value = np.asarray(value)
        true = list(value.shape)
    if len(true) != into.ndim or any(n > most for n, most in zip(true, into.shape, strict=True)):
        raise ValueError(
            f"{'.'.join(name)} has shape {tuple(true)}, more than pad_to leaves room for, "
            f"{into.shape}"
        )
    if not isinstance(value, list):
        into[tuple(map(slice, true))] = value
    return true
