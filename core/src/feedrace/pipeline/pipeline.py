"""The pipeline: plan -> source.fetch -> batcher -> device -> stages, readable top to bottom."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from typing import Any

import attrs
import jax
import numpy as np
from flax import nnx

from feedrace import registry
from feedrace.builtin.single import SingleScheduler
from feedrace.config.fields import check_integer
from feedrace.device.placement import agree, placement_of
from feedrace.errors import ConfigError, FeedraceError, Problem, StateError
from feedrace.host.records import check_batch_size
from feedrace.pipeline.iterator import PipelineIterator
from feedrace.pipeline.run import Run, split_counters
from feedrace.pipeline.stream import INSIDE, is_windowed
from feedrace.pipeline.wiring import Wiring
from feedrace.plan import state
from feedrace.plan.steps import TRAIN, Step, StreamPlan


class Pipeline(nnx.Module):
    """An iterable of batches on the device: dicts of arrays of static shape with a `valid_mask`.

    source: gives records by number (`feedrace.protocols.IndexedSource`).
    stages: callables on a batch, jitted together; those on the host come first.
    batch_size: records in a batch; the last of an epoch is padded, or dropped with
        `drop_remainder`.
    rngs: `nnx.Rngs` whose default stream is the seed of stochastic stages.
    sampler: orders the records; without one, a pass is one epoch in the source's own order.
    batcher: groups records into batches; by default they are padded and masked as they come.
    scheduler: orders the steps of several streams; by default there is the train stream alone.
    prefetch: batches made ahead by a thread; 0 makes each when it is asked for. Records that are on
        the device already need no thread: with 1 or more, several batches are one dispatch.
    sharding: lays batches over devices, and over hosts under `jax.distributed`: a
        `jax.sharding.Sharding`, the name of a mesh axis for the rows, or a dict of these by field.
    stall_seconds: a `StallWarning` tells what blocks the thread where no batch comes for so long;
        where one of several processes is missing for so long, an error tells which.

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
        sharding: Any = None,
        stall_seconds: float = 300.0,
    ) -> None:
        check_batch_size(batch_size)
        check_integer("prefetch", prefetch, 0)
        if not isinstance(drop_remainder, bool):
            raise _problem("drop_remainder", f"{drop_remainder!r} is neither true nor false")
        if not isinstance(stages, list | tuple):
            raise _problem("stages", f"is one {type(stages).__name__}; give a list of stages")
        if isinstance(stall_seconds, bool) or not isinstance(stall_seconds, int | float):
            raise _problem("stall_seconds", f"{stall_seconds!r} is not a number of seconds")
        if not stall_seconds > 0:
            raise _problem("stall_seconds", f"{stall_seconds!r} is not more than 0")
        key = _default_key(rngs)
        wiring = Wiring(
            rngs=rngs,
            key=key,
            drop_remainder=drop_remainder,
            batch_size=batch_size,
            placement=placement_of(sharding),
        )
        made = wiring.scheduler(scheduler)
        streams = wiring.wire(made, source=source, sampler=sampler, batcher=batcher, stages=stages)
        # What follows is static to NNX: one object, which the copies in a traced function share.
        self._updates = nnx.Variable(np.int32(0))
        self._run: Run = nnx.static(
            Run(
                streams=streams,
                scheduler=made,
                prefetch=prefetch,
                stall_seconds=float(stall_seconds),
                updates=self._updates,
            )
        )
        self._key: Any = nnx.static(_Key(key))
        self._stepping: Any = nnx.static(_Stepping())
        self._drop_remainder = drop_remainder
        self._sharding = sharding if isinstance(sharding, str) else None
        train = streams[TRAIN]
        # And what a traced function needs of it: the records, the parameters, the updates done.
        self._source = train.source if isinstance(train.source, nnx.Module) else None
        self._modules = train.stages.modules
        with wiring.problems.of("", data_path="sampler"):
            next(self._run.planned(), None)  # can a schedule be made?
        wiring.problems.tell()

    @property
    def scheduler(self) -> Any:
        """What orders the steps of the streams."""
        return self._run.scheduler

    @property
    def plans(self) -> Mapping[str, StreamPlan]:
        """The plan of each stream: batches per epoch and pass, batch size, which records when."""
        return self._run.plans

    def __iter__(self) -> PipelineIterator:
        """Return an iterator over the batches that are left of the current pass, of all streams."""
        return PipelineIterator(self, self._batches)

    def steps(self) -> PipelineIterator:
        """Return an iterator over the steps that are left of the current pass, with their batches.

        The pass after it is the next epoch or epochs. It begins, too, where an earlier iteration
        stopped on the very last step. A newer iteration, or `set_state`, ends this one with a
        `FeedraceError`. The iterator is closed by the end of the loop, by `close()`, as a context
        manager, and when it is garbage collected.
        """
        return PipelineIterator(self, self._steps)

    def _steps(self) -> Generator[Step]:
        if self._stepping.iteration is not self._run.iteration:
            self._stepping.end()
        return self._run.steps(self._print)

    def _batches(self) -> Generator[dict[str, Any]]:
        with closing(self._steps()) as steps:
            for step in steps:
                yield step.batch

    def step(self) -> dict[str, Any]:
        """Return the next batch of all, going on into the next pass where one ends.

        Inside a function that `nnx.jit` or `nnx.grad` traces, and that takes the pipeline as an
        argument, the batch is part of its program, and gradients flow to the parameters of stages.
        This needs records that are on the device, no scheduler, and an order that JAX can compute
        (that of a source, `sequential`, `shuffle` or `epoch-aware`): `FeedraceError` otherwise.
        Samplers and plugins are not told of epochs that end there. A copy of the pipeline that
        `nnx.clone` makes steps for itself, but shares all iterations.
        """
        run = self._run
        if self._updates is not run.updates:  # this is the copy that a transformed function sees
            return self._traced_step(self._updates.get_value())
        run.catch_up()
        step, stepping = None, self._stepping
        if stepping.steps is not None and stepping.iteration is run.iteration:
            step = next(stepping.steps, None)
        if step is None:
            stepping.end()
            stepping.steps = self.steps()
            step = next(stepping.steps)
            stepping.iteration = run.iteration
        batch: dict[str, Any] = step.batch
        return batch

    def _traced_step(self, updates: Any) -> dict[str, Any]:
        train = self._run.streams[TRAIN]
        plan, size, path = train.plan, train.batch_size, self._device_path("step")
        if not isinstance(self.scheduler, SingleScheduler):
            raise FeedraceError("step() is traced for the train stream alone; leave scheduler out")
        if not hasattr(plan.sampler, "indices_at"):
            raise FeedraceError(
                f"JAX cannot compute the order of {type(plan.sampler).__name__} (it has no "
                f"indices_at); use scan(), or iterate"
            )
        epoch = (updates // plan.batches_per_epoch).astype(np.uint32)
        offset = updates % plan.batches_per_epoch * size
        batch: dict[str, Any] = path.traced(self._source, self._modules, epoch, offset)
        self._updates.set_value(updates + 1)
        return batch

    def scan(
        self,
        step_fn: Callable[..., Any],
        *,
        length: int,
        modules: Sequence[Any] = (),
        init_carry: Any = None,
    ) -> Any:
        """Run `step_fn` on the next `length` batches in one XLA program; return its outputs.

        step_fn: `step_fn(*modules, batch)` returns an output; with `init_carry` it is
            `step_fn(carry, *modules, batch)` and returns (carry, output). Give the same function
            each time: another one is compiled anew.
        modules: `nnx.Module`s (model, optimizer) that it may change; they are updated in the end.

        The outputs are stacked along a new leading axis; with `init_carry`, (carry, outputs) is
        returned. Batches are those that iterating gives, passes following one another. Raises
        `FeedraceError` where records are not on the device, and where a step of another stream
        comes before the end. The pipeline stands where it stood if anything raises.
        """
        check_integer("length", length, 1)
        if not callable(step_fn):
            raise _problem("step_fn", f"{step_fn!r} is not a function of modules and a batch")
        if not isinstance(modules, list | tuple):
            raise _problem("modules", f"is one {type(modules).__name__}; give a tuple of modules")
        path = self._device_path("scan")
        run = self._run
        run.finish_step()
        run.catch_up()
        if run.is_global:
            agree([run.counters, length, self._print()], run.stall_seconds)
        steps = run.train_steps(length)
        result = path.scan(step_fn, tuple(modules), init_carry, steps)
        run.iteration = object()
        for step in steps:
            run.hand(step)
            run.finish_step()
        return result

    def _device_path(self, method: str) -> Any:
        train = self._run.streams[TRAIN]
        if train.device_path is None:
            why = (
                f"batcher {type(train.batcher).__name__} does more than stack records"
                if not train.by_rows
                else "a stage runs on the host"
                if train.stages.on_host
                else f"{type(train.source).__name__} does not hold all fields there (device_data)"
            )
            raise FeedraceError(f"{method}() needs batches made on the device: {why}; iterate")
        return train.device_path

    def stats(self) -> dict[str, Any]:
        """Return where the time has gone since the pipeline was made, in all iterations.

        `seconds` by part: those of making batches ("source", "decode", "batch", "host stages",
        "transfer", "stages", "plan"; JAX dispatches the last ones and may go on with them), and
        "waiting" for a batch against "training" until the next is asked for. `input_bound` is the
        share of waiting in both; `queue_depth` and `mean_queue_depth` are batches ready when one
        was asked for; `steps` and `records` were handed out.
        """
        run = self._run
        sources = {id(s.source): s.source for s in run.streams.values()}.values()
        decode = sum(float(getattr(source, "decode_seconds", 0.0)) for source in sources)
        return run.timing.stats(decode)

    def batch_spec(self, stream: str = TRAIN) -> dict[str, Any]:
        """Return the spec of a stream's batches: a dict of `jax.ShapeDtypeStruct`.

        Where they have several shapes, it is that of the largest; `batch_specs` gives all.
        """
        return self.batch_specs(stream)[-1]

    def batch_specs(self, stream: str = TRAIN) -> tuple[dict[str, Any], ...]:
        """Return the specs of all shapes that a stream's batches may have, the largest last."""
        streams = self._run.streams
        if stream not in streams:
            known = ", ".join(streams)
            raise _problem("stream", f"no stream is called {stream!r}; there are {known}")
        return streams[stream].batch_specs()

    def components(self) -> dict[str, tuple[str, Any]]:
        """Return its parts by path (`source`, `stages[0]`, `test.source`), as (kind, object)."""
        parts: dict[str, tuple[str, Any]] = {}
        for name, stream in self._run.streams.items():
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
        """A mapping from which `feedrace.build` makes an equal pipeline.

        A sharding that is not the name of a mesh axis is left out. Raises `UnknownComponentError`
        where a part has no name.
        """
        run = self._run
        train = run.streams[TRAIN]
        config: dict[str, Any] = (
            {} if self._key.value is None else {"seed": _seed_of(self._key.value)}
        )
        config |= {
            "batch_size": train.batch_size,
            "drop_remainder": self._drop_remainder,
            "prefetch": run.prefetch,
            "stall_seconds": run.stall_seconds,
            "stages": [registry.describe("stage", stage) for stage in train.stages.stages],
        }
        if self._sharding is not None:
            config["sharding"] = self._sharding
        for kind, part in (
            ("source", train.source),
            ("sampler", train.sampler),
            ("batcher", train.batcher),
            ("scheduler", self.scheduler),
        ):
            if part is not None:
                config[kind] = registry.describe(kind, part)
        return config

    def get_state(self) -> dict[str, Any]:
        """Return where the pipeline stands, as a JSON document of less than 2 KB.

        It names the batches that were handed out: what a thread made ahead does not count.
        """
        self._run.catch_up()
        return state.document(self._run.counters, self._print())

    def set_state(self, document: dict[str, Any], *, ignore_fingerprint: bool = False) -> None:
        """Go to a state that `get_state` gave, here or in another process; nothing is read.

        Raises `TypeError` for anything but a dict; `StateError` where it is cut, or of another
        pipeline (saying what differs) unless `ignore_fingerprint`. Nothing is changed then.
        """
        counters = state.counters_of(document, self._print(), ignore_fingerprint=ignore_fingerprint)
        planned, inside = split_counters(counters)
        step = next(self.scheduler.steps(planned, self.plans), None)  # refuses what cannot be
        streams = self._run.streams
        if inside and (step is None or not is_windowed(streams[step.stream].batcher)):
            raise StateError(f"the state stands inside a window ({INSIDE}={inside}); there is none")
        self._run.go_to(counters)
        self._stepping.end()

    def reset(self) -> None:
        """Go back to the first batch of epoch 0."""
        self._run.go_to({"pass": 0})
        self._stepping.end()

    def _print(self) -> dict[str, Any]:
        run = self._run
        parts: dict[str, Any] = {
            name: [stream.batch_size, stream.plan.records_per_epoch]
            for name, stream in run.streams.items()
        }
        parts["drop_remainder"] = self._drop_remainder
        if self._key.value is not None:
            parts["key"] = np.asarray(jax.random.key_data(self._key.value)).tolist()
        for path, (kind, part) in self.components().items():
            parts[path] = registry.describe(kind, part, identity_only=True)
            if hasattr(part, "identity"):
                parts[path]["data"] = part.identity()
        return state.fingerprint(parts)


@attrs.define(eq=False)
class _Stepping:
    """The iterator behind `step()`, and the iteration of the run that it is."""

    steps: Any = None
    iteration: object = None

    def end(self) -> None:
        steps, self.steps = self.steps, None
        if steps is not None:
            steps.close()


@attrs.frozen(eq=False)
class _Key:
    """The key of stochastic stages, hidden from NNX, or None."""

    value: Any


def _problem(path: str, message: str) -> ConfigError:
    return ConfigError([Problem(path, message)])


def _default_key(rngs: Any) -> Any:
    """Return the key of the default stream, or None without rngs."""
    if rngs is None:
        return None
    if not isinstance(rngs, nnx.Rngs) or "default" not in rngs:
        raise _problem("rngs", f"{rngs!r} is no nnx.Rngs with a default stream, as nnx.Rngs(0) is")
    return rngs["default"].key.get_value()


def _seed_of(key: Any) -> int:
    words = np.asarray(jax.random.key_data(key)).reshape(-1)
    if words.shape != (2,):
        raise FeedraceError("the key of the pipeline's rngs is not one that a seed makes")
    return int(words[0]) << 32 | int(words[1])
