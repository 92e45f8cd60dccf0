"""From what a pipeline is given to its streams: parts made, checked and joined."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from flax import nnx

from feedrace import protocols, registry
from feedrace.builtin.single import SingleScheduler
from feedrace.device.placement import Placement
from feedrace.device.stages import Stages, is_stochastic
from feedrace.errors import ConfigError, DataError, Problem
from feedrace.pipeline.stream import Stream, is_windowed, own_order
from feedrace.plan.steps import TRAIN, plan_stream


class Problems(list[Problem]):
    """The problems found so far, to be told at once."""

    cause: BaseException | None = None

    @contextmanager
    def of(self, path: str, *, data_path: str | None = None) -> Iterator[None]:
        """Collect what is wrong with the part at `path`; what data shows, at `data_path`."""
        try:
            yield
        except ConfigError as error:
            self.extend(error.at(path))
            self.cause = self.cause or error.__cause__
        except (DataError, NotImplementedError) as error:
            self.append(Problem(path if data_path is None else data_path, str(error)))
            self.cause = self.cause or error

    def tell(self) -> None:
        """Raise `ConfigError` with all problems, where there are any."""
        if self:
            raise ConfigError(self) from self.cause


class Wiring:
    """Makes the parts of a pipeline and joins them into streams, keeping all problems."""

    def __init__(
        self,
        *,
        rngs: nnx.Rngs | None,
        key: Any,
        drop_remainder: bool,
        batch_size: int,
        placement: Placement,
    ) -> None:
        self._rngs = rngs
        self._key = key
        self._drop_remainder = drop_remainder
        self._batch_size = batch_size
        self._placement = placement
        self.problems = Problems()
        self.streams: dict[str, Stream] = {}

    def scheduler(self, given: Any) -> Any:
        """Return the scheduler; raises `ConfigError` at once, since the rest depends on it."""
        made = self._made("scheduler", given, "scheduler")
        self.problems.tell()
        return SingleScheduler() if made is None else made

    def wire(
        self, scheduler: Any, *, source: Any, sampler: Any, batcher: Any, stages: Sequence[Any]
    ) -> dict[str, Stream]:
        """Return the streams by name: the train stream, then those of the callbacks."""
        made = [self._made("stage", v, f"stages[{i}]") for i, v in enumerate(stages)]
        batcher = self._made("batcher", batcher, "batcher")
        callbacks = getattr(scheduler, "callbacks", ())
        for i, callback in enumerate(callbacks):
            names = [TRAIN, *(c.stream for c in callbacks[:i])]
            if callback.stream in names:
                path = f"scheduler.callbacks[{i}].stream"
                self.problems.append(Problem(path, f"{callback.stream!r} is taken already"))
        self._add(TRAIN, self._batch_size, source, sampler, batcher, made, "")
        for i, callback in enumerate(callbacks):
            path = f"scheduler.callbacks[{i}]."
            if callback.stages is None:
                own = [stage for stage in made if not is_stochastic(stage)]
            else:
                own = [
                    self._made("stage", stage, f"{path}stages[{j}]")
                    for j, stage in enumerate(callback.stages)
                ]
            self._add(
                callback.stream,
                callback.batch_size or self._batch_size,
                callback.source,
                callback.sampler,
                self._made("batcher", callback.batcher, f"{path}batcher") or batcher,
                own,
                path,
            )
        self.problems.tell()
        return self.streams

    def _made(self, kind: str, value: Any, path: str, num_records: int | None = None) -> Any:
        """Return the component that a mapping, a parsed config or a live object stands for."""
        found = None
        if value is not None:
            with self.problems.of(path):
                parsed = registry.parse(kind, value)
                made = registry.instantiate(parsed, num_records=num_records, rngs=self._rngs)
                wrong = protocols.check(kind, made)
                if wrong:
                    raise ConfigError([Problem("", f"{made!r} is no {kind}; it {wrong}")])
                found = made
        return found

    def _add(
        self,
        name: str,
        batch_size: int,
        source: Any,
        sampler: Any,
        batcher: Any,
        stages: Sequence[Any],
        path: str,
    ) -> None:
        staged = None
        with self.problems.of(path.removesuffix(".")):
            staged = Stages([s for s in stages if s is not None], stream=name, key=self._key)
        source = self._made("source", source, f"{path}source")
        if source is None:
            if not self.problems:
                self.problems.append(Problem(f"{path}source", "missing; every stream needs one"))
            return
        records = len(source)
        sampler = self._made("sampler", sampler, f"{path}sampler", num_records=records)
        with self.problems.of(f"{path}sampler"):
            if hasattr(sampler, "attach"):
                sampler.attach(source)
        order = sampler if sampler is not None else own_order(source)
        number = getattr(getattr(order, "config", None), "num_records", None)
        if number is not None and number > records:
            said = f"{number} is more than the {records} records of its source"
            self.problems.append(Problem(f"{path}sampler.num_records", said))
        drop = self._drop_remainder and name == TRAIN
        if drop and is_windowed(batcher):
            said = (
                f"batcher {type(batcher).__name__} pads the short batches of each window and "
                f"drops none; leave drop_remainder out"
            )
            self.problems.append(Problem("drop_remainder", said))
        with self.problems.of(path.removesuffix(".")):
            self._placement.check(batch_size, "batch_size")
            planned = batcher.window_size(batch_size) if is_windowed(batcher) else batch_size
            plan = plan_stream(name, order, batch_size=planned, drop_remainder=drop)
            if staged is not None:
                self.streams[name] = Stream(
                    plan=plan,
                    batch_size=batch_size,
                    source=source,
                    sampler=sampler,
                    batcher=batcher,
                    stages=staged,
                    placement=self._placement,
                )
        if batcher is not None and name in self.streams:
            with self.problems.of(f"{path}batcher"), suppress(NotImplementedError):
                self.streams[name].batcher_specs()  # what the source has may not be what it takes
