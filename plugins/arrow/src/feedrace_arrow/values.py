"""From an Arrow array to numpy: the values of one field of many records, ready to be taken.

Nothing here knows of files.
"""

import math
from collections.abc import Sequence
from typing import Any, Protocol

import attrs
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds
from numpy.typing import NDArray

from feedrace_arrow.fields import ArrowField

Mask = NDArray[np.bool_]
Level = NDArray[np.int64] | int  # the offsets of lists, or the length of all of them
_BINARY = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}
_FEW = 16  # rows that are taken one by one


class Values(Protocol):
    """The values of one field."""

    @property
    def nbytes(self) -> int: ...

    def put(self, rows: NDArray[np.int64], into: NDArray[Any], slots: NDArray[np.int64]) -> None:
        """Copy the values of some rows into the slots of a batch's array."""
        ...


@attrs.frozen(eq=False)
class Fixed:
    """Values of one shape: an array with the rows as its leading axis."""

    array: NDArray[Any]

    @property
    def nbytes(self) -> int:
        return self.array.nbytes

    def put(self, rows: NDArray[np.int64], into: NDArray[Any], slots: NDArray[np.int64]) -> None:
        if len(rows):
            _items(into)[slots] = _items(self.array)[rows]


def _items(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array as one of items of opaque bytes, which numpy gathers almost twice as fast."""
    if array.ndim == 1 or array.size == 0 or array.dtype.hasobject or not array.flags.c_contiguous:
        return array
    return array.reshape(len(array), -1).view(f"V{array.nbytes // len(array)}")[:, 0]


@attrs.frozen(eq=False)
class Texts:
    """Strings or bytes, kept as Arrow has them; null is `fill`."""

    array: Any
    fill: Any

    @property
    def nbytes(self) -> int:
        return int(self.array.nbytes)

    def put(self, rows: NDArray[np.int64], into: NDArray[Any], slots: NDArray[np.int64]) -> None:
        if len(rows) < _FEW:
            taken = [self.array[row].as_py() for row in rows.tolist()]
        else:
            taken = self.array.take(pa.array(rows)).to_pylist()
        for slot, value in zip(slots.tolist(), taken, strict=True):
            into[slot] = self.fill if value is None else value


@attrs.frozen(eq=False)
class Ragged:
    """Values whose shape varies: those of row i are `array[bounds[i] : bounds[i + 1]]`.

    shapes: int64 (rows, axes).
    """

    array: NDArray[Any]
    bounds: NDArray[np.int64]
    shapes: NDArray[np.int64]

    @property
    def nbytes(self) -> int:
        own = 64 * len(self.array) if self.array.dtype == object else self.array.nbytes
        return own + self.bounds.nbytes + self.shapes.nbytes

    def put(self, rows: NDArray[np.int64], into: NDArray[Any], slots: NDArray[np.int64]) -> None:
        starts, stops = self.bounds[rows].tolist(), self.bounds[rows + 1].tolist()
        if self.shapes.shape[1] == 1:
            for slot, start, stop in zip(slots.tolist(), starts, stops, strict=True):
                into[slot] = self.array[start:stop].copy()
            return
        shapes = self.shapes[rows].tolist()
        for slot, start, stop, shape in zip(slots.tolist(), starts, stops, shapes, strict=True):
            into[slot] = self.array[start:stop].reshape(shape).copy()


@attrs.frozen(eq=False)
class Converted:
    """The values of a field, and which of its rows are bad, and why."""

    values: Values
    problems: tuple[tuple[Mask, str], ...] = ()


def bad_rows(fields: Sequence[Converted], rows: NDArray[np.int64]) -> dict[int, str]:
    """Return the places, among some rows, of those that are bad, and why."""
    bad: dict[int, str] = {}
    for field in fields:
        for mask, reason in field.problems:
            for place in np.flatnonzero(mask[rows]).tolist():
                bad.setdefault(place, reason)
    return bad


def converted(array: Any, field: ArrowField) -> Converted:
    """Return the values of a field from its column, an array or chunked array."""
    return _Walk(field, len(array)).go(one_array(array))


def one_array(array: Any) -> Any:
    """Return a chunked array as one array; long texts get offsets of 64 bits."""
    if not isinstance(array, pa.ChunkedArray):
        return array
    if array.num_chunks == 1:
        return array.chunk(0)
    if array.nbytes >= 1 << 31:
        wide = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}
        array = array.cast(wide.get(array.type, array.type))
    if kinds.is_dictionary(array.type):
        array = array.unify_dictionaries()
    return array.combine_chunks()


def leaf_array(array: Any, field: ArrowField) -> Any:
    """Return the values at the end of a field's steps as one Arrow array."""
    walk = _Walk(field, len(array))
    return walk.descend(one_array(array))


class _Walk:
    """The way from a column to the values of a field."""

    def __init__(self, field: ArrowField, rows: int) -> None:
        self.field, self.rows = field, rows
        self.levels: list[Level] = []
        self.nulls: Mask | None = None  # which of the entries at the present depth are null
        self.filled: Mask | None = None  # rows whose list is null and stands for `fill`
        self.shapes: NDArray[np.int64] | None = None  # that lie beside flat values
        self.problems: list[tuple[Mask, str]] = []

    def go(self, array: Any) -> Converted:
        array = self._checked(self.descend(array))
        self._add_nulls(array)
        if self.nulls is not None and self.field.fill is None:
            self._problem(self.nulls, self._null())
        if self.field.leaf.dtype == object and not self.levels:
            return Converted(Texts(array, self.field.fill), tuple(self.problems))
        flat = self._flat(array)
        values = self._shaped(flat) if self.field.written is None else self._written(flat)
        return Converted(values, tuple(self.problems))

    def _null(self) -> str:
        name = self.field.leaf.dotted
        return f"{name} is null; give what stands for null: nulls = {{ {name} = ... }}"

    def descend(self, array: Any) -> Any:
        """Return the array at the end of the steps."""
        for step in self.field.steps:
            array = _storage(array)
            if isinstance(step, str):
                # With the struct's own null among theirs.
                children = dict(
                    zip([child.name for child in array.type], array.flatten(), strict=True)
                )
                array = children[step]
                if self.field.written is not None and step == "values" and "shape" in children:
                    shapes = np.asarray(children["shape"].flatten(), np.int64)
                    self.shapes = shapes.reshape(self.rows, -1)
            elif step is None:
                array = self._items(array)
            else:
                size = math.prod(step)
                self._add_nulls(array)
                self._repeat_nulls(size)
                array = array.values.slice(array.offset * size, len(array) * size)
                self.levels += step
        return _storage(array)

    def _checked(self, array: Any) -> Any:
        """Return an array without texts that are no UTF-8, which are noted."""
        binary = _BINARY.get(array.type)
        if binary is None:
            return array
        try:
            array.validate(full=True)
            return array
        except pa.ArrowInvalid:
            raw = array.cast(binary).to_pylist()
        bad = np.fromiter(map(_is_no_text, raw), bool, len(raw))
        self._problem(bad, f"{self.field.leaf.dotted} is no UTF-8; read it as bytes by `types`")
        good = [None if wrong else value for value, wrong in zip(raw, bad.tolist(), strict=True)]
        return pa.array(good, binary).cast(array.type)

    def _items(self, array: Any) -> Any:
        if array.null_count:
            null = np.asarray(array.is_null())
            if self.field.fill is None:
                self._problem(null, self._null())
            elif not self.levels:
                self.filled = null
        lengths = np.asarray(pc.fill_null(pc.list_value_length(array), 0), np.int64)
        self._repeat_nulls(lengths)
        self.levels.append(np.concatenate([[0], np.cumsum(lengths)]))
        return array.flatten()

    def _add_nulls(self, array: Any) -> None:
        if array.null_count:
            null = np.asarray(array.is_null())
            self.nulls = null if self.nulls is None else self.nulls | null

    def _repeat_nulls(self, counts: Any) -> None:
        if self.nulls is not None:
            self.nulls = np.repeat(self.nulls, counts)

    def _problem(self, entries: Mask, reason: str) -> None:
        """Note what is wrong with the rows that some entries at the present depth belong to."""
        if entries.any():
            for level in reversed(self.levels):
                entries = _any_of(entries, level)
            self.problems.append((entries, reason))

    def _flat(self, array: Any) -> NDArray[Any]:
        """Return the values, one after another; null is `fill`, or 0."""
        if kinds.is_dictionary(array.type):
            values = self._codes(array)
        elif self.field.leaf.dtype == object:
            values = np.fromiter(array.to_pylist(), object, len(array))
        else:
            if kinds.is_temporal(array.type):
                array = array.view(pa.int32() if array.type.bit_width == 32 else pa.int64())
            if array.null_count:  # whose place holds some number
                parts = [None, array.buffers()[1]]
                array = pa.Array.from_buffers(array.type, len(array), parts, offset=array.offset)
            # A copy costs less than keeping what Arrow decoded into: numpy's large arrays lie in
            # huge pages, and Arrow decodes the next block into memory that it has. Nor does a view
            # of a few columns keep all others.
            values = np.array(array.to_numpy(zero_copy_only=False))
        if self.nulls is not None:
            blank = b"" if values.dtype == object else 0
            values[self.nulls] = blank if self.field.fill is None else self.field.fill
        return values

    def _codes(self, array: Any) -> NDArray[Any]:
        known = {value: code for code, value in enumerate(self.field.categories or ())}
        own = [known.get(value, -1) for value in array.dictionary.to_pylist()]
        indices = np.asarray(pc.fill_null(array.indices, 0), np.int64)
        codes = np.array([*own, -1], np.int32)[indices]
        strange = codes < 0
        if self.nulls is not None:
            strange &= ~self.nulls
        if strange.any():
            self._problem(strange, f"{self.field.leaf.dotted} holds a value that no category is")
        return codes

    def _shaped(self, values: NDArray[Any]) -> Values:
        """Return the values by rows, in the shape of the field."""
        shape = self.field.leaf.shape
        if all(isinstance(level, int) for level in self.levels):
            return Fixed(values.reshape(self.rows, *(size or 0 for size in shape)))
        bounds, shapes = self._bounds()
        good = ~self._wrong(shapes)
        if None in shape:
            return Ragged(values, bounds, shapes)
        sizes = [size or 0 for size in shape]
        if good.all():
            return Fixed(values[bounds[0] : bounds[-1]].reshape(self.rows, *sizes))
        array = np.zeros((self.rows, *sizes), values.dtype)
        if self.filled is not None:
            array[self.filled] = self.field.fill
        kept = np.repeat(good, np.diff(bounds))
        array[good] = values[bounds[0] : bounds[-1]][kept].reshape(-1, *sizes)
        return Fixed(array)

    def _written(self, values: NDArray[Any]) -> Values:
        """Return flat values by rows, as `feedrace convert` had them."""
        leaf, parts = self.field.leaf, self.field.written.parts if self.field.written else 1
        if leaf.dtype != object:
            values = values.view(leaf.dtype)
        shape = [-1 if size is None else size for size in leaf.shape]
        if all(isinstance(level, int) for level in self.levels):
            return Fixed(values.reshape(self.rows, *shape))
        (level,) = self.levels
        bounds = np.asarray(level) // parts
        counts, shapes = np.diff(bounds), self.shapes
        if shapes is None:  # one axis varies
            known = math.prod(size for size in shape if size >= 0)
            shapes = np.tile(np.array(shape, np.int64), (self.rows, 1))
            shapes[shapes < 0] = counts // known
        fits = (np.array(shape) < 0) | (shapes == shape)
        wrong = ~fits.all(axis=1) | (shapes.prod(axis=1) != counts)
        if wrong.any():
            self.problems.append((wrong, f"{leaf.dotted} has another shape than was written"))
        if None not in leaf.shape:  # an axis of length 0
            return Fixed(np.zeros((self.rows, *shape), values.dtype))
        return Ragged(values, bounds, shapes)

    def _bounds(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return where the values of each row begin and end, and its shape: (rows, axes).

        Rows whose lists differ in length are no arrays.
        """
        bounds = np.arange(self.rows + 1)
        shapes: list[NDArray[np.int64]] = []
        for level in self.levels:
            if isinstance(level, int):
                shapes.append(np.full(self.rows, level))
                bounds = bounds * level
                continue
            lengths, counts = np.diff(level), np.diff(bounds)
            size = np.zeros(self.rows, np.int64)
            size[counts > 0] = lengths[bounds[:-1][counts > 0]]
            uneven = _any_of(lengths != np.repeat(size, counts), bounds)
            if uneven.any():
                reason = f"{self.field.leaf.dotted} holds lists of several lengths: no array"
                self.problems.append((uneven, reason))
                size[uneven] = 0
            shapes.append(size)
            bounds = level[bounds]
        return bounds, np.stack(shapes, axis=1)

    def _wrong(self, shapes: NDArray[np.int64]) -> Mask:
        """Return which rows have another shape than the field, and note them."""
        wrong = np.zeros(self.rows, bool)
        for axis, size in enumerate(self.field.leaf.shape):
            if size is not None:
                wrong |= shapes[:, axis] != size
        strange = wrong if self.filled is None else wrong & ~self.filled
        if strange.any():
            wanted = ["any" if size is None else size for size in self.field.leaf.shape]
            reason = f"{self.field.leaf.dotted} has another shape than {wanted}"
            self.problems.append((strange, reason))
        return wrong


def _is_no_text(value: bytes | None) -> bool:
    try:
        _ = value is None or value.decode()
    except UnicodeDecodeError:
        return True
    return False


def _storage(array: Any) -> Any:
    return array.storage if isinstance(array.type, pa.BaseExtensionType) else array


def _any_of(entries: Mask, level: Level) -> Mask:
    """Return which of the lists of a level have an entry among `entries`."""
    if isinstance(level, int):
        return np.asarray(entries.reshape(-1, level).any(axis=1))
    before = np.concatenate([[0], np.cumsum(entries)])
    found: Mask = before[level[1:]] > before[level[:-1]]
    return found
