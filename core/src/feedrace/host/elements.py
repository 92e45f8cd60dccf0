"""Records of any object that gives them by number: named, checked and stacked; numpy alone."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from feedrace.errors import DataError, class_name, clipped, in_words
from feedrace.host.records import aligned, canonical, check_numbers, leaves, map_leaves
from feedrace.host.values import as_array, as_text, is_rounded
from feedrace.protocols import ManyAtOnce, provides

# One lock for all data sets: those that look separate may share what lies beneath, as the two
# halves of a split do. It can be taken again by a data set that reads from another one.
_ONE_THREAD = threading.RLock()
_INT = np.dtype(np.int64)
_PYTHONS = {np.dtype(np.float64): float, np.dtype(bool): bool}


@attrs.frozen
class Leaf:
    """What one field is in all records.

    shape: None for an axis that varies. dtype: of the arrays; object for text. arriving: the dtype
        that arrives on a device, which must hold integers that stand among floats. text: the type
        of strings: `str` or `bytes`; None for numbers.
    """

    shape: tuple[int | None, ...]
    dtype: Any
    arriving: Any
    text: type | None

    def __str__(self) -> str:
        return _shown(self.text, self.dtype, self.shape)

    def is_plainly(self, given: Any) -> bool:
        """Return whether a value can be put into its place as it is; for speed."""
        kind = type(given)
        if kind is np.ndarray:
            same = given.dtype == self.dtype and given.shape == self.shape
            return bool(same and self.text is None)
        if self.shape:
            return False
        if kind is int:
            return bool(self.dtype == _INT) and -(2**63) <= given < 2**63
        if isinstance(given, np.generic):
            return bool(self.text is None and given.dtype == self.dtype)
        return kind is self.text or kind is _PYTHONS.get(self.dtype)

    def room(self, count: int) -> NDArray[Any]:
        """Return an array to put this field of so many records into."""
        if None in self.shape:
            return np.empty(count, object)
        shape: Any = (count, *self.shape)
        return np.empty(shape, object) if self.text else aligned(shape, self.dtype)

    def value(self, name: str, given: Any) -> Any:
        """Return what a record gives for this field, as it is put into its place.

        Raises `DataError` if it is of another rank, shape or dtype.
        """
        array = _array(name, given)
        if self.text is None and array.dtype == self.dtype and array.shape == self.shape:
            return array
        text, array = _told(name, array)
        if array.size == 0 and isinstance(given, list) and self.shape[:1] in ((None,), (0,)):
            return np.empty([n or 0 for n in self.shape], self.dtype)  # says no more than that
        fits = len(array.shape) == len(self.shape) and all(
            n is None or n == m for n, m in zip(self.shape, array.shape, strict=True)
        )
        if not (fits and text == self.text and np.can_cast(array.dtype, self.dtype, "safe")):
            raise DataError(
                f"field {name!r} is {_shown(text, array.dtype, array.shape)}, expected {self}, as "
                f"in the first records"
            )
        if is_rounded(array, self.arriving):
            raise DataError(f"field {name!r} holds {clipped(given)}, which {self.arriving} rounds")
        if text and not self.shape:
            return array.item()
        return array.astype(self.dtype) if None in self.shape else array


@attrs.frozen(eq=False, kw_only=True)
class ElementReader:
    """Gives the records of an object by number; worker processes hold it, if it can be pickled.

    data: has `__len__` and `__getitem__`, or `__getitems__`. names: of the items of a tuple, or of
        a bare value. thread_safe: whether several threads may call it at a time; if not, one thread
        of a process calls any such object at a time.
    spec: a nest of `Leaf`s; empty before it is known.
    """

    data: Any
    length: int
    names: tuple[str, ...]
    thread_safe: bool
    spec: dict[str, Any] = attrs.field(factory=dict)

    def fetch(self, indices: NDArray[np.int64]) -> dict[str, Any]:
        """Return copies of these records.

        Raises `DataError` for a number out of range, and for a record that does not fit the spec;
        what the object itself raises is raised with the record's number as a note.
        """
        check_numbers(indices, self.length)
        into: dict[str, Any] = map_leaves(lambda leaf: leaf.room(len(indices)), self.spec)
        places = dict(leaves(into))
        fields = [(name, places[name], leaf) for name, leaf in leaves(self.spec)]
        is_flat = places.keys() == self.spec.keys()
        with nullcontext() if self.thread_safe else _ONE_THREAD:
            for row, (number, record) in enumerate(self.records(indices.tolist())):
                try:
                    if not is_flat or record.keys() != places.keys():
                        record = _checked_names(dict(_flat(record)), places)
                    for name, place, leaf in fields:
                        given = record[name]
                        place[row] = given if leaf.is_plainly(given) else leaf.value(name, given)
                except DataError as error:
                    raise _of(number, error) from error.__cause__
        return into

    def records(self, numbers: list[int]) -> Iterator[tuple[int, Mapping[Any, Any]]]:
        """Yield (number, mapping of field to what the object gives) for these records.

        One is to be used before the next is asked for: the object may use an element again.
        """
        together = numbers and provides(self.data, ManyAtOnce)
        elements = self._several(numbers) if together else ()
        number: Any
        for row, number in enumerate(numbers):
            try:
                element = elements[row] if together else self.data[number]
            except Exception as error:
                self._note("__getitem__", error, f"record {number}")
                raise
            if type(element) is dict and not self.names:
                yield number, element
                continue
            if type(element) is tuple and len(element) == len(self.names):
                yield number, dict(zip(self.names, element, strict=True))
                continue
            try:
                record = self._named(element)
            except DataError as error:
                raise _of(number, error) from None
            yield number, record

    def _several(self, numbers: list[int]) -> Sequence[Any]:
        what = f"records {clipped(numbers)}"
        try:
            given = self.data.__getitems__(numbers)
        except Exception as error:
            self._note("__getitems__", error, what)
            raise
        if not isinstance(given, Sequence) or len(given) != len(numbers):
            raise DataError(
                f"{class_name(self.data)}.__getitems__ returned {clipped(given, 80)} for {what}; "
                f"it returns a list with one element for each"
            )
        return given

    def _note(self, method: str, error: Exception, what: str) -> None:
        """Note on an error what raised it; raise `DataError` for one that would end a loop."""
        named = f"{class_name(self.data)}.{method}"
        if isinstance(error, LookupError | StopIteration | NotImplementedError):
            raise DataError(
                f"{named} raised {in_words(error)} for {what}; it has {self.length} records by its "
                f"__len__"
            ) from error
        error.add_note(f"in {named}, for {what}")

    def _named(self, element: Any) -> Mapping[Any, Any]:
        """Return an element as a mapping, with names for the items of a tuple."""
        if isinstance(element, Mapping):
            if not self.names:
                return element
            raise DataError("a dict has names of its own; leave names out")
        names = self.names or getattr(element, "_fields", ())
        items, what = (element,), f"an element of type {type(element).__name__}"
        if isinstance(element, tuple) or (isinstance(element, list) and len(names) != 1):
            items, what = tuple(element), f"a {type(element).__name__} of {len(element)}"
        if len(items) == len(names):
            return dict(zip(names, items, strict=True))
        shown = ", ".join(f'"{name}"' for name in _placeholders(len(items)))
        count = f"{len(items)} name{'s' * (len(items) > 1)}"
        raise DataError(
            f"{what} needs {count} for its fields, and {len(names)} are given; write "
            f'source=feedrace.create("source", "records", data=data, names=[{shown}])'
        )


def _placeholders(count: int) -> list[str]:
    return ["x", "y"][:count] if count < 3 else [f"x{i}" for i in range(count)]


def read_spec(reader: ElementReader, first: int, arriving: Callable[[Any], Any]) -> dict[str, Any]:
    """Return the nest of `Leaf`s that the first records show.

    An axis in which they differ becomes None; dtypes that differ become the one that holds all.
    arriving: returns the dtype that arrives for a dtype. Raises `DataError` if there are no records
    or they do not go together.
    """
    if reader.length < 1:
        raise DataError(f"{class_name(reader.data)} has 0 records; a source needs at least 1")
    seen: dict[str, list[_Seen]] = {}
    nest: Any = {}
    with nullcontext() if reader.thread_safe else _ONE_THREAD:
        for number, record in reader.records(list(range(min(first, reader.length)))):
            try:
                flat = dict(_flat(record))
                if not number:
                    nest, seen = _nest(record), {name: [] for name in flat}
                for name, given in _checked_names(flat, seen).items():
                    seen[name].append(_Seen.of(name, given))
            except DataError as error:
                raise _of(number, error) from error.__cause__
    if not seen:
        raise DataError(f"record 0 of {class_name(reader.data)} has no field")
    made = {name: _leaf(name, values, arriving) for name, values in seen.items()}
    spec: dict[str, Any] = map_leaves(made.__getitem__, nest)
    return spec


@attrs.frozen(eq=False)
class _Seen:
    """What one of the first records has in a field. unsaid: whether it is an empty list."""

    text: type | None
    array: NDArray[Any]
    unsaid: bool

    @classmethod
    def of(cls, name: str, given: Any) -> "_Seen":
        text, array = _told(name, _array(name, given))
        # A copy: the object may write into it when it makes the next record.
        return cls(text, array.copy(), array.size == 0 and isinstance(given, list))

    def __str__(self) -> str:
        return _shown(self.text, self.array.dtype, self.array.shape)


def _leaf(name: str, seen: list[_Seen], arriving: Callable[[Any], Any]) -> Leaf:
    """Return what a field is, from what the first records have."""
    told = [one for one in seen if not one.unsaid] or seen
    first = told[0]
    try:
        dtype = np.result_type(*{one.array.dtype for one in told})
    except TypeError:  # nothing holds both
        dtype = first.array.dtype
    for one in told:
        same = one.array.ndim == first.array.ndim and one.text == first.text
        if not same or not np.can_cast(one.array.dtype, dtype, "safe"):
            raise DataError(
                f"record {seen.index(one)}: field {name!r} is {one}; record {seen.index(first)} "
                f"has {first}; give all records one rank and dtype"
            )
    for number, one in enumerate(seen):
        if is_rounded(one.array, arriving(dtype)):
            held = clipped(one.array.tolist())
            raise DataError(
                f"record {number}: field {name!r} holds {held}, which {arriving(dtype)} rounds; "
                f"give all records one dtype"
            )
    sizes = [{one.array.shape[axis] for one in told} for axis in range(first.array.ndim)]
    if len(told) < len(seen):
        sizes[0].add(0)
    shape = tuple(size.pop() if len(size) == 1 else None for size in sizes)
    return Leaf(shape, dtype, arriving(dtype), first.text)


def _array(name: str, given: Any) -> NDArray[Any]:
    """Return what a record gives for a field as an array; raise `DataError` if that is none."""
    if given is None:
        raise DataError(
            f"field {name!r} is None; give a value that stands for a missing one, or leave the "
            f"field out"
        )
    array = as_array(name, given)
    if array is None:
        raise DataError(
            f"field {name!r} holds {clipped(given)}, lists of different lengths; make one list of "
            f"them, or pad them"
        )
    return array


def _told(name: str, array: NDArray[Any]) -> tuple[type | None, NDArray[Any]]:
    """Return the type of the strings in an array, None if it has numbers, and the array itself.

    Raises `DataError` for an array of something else.
    """
    if array.dtype.kind not in "OSU":
        return None, canonical(name, array, wide=True)
    array = as_text(name, array)
    return (bytes if isinstance(next(array.flat, ""), bytes) else str), array


def _flat(record: Mapping[Any, Any], outer: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted name, value) of a record, whose values may be mappings."""
    for key, value in record.items():
        if not isinstance(key, str):
            where = f"field {outer[:-1]!r} has" if outer else "it has"
            raise DataError(f"{where} the key {clipped(key)}, which is no string; write str(key)")
        if isinstance(value, Mapping):
            yield from _flat(value, f"{outer}{key}.")
        else:
            yield f"{outer}{key}", value


def _nest(record: Mapping[Any, Any], outer: str = "") -> dict[str, Any]:
    """Return a record as a nest of dicts whose leaves are their own dotted names."""
    return {
        key: _nest(value, f"{outer}{key}.") if isinstance(value, Mapping) else f"{outer}{key}"
        for key, value in record.items()
    }


def _checked_names(record: dict[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    if record.keys() != known.keys():
        found, expected = clipped(sorted(record)), clipped(sorted(known))
        raise DataError(f"it has the fields {found}, expected {expected}, as in the first records")
    return record


def _of(number: int, error: DataError) -> DataError:
    return DataError(f"record {number}: {error}")


def _shown(text: type | None, dtype: Any, shape: Sequence[int | None]) -> str:
    return f"{text.__name__ if text else dtype}{list(shape)}"
