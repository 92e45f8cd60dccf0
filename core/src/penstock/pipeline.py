"""The pipeline: plan -> source.fetch -> batcher -> device -> stages, readable top to bottom."""

import itertools
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any, cast

import attrs
import jax
import numpy as np
from flax import nnx

from penstock import registry, specs, state
from penstock.builtin.single import SingleScheduler
from penstock.config import check_integer
from penstock.errors import ConfigError, DataError, PenstockError, Problem
from penstock.placement import Closing, Prefetched
from penstock.plan import TRAIN, Step, StreamPlan, plan_stream
from penstock.stages import Stages, is_stochastic
from penstock.stream import Stream, own_order


class Pipeline:
    """An iterable of batches on the device: dicts of arrays of static shape with a `valid_mask`.

    source: gives records by number (`penstock.protocols.IndexedSource`).
    stages: callables on a batch, jitted together.
    batch_size: records in a batch; the last of an epoch is padded, or dropped with
        `drop_remainder`.
    rngs: `nnx.Rngs` whose default stream is the seed of stochastic stages.
    sampler: orders the records; without one, a pass is one epoch in the source's own order.
    batcher: groups records into batches; by default they are padded and masked as they come.
    scheduler: orders the steps of several streams; by default there is the train stream alone.
    prefetch: batches made ahead by a thread; 0 makes each when it is asked for.

    Components may also be given as `{"use": name, ...}`. Raises `ConfigError` with all problems.
    """

    def __init__(
        self,
        *,
        source: Any,
        batch_size: int,
        stages: Sequence[Any] = (),
        rngs: nnx.Rngs | None = None,
        sampler: Any = None,
        batcher: Any = None,
        scheduler: Any = None,
        drop_remainder: bool = False,
        prefetch: int = 2,
    ) -> None:
        specs.check_batch_size(batch_size)
        check_integer("prefetch", prefetch, 0)
        if not isinstance(drop_remainder, bool):
            raise _problem("drop_remainder", f"{drop_remainder!r} is neither true nor false")
        if not isinstance(stages, list | tuple):
            raise _problem("stages", f"is one {type(stages).__name__}; give a list of stages")
        self._key = _default_key(rngs)
        self._rngs = rngs
        self.drop_remainder = drop_remainder
        self.prefetch = prefetch
        early = _Problems()
        chosen = self._made("scheduler", scheduler, "scheduler", early)
        self.scheduler = chosen if chosen is not None else cast(Any, SingleScheduler())
        early.tell()
        problems = _Problems()
        made = [self._made("stage", v, f"stages[{i}]", problems) for i, v in enumerate(stages)]
        batcher = self._made("batcher", batcher, "batcher", problems)
        self._streams: dict[str, Stream] = {}
        for i, callback in enumerate(getattr(self.scheduler, "callbacks", ())):
            names = [TRAIN, *(c.stream for c in self.scheduler.callbacks[:i])]
            if callback.stream in names:
                path = f"scheduler.callbacks[{i}].stream"
                problems.append(Problem(path, f"{callback.stream!r} is taken already"))
        self._add_stream(TRAIN, batch_size, source, sampler, batcher, made, "", problems)
        for i, callback in enumerate(getattr(self.scheduler, "callbacks", ())):
            path = f"scheduler.callbacks[{i}]."
            if callback.stages is None:
                own = [stage for stage in made if not is_stochastic(stage)]
            else:
                own = [
                    self._made("stage", stage, f"{path}stages[{j}]", problems)
                    for j, stage in enumerate(callback.stages)
                ]
            self._add_stream(
                callback.stream,
                callback.batch_size or batch_size,
                callback.source,
                callback.sampler,
                self._made("batcher", callback.batcher, f"{path}batcher", problems) or batcher,
                own,
                path,
                problems,
            )
        problems.tell()
        self._counters: dict[str, int] = {"pass": 0}
        self._iteration: object = None
        self._handed: Step | None = None  # the last step, until its epoch has been told of
        self._live = False  # whether a step of this pass was handed out by this very object
        with problems.of("", data_path="sampler"):
            next(self.scheduler.steps(self._counters, self.plans), None)  # can a schedule be made?
        problems.tell()

    def _made(
        self,
        kind: str,
        value: Any,
        path: str,
        problems: "_Problems",
        num_records: int | None = None,
    ) -> Any:
        """Return the component that a mapping, a parsed config or a live object stands for."""
        found = None
        if value is not None:
            with problems.of(path):
                parsed = registry.parse(kind, value)
                made = registry.instantiate(parsed, num_records=num_records, rngs=self._rngs)
                lacking = [m for m in _METHODS[kind] if not hasattr(made, m)]
                if isinstance(made, type) or lacking:
                    said = f"lacks {', '.join(lacking)}" if lacking else "is a class"
                    raise _problem("", f"{made!r} is no {kind}; it {said}")
                found = made
        return found

    def _add_stream(
        self,
        name: str,
        batch_size: int,
        source: Any,
        sampler: Any,
        batcher: Any,
        stages: Sequence[Any],
        path: str,
        problems: "_Problems",
    ) -> None:
        staged = None
        with problems.of(path.removesuffix(".")):
            staged = Stages([s for s in stages if s is not None], stream=name, key=self._key)
        source = self._made("source", source, f"{path}source", problems)
        if source is None:
            if not problems:
                problems.append(Problem(f"{path}source", "missing; every stream needs one"))
            return
        records = len(source)
        sampler = self._made("sampler", sampler, f"{path}sampler", problems, num_records=records)
        order = sampler if sampler is not None else own_order(source)
        number = getattr(getattr(order, "config", None), "num_records", None)
        if number is not None and number > records:
            said = f"{number} is more than the {records} records of its source"
            problems.append(Problem(f"{path}sampler.num_records", said))
        with problems.of(path.removesuffix(".")):
            plan = plan_stream(
                name,
                order,
                batch_size=batch_size,
                drop_remainder=self.drop_remainder and name == TRAIN,
            )
            if staged is not None:
                self._streams[name] = Stream(
                    plan=plan, source=source, sampler=sampler, batcher=batcher, stages=staged
                )

    def __iter__(self) -> Closing:
        """Return an iterator over the batches that are left of the current pass, of all streams."""
        return Closing(self._batches())

    def steps(self) -> Closing:
        """Return an iterator over the steps that are left of the current pass, with their batches.

        The pass after it is the next epoch or epochs. It begins, too, where an earlier iteration
        stopped on the very last step. A newer iteration, or `set_state`, ends this one with a
        `PenstockError`. The iterator is closed by the end of the loop, by `close()`, as a context
        manager, and when it is garbage collected.
        """
        return Closing(self._steps())

    def _batches(self) -> Generator[dict[str, Any]]:
        with self.steps() as steps:
            for step in steps:
                yield step.batch

    def _steps(self) -> Generator[Step]:
        mine = self._iteration = object()
        self._finish_step()
        planned = self.scheduler.steps(self._counters, self.plans)
        first = next(planned, None)
        if first is None and self._live:
            self._end_pass()
            planned = self.scheduler.steps(self._counters, self.plans)
            first = next(planned, None)
        if first is not None:
            made = (self._with_batch(step) for step in itertools.chain([first], planned))
            with Prefetched(made, self.prefetch) if self.prefetch else closing(made) as steps:
                for step in steps:
                    self._counters = dict(step.after)
                    self._handed, self._live = step, True
                    yield step
                    if self._iteration is not mine:
                        raise PenstockError(
                            "this iteration is out of date: the pipeline was iterated anew or "
                            "given a state since"
                        )
                    self._finish_step()
        self._end_pass()

    def _finish_step(self) -> None:
        """Tell the sampler of an epoch that the last step handed out has completed."""
        step, self._handed = self._handed, None
        if step is not None:
            stream = self._streams[step.stream]
            told = getattr(stream.sampler, "epoch_completed", None)
            if told is not None and stream.plan.ends_epoch(step.start):
                told(step.start // stream.plan.records_per_epoch)

    def _end_pass(self) -> None:
        self._counters, self._live = {"pass": self._counters["pass"] + 1}, False

    def _with_batch(self, step: Step) -> Step:
        try:
            return attrs.evolve(step, batch=self._streams[step.stream].batch(step))
        except Exception as error:
            shown = ", ".join(map(str, step.indices[:8])) + (", ..." * (len(step.indices) > 8))
            error.add_note(
                f"while making the batch of stream {step.stream!r}, epoch {step.epoch}, "
                f"update {step.update}, records [{shown}]"
            )
            raise

    @property
    def plans(self) -> Mapping[str, StreamPlan]:
        """The plan of each stream: batches per epoch and pass, batch size, which records when."""
        return {name: stream.plan for name, stream in self._streams.items()}

    def batch_spec(self, stream: str = TRAIN) -> dict[str, Any]:
        """Return the spec of a stream's batches: a dict of `jax.ShapeDtypeStruct`."""
        if stream not in self._streams:
            known = ", ".join(self._streams)
            raise _problem("stream", f"no stream is called {stream!r}; there are {known}")
        return self._streams[stream].batch_spec()

    def components(self) -> dict[str, tuple[str, Any]]:
        """Return its parts by path (`source`, `stages[0]`, `test.source`), as (kind, object)."""
        parts: dict[str, tuple[str, Any]] = {}
        for name, stream in self._streams.items():
            prefix = "" if name == TRAIN else f"{name}."
            parts[f"{prefix}source"] = ("source", stream.source)
            if stream.sampler is not None:
                parts[f"{prefix}sampler"] = ("sampler", stream.sampler)
            if stream.batcher is not None:
                parts[f"{prefix}batcher"] = ("batcher", stream.batcher)
            for i, stage in enumerate(stream.stages.stages):
                parts[f"{prefix}stages[{i}]"] = ("stage", stage)
        return {**parts, "scheduler": ("scheduler", self.scheduler)}

    @property
    def config(self) -> dict[str, Any]:
        """A mapping from which `penstock.build` makes an equal pipeline.

        Raises `UnknownComponentError` where a part has no name.
        """
        train = self._streams[TRAIN]
        config: dict[str, Any] = {} if self._key is None else {"seed": self._seed()}
        config |= {
            "batch_size": train.plan.batch_size,
            "drop_remainder": self.drop_remainder,
            "prefetch": self.prefetch,
            "stages": [registry.describe("stage", stage) for stage in train.stages.stages],
        }
        for kind, part in (
            ("source", train.source),
            ("sampler", train.sampler),
            ("batcher", train.batcher),
            ("scheduler", self.scheduler),
        ):
            if part is not None:
                config[kind] = registry.describe(kind, part)
        return config

    def _seed(self) -> int:
        words = np.asarray(jax.random.key_data(self._key)).reshape(-1)
        if words.shape != (2,):
            raise PenstockError("the key of the pipeline's rngs is not one that a seed makes")
        return int(words[0]) << 32 | int(words[1])

    def get_state(self) -> dict[str, Any]:
        """Return where the pipeline stands, as a JSON document of less than 2 KB.

        It names the batches that were handed out: what a thread made ahead does not count.
        """
        return state.document(self._counters, self._print())

    def set_state(self, document: dict[str, Any], *, ignore_fingerprint: bool = False) -> None:
        """Go to a state that `get_state` gave, here or in another process; nothing is read.

        Raises `TypeError` for anything but a dict; `StateError` where it is cut, or of another
        pipeline (saying what differs) unless `ignore_fingerprint`. Nothing is changed then.
        """
        counters = state.counters_of(document, self._print(), ignore_fingerprint=ignore_fingerprint)
        next(self.scheduler.steps(counters, self.plans), None)  # it refuses impossible counters
        self._go_to(counters)

    def reset(self) -> None:
        """Go back to the first batch of epoch 0."""
        self._go_to({"pass": 0})

    def _go_to(self, counters: dict[str, int]) -> None:
        self._iteration = object()
        self._handed, self._live = None, False
        self._counters = counters

    def _print(self) -> dict[str, Any]:
        parts: dict[str, Any] = {
            name: [stream.plan.batch_size, stream.plan.records_per_epoch]
            for name, stream in self._streams.items()
        }
        parts["drop_remainder"] = self.drop_remainder
        if self._key is not None:
            parts["key"] = np.asarray(jax.random.key_data(self._key)).tolist()
        for path, (kind, part) in self.components().items():
            parts[path] = registry.describe(kind, part, identity_only=True)
            if hasattr(part, "identity"):
                parts[path]["data"] = part.identity()
        return state.fingerprint(parts)


_METHODS = {
    "source": ("fetch", "__len__", "element_spec"),
    "sampler": ("indices", "__len__"),
    "batcher": ("process", "batch_spec"),
    "scheduler": ("steps",),
    "stage": ("__call__",),
}


class _Problems(list[Problem]):
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


def _problem(path: str, message: str) -> ConfigError:
    return ConfigError([Problem(path, message)])


def _default_key(rngs: Any) -> Any:
    """Return the key of the default stream, or None without rngs."""
    if rngs is None:
        return None
    if not isinstance(rngs, nnx.Rngs) or "default" not in rngs:
        raise _problem("rngs", f"{rngs!r} is no nnx.Rngs with a default stream, as nnx.Rngs(0) is")
    return rngs["default"].key.get_value()
