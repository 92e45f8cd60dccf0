"""How long several threads decode: threads at work together count once."""

import threading
import time
from collections.abc import Iterator
from itertools import islice
from typing import Generic, TypeVar

Item = TypeVar("Item")

_READ = 8  # records that are in memory before they are decoded


class DecodeClock:
    """Adds up the time in which any thread reads and decodes, and which share of it is decoding."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._working = 0  # threads
        self._since = self._together = 0.0
        self._each = self._reading = 0.0  # of every thread

    @property
    def seconds(self) -> float:
        """The seconds spent on decoding so far."""
        with self._lock:
            return self._together * (1 - self._reading / self._each) if self._each else 0.0

    def begin(self) -> float:
        """Note that this thread begins; return the time."""
        with self._lock:
            now = self._passed()
            self._working += 1
            return now

    def end(self, began: float, reading: float) -> None:
        """Note that this thread ends what it began, and how long of it was reading."""
        with self._lock:
            self._each += self._passed() - began
            self._reading += reading
            self._working -= 1

    def _passed(self) -> float:
        now = time.perf_counter()
        if self._working:
            self._together += now - self._since
        self._since = now
        return now


class TimedReads(Generic[Item]):
    """An iterable of what another yields, which adds up the seconds that its items take."""

    def __init__(self, items: Iterator[Item]) -> None:
        self.seconds = 0.0
        self._items = items

    def __iter__(self) -> Iterator[Item]:
        while True:
            began = time.perf_counter()
            read = list(islice(self._items, _READ))
            self.seconds += time.perf_counter() - began
            if not read:
                return
            yield from read
