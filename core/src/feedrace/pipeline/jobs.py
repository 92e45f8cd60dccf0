"""Jobs over all records of a source, in the stored order: converting, filtering, counting."""

import hashlib
import json
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from feedrace import registry
from feedrace.config.fields import check_integer
from feedrace.config.files import problems_located, read_mapping
from feedrace.device.stages import Stages
from feedrace.errors import ConfigError, FeedraceError, Problem, clipped
from feedrace.host import jobs
from feedrace.host.beam import run_on_beam
from feedrace.host.loader import HostLoader
from feedrace.host.machine import usable_cpus
from feedrace.host.progress import progress
from feedrace.host.record_loader import RecordLoader
from feedrace.host.record_stages import record_stages
from feedrace.host.worker_process import obstacles_for_processes
from feedrace.pipeline.options import parse_options
from feedrace.pipeline.streams import Problems, key_of_seed, make_part
from feedrace.plan.steps import TRAIN
from feedrace.protocols import Identified, Noted, is_stochastic, place_of, provides
from feedrace.storage.bad_records import BadRecord
from feedrace.storage.tolerant import TolerantReader


@attrs.frozen(kw_only=True, eq=False, repr=False)
class AllRecords:
    """All records of a source after record stages, by number.

    Stages that draw random numbers draw those of epoch 0, in which record i is at position i.

    spec: of one record, a nest of `LeafSpec`s; numbers may come wider than it says, as int64 for
        int32, since it says what arrives on a device.
    unused: sentences on parts of a config that do not work on single records.
    obstacles: sentences on what keeps worker processes from the work.
    identity: a digest of what decides the records: the source, its data, and the stages.
    """

    source: Any
    loader: RecordLoader
    unused: tuple[str, ...]
    obstacles: tuple[str, ...]
    identity: str

    def __repr__(self) -> str:
        return f"AllRecords({clipped(self.source)}, stages={clipped(self.loader.stages.stages)})"

    def __len__(self) -> int:
        """Return the number of records in the source."""
        return len(self.source)

    @property
    def spec(self) -> Any:
        """The spec of one record."""
        return self.loader.stages.spec

    def sample(self, numbers: NDArray[np.int64]) -> Iterator[jobs.Values]:
        """Yield the records of these numbers, by dotted name, without those that are left out."""
        return jobs.sample(self.loader, numbers)

    def run(
        self,
        work: jobs.Work,
        bounds: Sequence[int],
        folder: str | os.PathLike[str],
        *,
        what: str,
        workers: int | None = None,
        runner: str | None = None,
        runner_options: Sequence[str] = (),
        is_good: Callable[[jobs.Made], bool] | None = None,
    ) -> Iterator[jobs.Made]:
        """Yield what `work` makes of the records of each part, in order, with a progress bar.

        work: a picklable function of (number of the part, its records); it returns what JSON holds.
            Each record comes with its number, as a dict by dotted name.
        bounds: part i has the records from `bounds[i]` to `bounds[i + 1]`.
        folder: keeps the results of this job alone; parts that have one there are not made again,
            unless `is_good` returns False for it.
        what: names the work on the progress bar, which only a terminal or a notebook shows.
        workers: processes; 0 for this thread; by default one for each CPU, if processes can do it.
        runner: of Apache Beam, such as "DirectRunner", in place of processes; `runner_options` are
            its flags, such as "--project=p". All of its machines need to reach `folder`.

        Raises `ConfigError` for workers or a runner that cannot do it, and whatever reading, a
        stage or the work raises, with a note on the record. What was made until then is kept.
        """
        count = self._processes(workers, runner)
        job = self.job(work, bounds, folder)
        return self._made(job, what, count, runner, runner_options, is_good)

    def job(
        self, work: jobs.Work, bounds: Sequence[int], folder: str | os.PathLike[str]
    ) -> jobs.Job:
        """Return the job that `run` runs, with a folder that is there."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        place = os.path.abspath(folder)
        return jobs.Job(loader=self.loader, work=work, bounds=tuple(map(int, bounds)), folder=place)

    def _made(
        self,
        job: jobs.Job,
        what: str,
        processes: int,
        runner: str | None,
        runner_options: Sequence[str],
        is_good: Callable[[jobs.Made], bool] | None,
    ) -> Iterator[jobs.Made]:
        found = {n: made for n in range(len(job)) if (made := job.kept(n)) is not None}
        if is_good is not None:
            found = {n: made for n, made in found.items() if is_good(made)}
        missing = [n for n in range(len(job)) if n not in found]
        made_now: Generator[jobs.Made | None]
        if runner is not None and missing:
            run_on_beam(job, missing, runner, runner_options)
            made_now = (job.kept(n) for n in missing)
        else:
            made_now = jobs.run_in_processes(job, missing, processes)
        with closing(made_now), progress(what, job.bounds[-1], "records") as advance:
            for number in range(len(job)):
                made = found.get(number) or next(made_now)
                if made is None:
                    raise FeedraceError(
                        f"the runner did not leave part {number} in {job.folder}; all of its "
                        f"machines need to reach that folder"
                    )
                made = self.noted(made)
                advance(made.stop - made.start)
                yield made

    def noted(self, made: jobs.Made) -> jobs.Made:
        """Hand what a reader noted to the source, which may refuse it; return it as it came."""
        if not made.noted:
            return made
        noted = [_restored(one) for one in made.noted]
        if provides(self.source, Noted):
            self.source.note(noted)
        return attrs.evolve(made, noted=tuple(noted))

    def _processes(self, workers: int | None, runner: str | None) -> int:
        if workers is not None:
            check_integer("workers", workers, 0)
        if self.obstacles and (workers or runner is not None):
            raise ConfigError([Problem("", text) for text in self.obstacles])
        if runner is not None and workers is not None:
            message = f"given with a runner, {runner}, which starts its own; give one of the two"
            raise ConfigError([Problem("workers", message)])
        return (0 if self.obstacles else usable_cpus()) if workers is None else workers


def _restored(noted: Any) -> Any:
    """Return what a reader noted, which JSON has made lists of if it was kept."""
    if not isinstance(noted, list):
        return noted
    bad = len(noted) == len(BadRecord._fields) and isinstance(noted[1], str)
    return BadRecord(*noted) if bad else [_restored(one) for one in noted]


def all_records(source: Any, stages: Sequence[Any] = (), *, seed: int | None = None) -> AllRecords:
    """Return all records of a source after the record stages among `stages`.

    source, stages: objects, or mappings that name components. seed: of components that have none,
        and of stages that draw random numbers.

    Raises `ConfigError` with the problems of the parts.
    """
    problems = Problems()
    key = None if seed is None else key_of_seed(seed)
    rngs = None if key is None else nnx.Rngs(key)
    made: list[Any] = []
    for i, stage in enumerate(stages):
        with problems.of(f"stages[{i}]"):
            made.append(make_part("stage", stage, seed, rngs))
    with problems.of("source"):
        source = make_part("source", source, seed, rngs)
        if source is None:
            problems.append(Problem("source", "missing; it gives the records"))
    problems.report()
    with problems.of(""):
        staged = Stages(made, stream=TRAIN, key=key)
        record_part = record_stages(staged.on_record, source.element_spec(), key=staged.key_bytes)
    problems.report()
    host = HostLoader(
        source=source,
        stages=record_part,
        batcher=None,
        batch_size=1,
        records_per_epoch=len(source),
        mine=None,
        specs=tuple,
    )
    loader = host.record_loader()
    reader = loader.reader
    if isinstance(reader, TolerantReader):  # 64-bit numbers stay what they are
        reader = attrs.evolve(reader, wide=True, kept=None)
    described: list[Any] = []
    for kind, part in [("source", source), *(("stage", stage) for stage in staged.on_record)]:
        described.append(registry.describe(kind, part, identity_only=True))
        described.append(part.identity() if provides(part, Identified) else None)
    if any(map(is_stochastic, staged.on_record)):
        described.append((staged.key_bytes or b"").hex())
    text = json.dumps(described, sort_keys=True, default=str)
    return AllRecords(
        source=source,
        loader=attrs.evolve(loader, reader=reader, rows=None),
        unused=tuple(
            f"stages[{i}] runs on the {place_of(stage)}, on batches"
            for i, stage in enumerate(made)
            if place_of(stage) != "record"
        ),
        obstacles=tuple(obstacles_for_processes(host, "use no process (workers = 0)")),
        identity=hashlib.blake2b(text.encode(), digest_size=16).hexdigest(),
    )


def load_records(path: str | os.PathLike[str]) -> AllRecords:
    """Return all records of the source and the record stages in a TOML, JSON or YAML file.

    It is the config of a pipeline, which needs no `batch_size` for this. Raises as `feedrace.load`
    does.
    """
    with problems_located(path):
        return build_records(read_mapping(path), origin=os.fspath(path))


def build_records(mapping: Mapping[str, Any], *, origin: str = "") -> AllRecords:
    """Return all records of the source and the record stages in the config of a pipeline.

    origin: where the mapping came from, for error messages. Raises as `feedrace.build` does.
    """
    options = parse_options({"batch_size": 1, **mapping}, origin)
    try:
        every = all_records(options.source, options.stages, seed=options.seed)
    except ConfigError as error:
        raise ConfigError(error.problems, origin=origin) from error.__cause__
    if options.scheduler is None:
        return every
    return attrs.evolve(every, unused=(*every.unused, "the scheduler has streams of its own"))
