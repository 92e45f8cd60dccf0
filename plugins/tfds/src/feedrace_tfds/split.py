"""One split of a prepared dataset, read and decoded by record number, without JAX or TFDS."""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from operator import itemgetter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from feedrace.plugin import DataError
from feedrace_tfds.bad_records import BadRecord, BadRecords
from feedrace_tfds.layout import Arrays, Layout
from feedrace_tfds.numpy_decoder import Failure
from feedrace_tfds.records import Records
from feedrace_tfds.shards import Raw

_TASK = 16  # records: few, so that no thread waits long for the last one


class Decoder(Protocol):
    """Decodes raw records of one dataset; it can be pickled.

    concurrent: whether several threads should decode at a time.
    way: a few words on how it decodes.
    """

    @property
    def layout(self) -> Layout: ...

    @property
    def concurrent(self) -> bool: ...

    @property
    def way(self) -> str: ...

    def decode(self, raw: list[Raw], arrays: Arrays, first: int) -> list[Failure]:
        """Put raw records into slots from `first` on; return which slots failed, and why."""
        ...


class Split:
    """A split that is open for reading; nothing is read until `fetch`.

    name: dataset and split, for messages.
    decode_seconds: the time spent on decoding so far; threads at work together count once.

    Several threads may fetch at a time. A pickled split opens its files anew.
    """

    def __init__(
        self, name: str, records: Records, decoder: Decoder, bad: BadRecords, threads: int
    ) -> None:
        self.name, self.records, self.decoder = name, records, decoder
        self.bad, self.threads = bad, threads
        self.decode_seconds = 0.0
        # Its threads end when it is garbage collected.
        self._pool = ThreadPoolExecutor(threads - 1, "feedrace-tfds") if threads > 1 else None

    def __reduce__(self) -> Any:
        return Split, (self.name, self.records, self.decoder, self.bad, self.threads)

    def __len__(self) -> int:
        return len(self.records)

    def fetch(self, numbers: NDArray[np.int64]) -> Arrays:
        """Return the records of these numbers.

        A bad record that is skipped leaves its row blank; `invalid_rows` shows which. Raises
        `DataError` for numbers out of range, and as `BadRecords.add` does.
        """
        arrays = self.decoder.layout.allocate(len(numbers))
        self.fill(numbers, arrays)
        return arrays

    def fill(self, numbers: NDArray[np.int64], arrays: Arrays, first: int = 0) -> None:
        """Put the records of these numbers into slots from `first` on, as `fetch` does."""
        self.records.check(numbers)
        for slot, cause in self._decode(numbers, arrays, first):
            self._replace(int(numbers[slot - first]), arrays, slot, cause)

    def invalid_rows(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of these fetched records were skipped."""
        if self.bad.on_error != "skip":
            return np.zeros(len(numbers), bool)
        return np.fromiter(map(self.bad.holds, numbers.tolist()), bool, len(numbers))

    def describe(self) -> list[str]:
        """Return sentences on how records are found and decoded."""
        return [
            f"records are found {self.records.reader.way}",
            f"decoded {self.decoder.way}, by {self.threads} threads",
        ]

    def _decode(self, numbers: NDArray[np.int64], arrays: Arrays, first: int) -> list[Failure]:
        """Read and decode records into slots, in tasks for all threads if that is possible."""
        read, decode = self.records.reader.read, self.decoder.decode
        size = _TASK if self._pool is not None else max(1, len(numbers))
        starts = range(0, len(numbers), size)
        raw: list[Any] = [None] * len(starts)
        seconds: list[float] = []

        def read_task(task: int) -> list[Failure]:
            start = starts[task]
            raw[task] = read(numbers[start : start + size])
            return []

        def timed(records: list[Any], slot: int) -> list[Failure]:
            began = time.perf_counter()
            failures = decode(records, arrays, slot)
            seconds.append(time.perf_counter() - began)
            return failures

        def decode_task(task: int) -> list[Failure]:
            records, raw[task] = raw[task], None
            return timed(records, first + starts[task])

        def both(task: int) -> list[Failure]:
            read_task(task)
            return decode_task(task)

        shared = (self.decoder.concurrent and min(self.threads, len(starts))) or 1
        try:
            if self.records.reader.concurrent and self.decoder.concurrent:
                return self._share(both, len(starts))
            if self.records.reader.concurrent:
                self._share(read_task, len(starts))
                return timed([record for part in raw for record in part], first)
            whole = read(numbers)
            if not self.decoder.concurrent:
                return timed(whole, first)
            raw[:] = [whole[start : start + size] for start in starts]
            return self._share(decode_task, len(starts))
        finally:
            self.decode_seconds += sum(seconds) / shared

    def _share(self, do: Callable[[int], list[Failure]], tasks: int) -> list[Failure]:
        """Do the tasks of these numbers, in this thread and the pool's; return all failures."""
        left, failures = deque(range(tasks)), []

        def work() -> None:
            while left:
                try:
                    task = left.popleft()
                except IndexError:  # another thread was faster
                    return
                failures.extend(do(task))

        helpers = min(self.threads, tasks) - 1
        futures = [self._pool.submit(work) for _ in range(helpers)] if self._pool else []
        try:
            work()
        finally:
            left.clear()
            wait(futures)
        for future in futures:
            future.result()
        return sorted(failures, key=itemgetter(0))

    def _replace(self, number: int, arrays: Arrays, slot: int, cause: Exception) -> None:
        """Fill the slot of a bad record: blank, or with the next good one, as `on_error` says."""
        self._note(number, cause)
        if self.bad.on_error == "skip":
            self.decoder.layout.blank(arrays, slot)
            return
        for other in range(number + 1, number + len(self)):
            other %= len(self)
            if self.bad.holds(other):
                continue
            stand_in = self.decoder.layout.allocate(1)
            failures = self._decode(np.array([other]), stand_in, 0)
            if not failures:
                self.decoder.layout.copy(arrays, slot, stand_in, 0)
                return
            self._note(other, failures[0][1])
        raise DataError(f"{self.name} has no good record")

    def _note(self, number: int, cause: Exception) -> None:
        reason = str(cause) or type(cause).__name__
        if not isinstance(cause, DataError):
            reason = f"{type(cause).__name__}: {reason}"
        path, record = self.records.locate(number)
        self.bad.add(BadRecord(number, path, record, reason.splitlines()[0]), cause)
