"""A job over all records: a function of the records of each part, made once, in order, and kept.

Parts are made in this process, in worker processes, or by Apache Beam. What is kept of a part is a
small JSON file, so that a job that was stopped goes on with the parts that it lacks.
"""

import itertools
import os
import secrets
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import msgspec
import numpy as np
from numpy.typing import NDArray

from feedrace.host.memory import bytes_of
from feedrace.host.record_loader import Allocate, Loaded, RecordLoader
from feedrace.host.timing import Clock, Timing
from feedrace.host.workers import WorkerCount, Workers

Values = dict[str, Any]  # of a record, by dotted name
Records = Iterator[tuple[int, Values]]  # with their numbers
Work = Callable[[int, Records], Mapping[str, Any]]  # (number of the part, its records) -> JSON

_STREAM = "job"
_BLOCK, _BLOCK_BYTES = 256, 16 << 20  # what is read at a time


@attrs.frozen(kw_only=True)
class Made:
    """What came of one part.

    number: of the part. start, stop: its records. left_out: how many of them could not be read.
    noted: what the reader noted on records; as JSON has it, if the result was kept.
    value: what the work returned.
    """

    number: int
    start: int
    stop: int
    left_out: int
    noted: tuple[Any, ...]
    value: dict[str, Any]


@attrs.frozen(kw_only=True, eq=False)
class Job:
    """The work to do on the parts of all records; it can be pickled if `work` can.

    loader: gives the records, after the record stages; row i is position i of epoch 0.
    work: called with the number of a part and its records; returns what JSON holds. It leaves
        nothing half written if it is ended at any time: the part is then made again.
    bounds: part i has the records from `bounds[i]` to `bounds[i + 1]`.
    folder: where the results are kept, a file for each part.
    """

    loader: RecordLoader
    work: Work
    bounds: tuple[int, ...]
    folder: str

    def __len__(self) -> int:
        """Return the number of parts."""
        return len(self.bounds) - 1

    def kept(self, number: int) -> Made | None:
        """Return what is kept of a part; None if it was not made."""
        with suppress(OSError, msgspec.DecodeError):
            made = msgspec.json.decode(self._place(number).read_bytes(), type=Made)
            if (made.start, made.stop) == self.bounds[number : number + 2]:
                return made
        return None

    def make(self, number: int, clock: Clock | None = None) -> Made:
        """Make a part, keep the result, and return it.

        Raises what reading, a stage or the work raised, with a note on the record.
        """
        start, stop = self.bounds[number : number + 2]
        part = _Part(self.loader, start, stop, clock or Clock())
        try:
            value = dict(self.work(number, iter(part)))
        except Exception as error:
            error.add_note(f"at {part.where}, in part {number} of a job")
            raise
        made = Made(
            number=number,
            start=start,
            stop=stop,
            left_out=part.left_out,
            noted=tuple(itertools.chain.from_iterable(part.noted)),
            value=value,
        )
        write_whole(self._place(number), msgspec.json.encode(made, enc_hook=str))
        return made

    def load(
        self, indices: range, start: int, clock: Clock, allocate: Allocate | None = None
    ) -> Loaded:
        """Make part `start`, as a worker is asked to load a step; the result is what it noted."""
        return Loaded({}, None, [self.make(start, clock)])

    def _place(self, number: int) -> Path:
        return Path(self.folder) / f"part-{number:05d}.json"


@attrs.define
class _Part:
    """Iterates over the records of one part, and knows where it is.

    left_out: records that could not be read or decoded. noted: what the reader noted on them, as
        a list for each block.
    """

    loader: RecordLoader
    start: int
    stop: int
    clock: Clock
    where: str = ""
    left_out: int = 0
    noted: list[list[Any]] = attrs.field(factory=list)

    def __iter__(self) -> Records:
        size = bytes_of(self.loader.stages.specs[0], 1)
        block = max(1, min(_BLOCK, _BLOCK_BYTES // size))
        for first in range(self.start, self.stop, block):
            last = min(first + block, self.stop)
            self.where = f"records {first} to {last - 1}"
            read, each = self.loader.each(np.arange(first, last), self.clock)
            self.noted.append(read.noted)  # which grows as stages run
            for row, number in enumerate(range(first, last)):
                self.where = f"record {number}"
                values = next(each)
                if values is None or (read.skipped is not None and read.skipped[row]):
                    self.left_out += 1
                else:
                    yield number, values


@attrs.frozen(kw_only=True)
class _Step:
    """A part as workers take it, with what a message says of it."""

    update: int
    indices: range
    stream: str = _STREAM
    epoch: int = 0

    @property
    def start(self) -> int:
        return self.update


def sample(loader: RecordLoader, numbers: NDArray[np.int64]) -> Iterator[Values]:
    """Yield the records of these numbers, after the stages, without those that were left out."""
    for number in numbers.tolist():
        for _, values in _Part(loader, number, number + 1, Clock()):
            yield values


def run_in_processes(job: Job, numbers: list[int], processes: int) -> Generator[Made]:
    """Yield what came of these parts, in their order; parts are made some ahead.

    processes: how many to start; 0 makes the parts in this thread, one when it is asked for. A
        process that dies is replaced, and its part made again; the end of the iteration ends them.
    """
    count = WorkerCount("process", min(processes, len(numbers)))
    ahead = count.ahead if count.count else 0
    loaders: Any = {_STREAM: job}
    workers = Workers(count, loaders, frozenset(), Timing(), ahead=ahead, lent=0, step_bytes=1)
    try:
        steps = (_Step(update=n, indices=range(*job.bounds[n : n + 2])) for n in numbers)
        for _, load in workers.ahead(steps):
            yield from load().noted
    finally:
        workers.join()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, whatever happens; it is on the disk."""
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(unfinished, "xb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
