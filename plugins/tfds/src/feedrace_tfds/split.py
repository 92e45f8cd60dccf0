"""One split of a prepared dataset, read and decoded by record number, without JAX or TFDS."""

import threading
from collections.abc import Iterable
from operator import itemgetter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from feedrace.plugin import DataError
from feedrace_tfds.bad_records import BadRecord, too_many
from feedrace_tfds.layout import Arrays, Layout
from feedrace_tfds.numpy_decoder import Failure
from feedrace_tfds.records import Records
from feedrace_tfds.shards import Raw
from feedrace_tfds.timing import DecodeClock, TimedReads


class Decoder(Protocol):
    """Decodes raw records of one dataset; it can be pickled, and several threads may use it.

    way: a few words on how it decodes.
    """

    @property
    def layout(self) -> Layout: ...

    @property
    def way(self) -> str: ...

    def decode(self, records: Iterable[tuple[int, Raw]], arrays: Arrays) -> list[Failure]:
        """Put raw records into their slots; return which slots failed, and why."""
        ...


class Split:
    """A split that is open for reading; nothing is read until `fetch`.

    name: dataset and split, for messages.
    on_error: "raise", "skip" or "substitute" a bad record.
    budget: how many bad records in a row end the search for a good one.
    clock: knows how long it has decoded.

    Several threads may fetch at a time, and each decodes what it fetches. A pickled split opens its
    files anew.
    """

    def __init__(
        self, name: str, records: Records, decoder: Decoder, on_error: str, budget: int
    ) -> None:
        self.name, self.records, self.decoder = name, records, decoder
        self.on_error, self.budget = on_error, budget
        self.clock = DecodeClock()
        # What is wrong with a record, and what was met on the way to what stands in its place. Both
        # depend on the files alone, so that any thread may write them, in any order.
        self._bad: dict[int, BadRecord] = {}
        self._causes: dict[int, tuple[BadRecord, ...]] = {}
        self._of_thread = threading.local()

    def __reduce__(self) -> Any:
        return Split, (self.name, self.records, self.decoder, self.on_error, self.budget)

    def __len__(self) -> int:
        return len(self.records)

    def fetch(self, numbers: NDArray[np.int64]) -> Arrays:
        """Return the records of these numbers.

        A bad record that is skipped leaves its row blank; `invalid_rows` shows which, and `noted`
        has what was wrong. Raises `DataError` for numbers out of range and, with
        `on_error = "raise"`, for a bad record.
        """
        arrays = self.decoder.layout.allocate(len(numbers))
        self.fill(numbers, arrays)
        return arrays

    def fill(self, numbers: NDArray[np.int64], arrays: Arrays) -> None:
        """Put the records of these numbers into the slots of arrays, as `fetch` does."""
        self.records.check(numbers)
        failures = self._decode(numbers, arrays)
        for slot, cause in failures:
            self._replace(int(numbers[slot]), arrays, slot, cause)
        if failures:
            self.note(numbers[[slot for slot, _ in failures]])

    def packed(self, numbers: NDArray[np.int64], arrays: Arrays, *, wide: bool) -> dict[str, Any]:
        """Return the arrays of these records as a batch, as `Layout.pack` does.

        Raises `DataError`, which names the record, for a number that does not fit.
        """
        pack = self.decoder.layout.pack
        try:
            return pack(arrays, wide=wide)
        except DataError:
            for slot, number in enumerate(numbers.tolist()):
                try:
                    pack(arrays.part(slot, slot + 1), wide=wide)
                except DataError as error:
                    path, record = self.records.locate(number)
                    raise DataError(str(BadRecord(number, path, record, str(error)))) from None
            raise

    def note(self, numbers: NDArray[np.int64]) -> None:
        """Note the bad records among these fetched ones for `noted`."""
        bad = vars(self._of_thread).setdefault("bad", [])
        for number in numbers.tolist():
            bad += self._causes.get(number, ())

    def noted(self) -> list[BadRecord]:
        """Return the bad records that this thread's fetches met since it asked last."""
        bad: list[BadRecord] = vars(self._of_thread).pop("bad", [])
        return bad

    def invalid_rows(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of these fetched records were skipped."""
        if self.on_error != "skip":
            return np.zeros(len(numbers), bool)
        return np.fromiter(map(self._bad.__contains__, numbers.tolist()), bool, len(numbers))

    def describe(self) -> list[str]:
        """Return sentences on how records are found and decoded."""
        return [f"records are found {self.records.reader.way}", f"decoded {self.decoder.way}"]

    def _decode(self, numbers: NDArray[np.int64], arrays: Arrays) -> list[Failure]:
        """Read and decode records into slots; return which failed, in the order of the slots."""
        records = TimedReads(self.records.reader.read(numbers))
        began = self.clock.begin()
        try:
            failures = self.decoder.decode(records, arrays)
        finally:
            self.clock.end(began, records.seconds)
        return sorted(failures, key=itemgetter(0))

    def _replace(self, number: int, arrays: Arrays, slot: int, cause: Exception) -> None:
        """Fill the slot of a bad record: blank, or with the next good one, as `on_error` says."""
        met = [self._described(number, cause)]
        if self.on_error == "raise":
            raise DataError(
                f"{met[0]}; prepare the dataset again, or continue without the record with "
                f"on_error = 'substitute' or 'skip'"
            ) from cause
        if self.on_error == "skip":
            self.decoder.layout.blank(arrays, slot)
        else:
            met += self._substitute(number, arrays, slot)
        self._causes[number] = tuple(met)

    def _substitute(self, number: int, arrays: Arrays, slot: int) -> list[BadRecord]:
        """Copy the next good record into a slot; return the bad ones on the way to it."""
        met: list[BadRecord] = []
        for other in range(number + 1, number + len(self)):
            other %= len(self)
            if other not in self._bad:
                stand_in = self.decoder.layout.allocate(1)
                failures = self._decode(np.array([other]), stand_in)
                if not failures:
                    self.decoder.layout.copy(arrays, slot, stand_in, 0)
                    return met
                self._described(other, failures[0][1])
            met.append(self._bad[other])
            if len(met) >= self.budget:  # with the first one, too many wherever one counts
                raise too_many((self._bad[number], *met), self.budget)
        raise DataError(f"{self.name} has no good record")

    def _described(self, number: int, cause: Exception) -> BadRecord:
        reason = str(cause) or type(cause).__name__
        if not isinstance(cause, DataError):
            reason = f"{type(cause).__name__}: {reason}"
        path, record = self.records.locate(number)
        bad = self._bad[number] = BadRecord(number, path, record, reason.splitlines()[0])
        return bad
