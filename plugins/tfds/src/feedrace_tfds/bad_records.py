"""Records that could not be read or decoded: a list of them, and what happens then."""

import threading
from typing import Any, NamedTuple

import attrs

from feedrace.plugin import DataError

_SHOWN = 10


class BadRecord(NamedTuple):
    """A bad record: its number in the split, its file, its number there, and what is wrong."""

    number: int
    file: str
    record: int
    reason: str

    def __str__(self) -> str:
        return f"record {self.number} (record {self.record} of {self.file}): {self.reason}"


@attrs.frozen(eq=False)
class BadRecords:
    """The bad records met so far.

    on_error: "raise", "skip" or "substitute".
    budget: how many different ones are tolerated.
    """

    on_error: str
    budget: int
    _met: dict[int, BadRecord] = attrs.field(factory=dict)
    _lock: threading.Lock = attrs.field(init=False, factory=threading.Lock)

    def __reduce__(self) -> Any:
        with self._lock:
            return BadRecords, (self.on_error, self.budget, dict(self._met))

    def add(self, bad: BadRecord, cause: Exception) -> None:
        """Note a bad record.

        Raises `DataError` from its cause if it is one too many. Any thread may call it.
        """
        if self.on_error == "raise":
            raise DataError(
                f"{bad}; prepare the dataset again, or continue without the record with on_error = "
                f"'substitute' or 'skip'"
            ) from cause
        with self._lock:
            self._met[bad.number] = bad
            met = len(self._met)
        if met > self.budget:
            lines = [str(record) for record in self.met()[:_SHOWN]]
            more = [f"and {met - _SHOWN} more"] if met > _SHOWN else []
            head = f"{met} records cannot be read, and error_budget allows {self.budget}:"
            raise DataError("\n".join([head, *lines, *more])) from cause

    def met(self) -> tuple[BadRecord, ...]:
        """Return the bad records met so far, by number."""
        with self._lock:
            return tuple(self._met[number] for number in sorted(self._met))

    def holds(self, number: int) -> bool:
        """Return whether a record is known to be bad."""
        return number in self._met


def budget_count(budget: int | float, records: int) -> int:
    """Return a budget as a count; a share of the records is rounded, to 1 at least."""
    if isinstance(budget, int):
        return budget
    return max(1, round(budget * records)) if budget else 0
