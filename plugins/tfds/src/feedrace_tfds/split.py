"""One split of a prepared dataset: its records by number, decoded."""

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from operator import itemgetter
from typing import Any

import attrs
import numpy as np

from feedrace.plugin import DataError
from feedrace_tfds.bad_records import BadRecord, BadRecords, budget_count
from feedrace_tfds.config import TFDSConfig
from feedrace_tfds.decode import Decoder, make_decoder
from feedrace_tfds.layout import Arrays
from feedrace_tfds.numpy_decoder import Failure
from feedrace_tfds.offsets import OffsetCache
from feedrace_tfds.paths import file_size
from feedrace_tfds.prepare import prepared_builder
from feedrace_tfds.records import Records, open_records
from feedrace_tfds.shards import missing_file
from feedrace_tfds.tensorflow_runtime import usable_cpus

_MOST_THREADS = 16
_TASK = 16  # records: few, so that no thread waits long for the last one


@attrs.frozen(eq=False)
class Split:
    """A split that is open for reading; nothing is read until `fetch`.

    name: the split, in TFDS's notation.
    identity: the dataset's name and version, and a digest of its files' names and sizes.
    decode_seconds: one number, the time spent on decoding so far.
    """

    info: Any
    name: str
    records: Records
    decoder: Decoder
    bad: BadRecords
    identity: str
    threads: int
    decode_seconds: list[float] = attrs.field(init=False, factory=lambda: [0.0])
    # Its threads end when it is garbage collected.
    _pool: ThreadPoolExecutor | None

    def __len__(self) -> int:
        return len(self.records)

    def fetch(self, numbers: Any) -> Arrays:
        """Return the records of these numbers, an int64 array, as numpy arrays.

        A bad record that is skipped leaves its row blank: `left_out` tells which. Raises
        `DataError` for numbers out of range, and as `BadRecords.add` does.
        """
        arrays = self.decoder.layout.allocate(len(numbers))
        self.fill(numbers, arrays)
        return arrays

    def fill(self, numbers: Any, arrays: Arrays, first: int = 0) -> None:
        """Put the records of these numbers into slots from `first` on, as `fetch` gives them."""
        self.records.check(numbers)
        for slot, cause in self._decode(numbers, arrays, first):
            self._mend(int(numbers[slot - first]), arrays, slot, cause)

    def left_out(self, numbers: Any) -> Any:
        """Return for each of these fetched records whether it was skipped: a bool array."""
        if self.bad.on_error != "skip":
            return np.zeros(len(numbers), bool)
        return np.fromiter(map(self.bad.holds, numbers.tolist()), bool, len(numbers))

    def describe(self) -> list[str]:
        """Return sentences on how records are found and decoded."""
        return [
            f"records are found {self.records.reader.way}",
            f"decoded {self.decoder.way}, by {self.threads} threads",
        ]

    def _decode(self, numbers: Any, arrays: Arrays, first: int) -> list[Failure]:
        """Read and decode records into slots, in tasks for all threads where that can be."""
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
            self.decode_seconds[0] += sum(seconds) / shared

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

    def _mend(self, number: int, arrays: Arrays, slot: int, cause: Exception) -> None:
        """Deal with the slot of a record that could not be had."""
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
        raise DataError(f"split {self.name!r} of {self.info.full_name} has no record that is good")

    def _note(self, number: int, cause: Exception) -> None:
        reason = str(cause) or type(cause).__name__
        if not isinstance(cause, DataError):
            reason = f"{type(cause).__name__}: {reason}"
        path, record = self.records.locate(number)
        self.bad.add(BadRecord(number, path, record, reason.splitlines()[0]), cause)


def open_split(config: TFDSConfig) -> Split:
    """Return the split that the config names, prepared first where that is needed."""
    builder = prepared_builder(config)
    threads = config.num_threads or min(_MOST_THREADS, usable_cpus())
    cache = OffsetCache(config.cache_dir, writable=not config.local_files_only)
    name = _split_name(builder, config.split)
    records = open_records(
        builder,
        name,
        cache=cache,
        window=config.shuffle_buffer_size,
        whole=config.on_error == "raise",
    )
    decoder = make_decoder(builder.info, config, threads)
    return Split(
        info=builder.info,
        name=name,
        records=records,
        decoder=decoder,
        bad=BadRecords(config.on_error, budget_count(config.error_budget, len(records))),
        identity=f"{builder.info.full_name} {_digest(records)}",
        threads=threads,
        pool=ThreadPoolExecutor(threads - 1, "feedrace-tfds") if threads > 1 else None,
    )


def _split_name(builder: Any, split: Any) -> str:
    """Return a split in TFDS's notation; one from `tfds.even_splits` as the records it comes to."""
    if isinstance(split, str):
        return split
    try:
        parts = split.to_absolute(builder.info.splits)
    except (KeyError, ValueError) as error:
        raise DataError(
            f"dataset {builder.info.full_name} has no split {split!r} ({error}); "
            f"it has {', '.join(sorted(builder.info.splits))}"
        ) from error
    whole = builder.info.splits
    return "+".join(
        f"{part.splitname}[{part.from_ or 0}:"
        f"{whole[part.splitname].num_examples if part.to is None else part.to}]"
        for part in parts
    )


def _digest(records: Records) -> str:
    """Return a digest of the names and sizes of the files that records are taken from."""
    digest = hashlib.blake2b(digest_size=8)
    for path, skip, take in records.parts:
        try:
            size = file_size(path)
        except FileNotFoundError as error:
            raise missing_file(path) from error
        digest.update(f"{os.path.basename(path)} {size} {skip} {take}".encode())
    return digest.hexdigest()
