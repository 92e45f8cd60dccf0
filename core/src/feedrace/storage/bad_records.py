"""Records that could not be read or decoded: a list of them, and how many are tolerated."""

import threading
from collections.abc import Iterable
from typing import Any, NamedTuple

import attrs

from feedrace.errors import DataError

_SHOWN = 10


class BadRecord(NamedTuple):
    """A bad record: its number, its file, its number there, and what is wrong."""

    number: int
    file: str
    record: int
    reason: str

    def __str__(self) -> str:
        return f"record {self.number} (record {self.record} of {self.file}): {self.reason}"


@attrs.frozen(eq=False)
class BadRecords:
    """The bad records that a source has met so far.

    budget: how many different ones are tolerated.
    """

    budget: int
    _met: dict[int, BadRecord] = attrs.field(init=False, factory=dict)
    _lock: threading.Lock = attrs.field(init=False, factory=threading.Lock)

    def __reduce__(self) -> Any:
        return BadRecords, (self.budget,)

    def add(self, bad: Iterable[BadRecord]) -> None:
        """Note bad records, again or for the first time.

        Raises `DataError` if one is one too many. Any thread may call it.
        """
        with self._lock:
            for record in bad:
                self._met[record.number] = record
                if len(self._met) > self.budget:
                    raise too_many(self._in_order(), self.budget)

    def met(self) -> tuple[BadRecord, ...]:
        """Return the bad records met so far, by number."""
        with self._lock:
            return self._in_order()

    def _in_order(self) -> tuple[BadRecord, ...]:
        return tuple(self._met[number] for number in sorted(self._met))


def too_many(bad: tuple[BadRecord, ...], budget: int) -> DataError:
    """Return the error for more bad records than the budget allows."""
    lines = [str(record) for record in bad[:_SHOWN]]
    more = [f"and {len(bad) - _SHOWN} more"] if len(bad) > _SHOWN else []
    head = f"{len(bad)} records cannot be read, and error_budget allows {budget}:"
    return DataError("\n".join([head, *lines, *more]))


def budget_count(budget: int | float, records: int) -> int:
    """Return a budget as a count; a share of the records is rounded, to 1 at least."""
    if isinstance(budget, int):
        return budget
    return max(1, round(budget * records)) if budget else 0
