"""Records by number from what a format's plugin writes, and one policy for the bad ones."""

import threading
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, Protocol, TypeVar

import attrs
import numpy as np
from numpy.typing import ArrayLike, NDArray

from feedrace.errors import DataError
from feedrace.host.records import check_numbers
from feedrace.storage.bad_records import BadRecord, too_many
from feedrace.storage.layout import Arrays, Layout
from feedrace.storage.ranges import Raw
from feedrace.storage.timing import DecodeClock, TimedReads

_BY_TABLE = "records are found by number, through a table of where each begins"

T = TypeVar("T")
Failure = tuple[int, Exception]  # the slot of a record, and why it could not be read or decoded


class Content(Protocol):
    """The records of a format: what a plugin writes.

    It can be pickled, needs no JAX, and several threads may load at a time.
    """

    @property
    def layout(self) -> Layout: ...

    def __len__(self) -> int: ...

    def load(self, numbers: NDArray[np.int64], arrays: Arrays) -> list[Failure]:
        """Put these records into the slots 0, 1, ... of arrays that the layout allocated.

        Return the slot of each that could not be read or decoded, and why. Raises `DataError` for
        what concerns more than a record, such as a file that is missing.
        """
        ...

    def locate(self, number: int) -> tuple[str, int]:
        """Return the path of a record's file, and its number in it, for messages."""
        ...

    def describe(self) -> list[str]:
        """Return sentences for `feedrace describe` on how records are found and decoded."""
        ...


class Decoder(Protocol):
    """Decodes raw records; it can be pickled, and several threads may use it."""

    @property
    def layout(self) -> Layout: ...

    def decode(self, records: Iterable[tuple[int, Raw]], arrays: Arrays) -> list[Failure]:
        """Put raw records into their slots; return which slots failed, and why."""
        ...


class RawRecords(Protocol):
    """Raw records by number, such as `Ranges`."""

    def __len__(self) -> int: ...

    def read(self, numbers: NDArray[np.int64]) -> Iterable[tuple[int, Raw]]: ...

    def locate(self, number: int) -> tuple[str, int]: ...


@attrs.frozen(eq=False)
class RawContent:
    """The `Content` of a format whose records are read raw, and then decoded one by one.

    sentences: what `describe` returns.
    """

    records: RawRecords
    decoder: Decoder
    sentences: Sequence[str] = (
        "records are found by number, through a table of where each begins",
    )
    _clock: DecodeClock = attrs.field(init=False, factory=DecodeClock)

    def __reduce__(self) -> Any:
        return RawContent, (self.records, self.decoder, self.sentences)

    def __len__(self) -> int:
        return len(self.records)

    @property
    def layout(self) -> Layout:
        """How the decoder's fields lie in a batch."""
        return self.decoder.layout

    @property
    def decode_seconds(self) -> float:
        """Seconds spent on decoding so far; threads at work together count once."""
        return self._clock.seconds

    def load(self, numbers: NDArray[np.int64], arrays: Arrays) -> list[Failure]:
        """Read and decode records, as `Content.load` says."""
        records = TimedReads(iter(self.records.read(numbers)))
        began = self._clock.begin()
        try:
            return self.decoder.decode(records, arrays)
        finally:
            self._clock.end(began, records.seconds)

    def locate(self, number: int) -> tuple[str, int]:
        """Return the path of a record's file, and its number in it."""
        return self.records.locate(number)

    def describe(self) -> list[str]:
        """Return the sentences."""
        return list(self.sentences)


class _Met:
    """What readers of one content know of its bad records.

    What is wrong with a record, and what was met on the way to what stands in its place, depend on
    the files alone, so that any thread may write them, in any order.
    """

    def __init__(self) -> None:
        self.bad: dict[int, BadRecord] = {}
        self.causes: dict[int, tuple[BadRecord, ...]] = {}
        self.of_thread = threading.local()


@attrs.frozen(eq=False)
class TolerantReader:
    """The `reader()` of a source: records by number, with one policy for bad ones.

    on_error: "raise", "skip" or "substitute" a bad record.
    budget: how many bad records in a row end the search for a good one.
    wide: whether JAX's x64 mode is on, so that 64-bit numbers arrive as they are.
    kept: the records that `cacheable` keeps, by number, as arrays and a row of them; None to keep
        none. A pickled reader starts without any.

    It needs numpy alone, and several threads may fetch at a time.
    """

    content: Content
    on_error: str = "raise"
    budget: int = 0
    wide: bool = False
    kept: dict[int, tuple[Arrays, int]] | None = None
    _met: _Met = attrs.field(factory=_Met)

    def __reduce__(self) -> Any:
        empty: dict[int, Any] | None = None if self.kept is None else {}
        return TolerantReader, (self.content, self.on_error, self.budget, self.wide, empty)

    def __len__(self) -> int:
        return len(self.content)

    def fetch(self, indices: ArrayLike) -> dict[str, Any]:
        """Return the records of these numbers, as a dict of numpy arrays.

        A field whose shape varies, and that is not padded, is a 1-D array of objects: an array for
        each record. A bad record that is skipped leaves a blank row, which `invalid_rows` shows.
        Raises `DataError` for a number out of range, for a value that does not fit the dtype that
        arrives, and for a bad record with `on_error = "raise"`; others are `noted`.
        """
        numbers = np.asarray(indices, np.int64)
        check_numbers(numbers, len(self))
        if self.kept is not None:
            return self.pack(numbers, self._from(self.kept, numbers))
        return self.pack(numbers, self._filled(numbers))

    def locate(self, number: int) -> tuple[str, int]:
        """Return the path of a record's file, and its number in it."""
        return self.content.locate(number)

    def invalid_rows(self, indices: ArrayLike) -> NDArray[np.bool_]:
        """Return which of these fetched records were skipped."""
        numbers = np.asarray(indices, np.int64)
        if self.on_error != "skip":
            return np.zeros(len(numbers), bool)
        return np.fromiter(map(self._met.bad.__contains__, numbers.tolist()), bool, len(numbers))

    def noted(self) -> list[BadRecord]:
        """Return the bad records that this thread's fetches met since it asked last."""
        bad: list[BadRecord] = vars(self._met.of_thread).pop("bad", [])
        return bad

    def tolerate(
        self,
        number: int,
        error: DataError,
        make: Callable[[dict[str, Any]], dict[str, Any] | DataError],
    ) -> dict[str, Any] | None:
        """Return what `make` makes in place of a record that a stage failed on; None to skip it.

        As `protocols.Tolerating` says. What stages find is not kept: it may differ between streams,
        and with random numbers.
        """
        if self.on_error == "raise":
            error.add_note(
                "continue without the record with on_error = 'substitute' or 'skip' of the source"
            )
            raise error
        met = [self._met.bad.get(number) or self._bad(number, error)]
        made = None
        if self.on_error == "substitute":
            made, more = self._next_good(
                met[0], lambda other, good: make(self.pack(np.array([other]), good))
            )
            met += more
        vars(self._met.of_thread).setdefault("bad", []).extend(met)
        return made

    def fill(self, numbers: NDArray[np.int64], arrays: Arrays) -> None:
        """Put the records of these numbers into the slots of arrays, as `fetch` does."""
        failures = sorted(self.content.load(numbers, arrays), key=itemgetter(0))
        for slot, cause in failures:
            self._replace(int(numbers[slot]), arrays, slot, cause)
        if failures:
            self._note(numbers[[slot for slot, _ in failures]])

    def pack(self, numbers: NDArray[np.int64], arrays: Arrays) -> dict[str, Any]:
        """Return the arrays of these records as a batch, as `Layout.pack` does.

        Raises `DataError`, which names the record, for a number that does not fit.
        """
        pack = self.content.layout.pack
        try:
            return pack(arrays, wide=self.wide)
        except DataError:
            for slot, number in enumerate(numbers.tolist()):
                try:
                    pack(arrays.part(slot, slot + 1), wide=self.wide)
                except DataError as error:
                    bad = BadRecord(number, *self.content.locate(number), str(error))
                    raise DataError(str(bad)) from None
            raise

    def _filled(self, numbers: NDArray[np.int64]) -> Arrays:
        arrays = self.content.layout.allocate(len(numbers))
        self.fill(numbers, arrays)
        return arrays

    def _from(self, kept: dict[int, tuple[Arrays, int]], numbers: NDArray[np.int64]) -> Arrays:
        """Return the records of these numbers, reading those that are not kept."""
        missing = np.array([n for n in dict.fromkeys(numbers.tolist()) if n not in kept], np.int64)
        if len(missing):
            read = self._filled(missing)
            # Another thread may have read one of them meanwhile: both have the same values.
            kept.update((n, (read, row)) for row, n in enumerate(missing.tolist()))
        self._note(np.setdiff1d(numbers, missing))  # as if they had been read
        layout = self.content.layout
        arrays = layout.allocate(len(numbers))
        for slot, number in enumerate(numbers.tolist()):
            layout.copy(arrays, slot, *kept[number])
        return arrays

    def _note(self, numbers: NDArray[np.int64]) -> None:
        """Note the bad records among these fetched ones for `noted`."""
        bad = vars(self._met.of_thread).setdefault("bad", [])
        for number in numbers.tolist():
            bad += self._met.causes.get(number, ())

    def _replace(self, number: int, arrays: Arrays, slot: int, cause: Exception) -> None:
        """Fill the slot of a bad record: blank, or with the next good one, as `on_error` says."""
        met = [self._described(number, cause)]
        if self.on_error == "raise":
            raise DataError(
                f"{met[0]}; replace the file, or continue without the record with "
                f"on_error = 'substitute' or 'skip'"
            ) from cause
        if self.on_error == "skip":
            self.content.layout.blank(arrays, slot)
        else:
            copy = self.content.layout.copy
            met += self._next_good(met[0], lambda _, good: copy(arrays, slot, good, 0))[1]
        self._met.causes[number] = tuple(met)

    def _next_good(
        self, first: BadRecord, use: Callable[[int, Arrays], T | DataError]
    ) -> tuple[T, list[BadRecord]]:
        """Return what `use` makes of the next good record, and the bad ones on the way to it.

        use: called with the number of a record that could be read, and its arrays; it returns a
            `DataError` if the record is bad all the same.
        """
        met: list[BadRecord] = []
        for other in range(first.number + 1, first.number + len(self)):
            other %= len(self)
            bad = self._met.bad.get(other)
            if bad is None:
                stand_in = self.content.layout.allocate(1)
                failures = self.content.load(np.array([other]), stand_in)
                if failures:
                    bad = self._described(other, failures[0][1])
                else:
                    made = use(other, stand_in)
                    if not isinstance(made, DataError):
                        return made, met
                    bad = self._bad(other, made)
            met.append(bad)
            if len(met) >= self.budget:  # with the first one, too many wherever one counts
                raise too_many((first, *met), self.budget)
        raise DataError(f"none of {len(self)} records is good; the first bad one: {first}")

    def _described(self, number: int, cause: Exception) -> BadRecord:
        """Return what is wrong with a record that could not be read, and keep it."""
        bad = self._met.bad[number] = self._bad(number, cause)
        return bad

    def _bad(self, number: int, cause: Exception) -> BadRecord:
        reason = str(cause) or type(cause).__name__
        if not isinstance(cause, DataError):
            reason = f"{type(cause).__name__}: {reason}"
        return BadRecord(number, *self.content.locate(number), reason.splitlines()[0])
