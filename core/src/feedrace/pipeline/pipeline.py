"""The pipeline: plan -> host (fetch, stages on records, batcher, host stages) -> device."""

import functools
import inspect
import itertools
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
import jax
import numpy as np
from flax import nnx

from feedrace.config.fields import MAX_SEED
from feedrace.device.processes import same_on_all_processes
from feedrace.errors import ConfigError, FeedraceError, Problem, clipped
from feedrace.host import tracing
from feedrace.pipeline import description, windows
from feedrace.pipeline.executors import execute, made_ahead
from feedrace.pipeline.iteration import PipelineIterator, Progress, next_pass
from feedrace.pipeline.on_device import check_scan, next_train_steps, traced_batch
from feedrace.pipeline.options import PipelineOptions, options_of, parse_options
from feedrace.pipeline.streams import Parts, Problems, build_parts, key_of_seed, start_workers
from feedrace.plan import state
from feedrace.plan.steps import TRAIN, Step, StreamPlan
from feedrace.plan.windows import WindowPlan
from feedrace.protocols import Counted, EpochListener, Fitted, Timed, provides


class Pipeline(description.Described, nnx.Module):
    """An iterable of batches on the device: dicts of arrays of static shape with a `valid_mask`.

    `Pipeline(source=..., batch_size=..., ...)` takes the fields of `PipelineOptions` by name, and
    `rngs`, an `nnx.Rngs` in place of `seed`. Raises `ConfigError` with all problems.
    """

    def __init__(
        self,
        options: PipelineOptions | None = None,
        /,
        *,
        rngs: nnx.Rngs | None = None,
        **fields: Any,
    ) -> None:
        key = _key_of(rngs)
        if options is None:
            if key is not None and fields.get("seed") is not None:
                raise _problem("seed", "given with rngs; give one of the two")
            options = options_of(fields if key is None else {**fields, "seed": _folded(key)})
        if key is None and options.seed is not None:
            key = key_of_seed(options.seed)
            rngs = nnx.Rngs(key)
        parts = build_parts(options, key=key, rngs=rngs)
        stages = [stage for stream in parts.streams.values() for stage in stream.stages.stages]
        if any(provides(stage, Fitted) and stage.fits is not None for stage in stages):
            from feedrace.pipeline.statistics import fit_stages  # which may read all records

            fit_stages(parts)
        train = parts.streams[TRAIN]
        # The source and the stages with parameters, and the updates done, are what a traced
        # function needs; the rest is static to NNX, and shared by the copies it makes.
        self._source = train.source if isinstance(train.source, nnx.Module) else None
        self._modules = train.stages.modules
        self._updates = nnx.Variable(np.int32(0))
        self._parts: Parts = nnx.static(parts)
        following = functools.partial(windows.next_pass, parts) if parts.is_windowed else next_pass
        progress = Progress(self._updates, parts.plans[TRAIN].batches_per_pass, following)
        self._progress: Progress = nnx.static(progress)
        self._stepping: _Stepping = nnx.static(_Stepping())
        problems = Problems()
        with problems.of("", data_path="sampler"):
            next(self._planned(), None)  # can a schedule be made?
        problems.report()

    def __len__(self) -> int:
        """Return the number of batches in a pass, of all streams.

        Raises `TypeError` if a pass never ends, and if only reading the records shows it.
        """
        counted = provides(self.scheduler, Counted) and not self._parts.is_windowed
        steps = self.scheduler.steps_per_pass(self.plans) if counted else None
        if steps is None:
            why = "a pass never ends, or its scheduler does not count"
            if self._parts.is_windowed:
                why = "they depend on what is in the records"
            raise TypeError(f"the number of batches is not known beforehand: {why}")
        return int(steps)

    def __bool__(self) -> bool:
        return True  # also if its length is not known

    def __reduce__(self) -> Any:
        try:
            return _rebuilt, (self.config, self.get_state())
        except FeedraceError as error:
            message = "this pipeline cannot be pickled; keep its get_state(), and make it anew"
            raise TypeError(f"{message} ({error})") from error

    def __iter__(self) -> PipelineIterator:
        """Return an iterator over the batches that are left of the current pass, of all streams."""
        return PipelineIterator(self, self._progress, self._steps, batches=True)

    def steps(self) -> PipelineIterator:
        """Return an iterator over the steps that are left of the current pass, with their batches.

        The pass after it is the next epoch or epochs. It begins, too, if an earlier iteration
        stopped on the very last step. A newer iteration, or `set_state`, ends this one with a
        `FeedraceError`. The end of the loop, `close()`, the end of a `with` block and garbage
        collection close the iterator.
        """
        return PipelineIterator(self, self._progress, self._steps)

    def _steps(self) -> Generator[Step]:
        """Plan the steps, execute them ahead of the loop, and hand them out."""
        if self._stepping.iteration is not self._progress.iteration:
            self._stepping.end()
        return self._run()

    def _run(self) -> Generator[Step]:
        parts, progress, options = self._parts, self._progress, self._parts.options
        self._settle()
        progress.catch_up()
        mine = progress.iteration = object()
        first = next(planned := self._planned(), None)
        if first is None and progress.live:
            progress.end_pass()
            first = next(planned := self._planned(), None)
        if first is not None:
            if parts.is_global:
                agreed = [progress.counters, self._fingerprint()]
                same_on_all_processes(agreed, options.stall_seconds)
            workers = None if parts.is_on_device else start_workers(parts, progress.timing)
            planned = itertools.chain([first], planned)
            if parts.is_windowed and workers:
                planned = windows.planned(parts, progress.counters, workers, progress.timing.clock)
            alone = parts.is_late or not options.prefetch
            items = execute(planned, parts.streams, workers, progress.timing.clock, alone)
            with made_ahead(
                items,
                prefetch=options.prefetch,
                late=parts.is_late,
                on_device=parts.is_on_device,
                stall_seconds=options.stall_seconds,
                timing=progress.timing,
                on_close=workers.close if workers else bool,
            ) as (steps, ready):
                for step in progress.timing.follow(steps, ready):
                    progress.check(mine)  # another thread may have gone elsewhere meanwhile
                    progress.count(step.update)
                    yield step
                    progress.check(mine)
                    self._settle()
        progress.end_pass()

    def _planned(self, counters: Mapping[str, int] | None = None) -> Iterator[Step]:
        """Yield the steps that are left, without batches; with windows, only whether one is."""
        counters = self._progress.counters if counters is None else counters
        if self._parts.is_windowed:
            return windows.first_of(self._parts, counters)
        planned: Iterator[Step] = self.scheduler.steps(counters, self.plans)
        return planned

    def _settle(self) -> None:
        """Report to a sampler that the last step handed out has completed its epoch."""
        step = self._progress.settle()
        stream = None if step is None else self._parts.streams[step.stream]
        listens = stream is not None and provides(stream.sampler, EpochListener)
        if step and stream and listens and windows.ends_epoch(self._parts, step):
            stream.sampler.epoch_completed(step.start // stream.plan.records_per_epoch)

    def step(self) -> dict[str, Any]:
        """Return the next batch of all, going on into the next pass at the end of one.

        Inside a function that `nnx.jit` or `nnx.grad` traces, and that takes the pipeline as an
        argument, the batch is part of its program, and gradients flow to the parameters of stages.
        This needs records that are on the device, no scheduler, and an order that JAX can compute
        (that of a source, `sequential`, `shuffle` or `epoch-aware`): `FeedraceError` otherwise.
        Samplers do not hear of epochs that end there. A copy of the pipeline that `nnx.clone` makes
        steps for itself, but shares all iterations.
        """
        progress, stepping = self._progress, self._stepping
        if self._updates is not progress.updates:  # this is the copy that a traced function sees
            updates = self._updates.get_value()
            traced = traced_batch(self._parts, self._source, self._modules, updates)
            self._updates.set_value(updates + 1)
            return traced
        progress.catch_up()
        step = None
        if stepping.steps is not None and stepping.iteration is progress.iteration:
            step = next(stepping.steps, None)
        for _ in range(2):  # a state restored at the very end of a pass leaves nothing of it
            if step is None:
                stepping.end()
                stepping.steps = self.steps()
                step = next(stepping.steps, None)
                stepping.iteration = progress.iteration
        if step is None:
            raise FeedraceError("a pass has no steps; there is no batch to return")
        batch: dict[str, Any] = step.batch
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
        `FeedraceError` if records are not on the device, or a step of another stream comes before
        the end. If anything raises, the pipeline stands where it stood.
        """
        check_scan(step_fn, length, modules)
        parts, progress = self._parts, self._progress
        progress.check_process()
        loader = parts.streams[TRAIN].device_loader("scan()")
        self._settle()
        progress.catch_up()
        if parts.is_global:
            agreed = [progress.counters, length, self._fingerprint()]
            same_on_all_processes(agreed, parts.options.stall_seconds)
        steps = next_train_steps(self._planned, progress.counters, length)
        result = loader.scan(step_fn, tuple(modules), init_carry, steps)
        progress.iteration = object()
        for step in steps:
            progress.count(step.update)
            progress.handed = step
            self._settle()
        return result

    @property
    def scheduler(self) -> Any:
        """What orders the steps of the streams."""
        return self._parts.scheduler

    @property
    def plans(self) -> Mapping[str, StreamPlan | WindowPlan]:
        """The plan of each stream: batches per epoch and pass, batch size, which records when."""
        return self._parts.plans

    def stats(self) -> dict[str, Any]:
        """Return where the time has gone since the pipeline was made, in all iterations.

        `seconds` by part: those of making batches ("source", "decode", "record stages", "batch",
        "host stages", "transfer", "stages", "plan"; JAX dispatches some and may go on with them),
        of all workers, and "waiting" for a batch against "training" until the next is asked for.
        `workers`: for each, and for the thread that makes batches of what they load, the steps (of
        what a batcher groups, a worker counts windows), and the shares of its time in which it did
        "work", waited for "input", and for "room". `input_bound` is the share of waiting;
        `queue_depth` and `mean_queue_depth` are batches ready when one was asked for; `steps` and
        `records` were handed out.
        """
        sources = {id(s.source): s.source for s in self._parts.streams.values()}.values()
        decode = sum(float(s.decode_seconds) for s in sources if provides(s, Timed))
        return self._progress.timing.stats(decode)

    @contextmanager
    def traced(self, path: str | os.PathLike[str]) -> Generator[None]:
        """Write what each thread and worker did in a `with` block to a file at its end.

        The file is JSON that Perfetto and Chrome's tracing page show: each step, part and worker.
        Raises `OSError` before anything is traced if it cannot be written.
        """
        open(path, "a").close()
        self._progress.timing.trace()
        try:
            yield
        finally:
            tracing.write(path, self._progress.timing)
            self._progress.timing.trace(False)

    def batch_spec(self, stream: str = TRAIN) -> dict[str, Any]:
        """Return the spec of a stream's batches: a dict of `jax.ShapeDtypeStruct`.

        If they have several shapes, it is that of the largest; `batch_specs` gives all.
        """
        return self.batch_specs(stream)[-1]

    def batch_specs(self, stream: str = TRAIN) -> tuple[dict[str, Any], ...]:
        """Return the specs of all shapes that a stream's batches may have, the largest last."""
        streams = self._parts.streams
        if stream not in streams:
            known = ", ".join(streams)
            raise _problem("stream", f"no stream is called {stream!r}; there are {known}")
        return streams[stream].batch_specs()

    def components(self) -> dict[str, tuple[str, Any]]:
        """Return its parts by path (`source`, `stages[0]`, `test.source`), as (kind, object)."""
        return description.components_of(self._parts)

    @property
    def config(self) -> dict[str, Any]:
        """A mapping from which `feedrace.build` makes an equal pipeline.

        A sharding that is not the name of a mesh axis is left out. Raises `UnknownComponentError`
        if a part has no name, `FeedraceError` if its rngs were not made from a seed.
        """
        return description.config_of(self._parts)

    def get_state(self) -> dict[str, Any]:
        """Return where the pipeline stands, as a JSON document of less than 2 KB.

        It names the batches that were handed out: what a thread made ahead does not count.
        """
        self._progress.catch_up()
        return state.document(self._progress.counters, self._fingerprint())

    def set_state(self, document: dict[str, Any], *, ignore_fingerprint: bool = False) -> None:
        """Go to a state that `get_state` gave, here or in another process; nothing is read.

        Raises `TypeError` for anything but a dict; `StateError` if it is cut, or of another
        pipeline (saying what differs) unless `ignore_fingerprint`. Nothing is changed then.
        """
        counters = state.counters_of(
            document, self._fingerprint(), ignore_fingerprint=ignore_fingerprint
        )
        next(self._planned(counters), None)  # refuses what cannot be
        self._progress.go_to(counters)
        self._stepping.end()

    def reset(self) -> None:
        """Go back to the first batch of epoch 0."""
        self._progress.go_to({"pass": 0})
        self._stepping.end()

    def _fingerprint(self) -> dict[str, Any]:
        return description.fingerprint_of(self._parts)


Pipeline.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is attrs.NOTHING else field.default,
            annotation=field.type,
        )
        for field in attrs.fields(PipelineOptions)
    ]
    + [inspect.Parameter("rngs", inspect.Parameter.KEYWORD_ONLY, default=None)]
)


@attrs.define(eq=False)
class _Stepping:
    """The iterator behind `step()`, and the iteration of the pipeline that it is."""

    steps: Any = None
    iteration: object = None

    def end(self) -> None:
        steps, self.steps = self.steps, None
        if steps is not None:
            steps.close()


def _rebuilt(config: dict[str, Any], document: dict[str, Any]) -> Pipeline:
    """Return a pipeline that was pickled."""
    pipeline = Pipeline(parse_options(config))
    pipeline.set_state(document)
    return pipeline


def _problem(path: str, message: str) -> ConfigError:
    return ConfigError([Problem(path, message)])


def _key_of(rngs: Any) -> Any:
    """Return the key of the default stream, or None without rngs."""
    if rngs is None:
        return None
    if not isinstance(rngs, nnx.Rngs) or "default" not in rngs:
        message = f"{clipped(rngs)} is not an nnx.Rngs with a default stream; nnx.Rngs(0) is"
        raise _problem("rngs", message)
    return rngs["default"].key.get_value()


def _folded(key: jax.Array) -> int:
    """Return a seed for components: the one that made `key`, or all words of another key."""
    seed = 0
    for word in np.asarray(jax.random.key_data(key)).reshape(-1).tolist():
        seed = seed << 32 | word
    return seed % (MAX_SEED + 1)
