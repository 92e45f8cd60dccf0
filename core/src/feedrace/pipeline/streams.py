"""From the options of a pipeline to its streams: parts made, checked and joined."""

import functools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import attrs
import jax
from flax import nnx

from feedrace import protocols, registry
from feedrace.device.loader import DeviceLoader, holds_records
from feedrace.device.placement import Placement, placement_of
from feedrace.device.specs import batch_spec, window_spec
from feedrace.device.stages import Stages
from feedrace.errors import (
    ConfigError,
    DataError,
    DataWarning,
    FeedraceError,
    Problem,
    WorkerWarning,
    class_name,
    clipped,
)
from feedrace.host.loader import HostLoader
from feedrace.host.machine import usable_cpus
from feedrace.host.memory import bytes_of
from feedrace.host.record_stages import record_stages
from feedrace.host.records import check_no_mask, map_leaves
from feedrace.host.timing import Timing
from feedrace.host.worker_process import obstacles_for_processes
from feedrace.host.workers import WorkerCount, Workers
from feedrace.pipeline.executors import Executor, device_batches, host_batches
from feedrace.pipeline.options import PipelineOptions, worker_count
from feedrace.plan.order import Order
from feedrace.plan.single import SingleScheduler
from feedrace.plan.steps import TRAIN, StreamPlan, plan_stream
from feedrace.plan.windows import WindowPlan
from feedrace.protocols import Grouping, is_row_wise, is_stochastic, provides


@attrs.frozen(kw_only=True, eq=False)
class Stream:
    """The parts that make the batches of one stream.

    plan: which records make up a batch or, if the batcher groups by what is in the records, a
        window.
    stages: those of the options, in order, as one function on the host and one on the device.
    host, device: load the batches; `device` is None unless all records are there.
    execute: makes steps with batches of planned steps, by one of the two loaders.
    """

    plan: StreamPlan
    batch_size: int
    source: Any
    sampler: Any
    batcher: Any
    stages: Stages
    placement: Placement
    host: HostLoader
    device: DeviceLoader | None
    execute: Executor

    @property
    def is_windowed(self) -> bool:
        """Whether a batch of the plan is a window of records."""
        return provides(self.batcher, Grouping)

    def device_loader(self, use: str) -> DeviceLoader:
        """Return what loads batches on the device; raise `FeedraceError` if nothing does."""
        if self.device is not None:
            return self.device
        why = f"{type(self.source).__name__} does not hold all fields there (on_device)"
        if not is_row_wise(self.batcher):
            why = f"batcher {type(self.batcher).__name__} does more than stack records"
        elif self.stages.on_record or self.stages.host.stages:
            why = "a stage runs on the host, or on records"
        raise FeedraceError(f"{use} needs batches made on the device: {why}; iterate instead")

    def batch_specs(self) -> tuple[dict[str, Any], ...]:
        """Return the specs of all shapes of its batches, after all stages, the largest last."""
        return tuple(map(self.stages.spec, self.host.specs()))


@attrs.frozen(kw_only=True, eq=False)
class Parts:
    """What a pipeline was built from; static to NNX, which shares it with the copies it makes.

    plans: the plan of each stream.
    is_global: whether batches lie on the devices of several processes.
    is_late: whether stages on the device wait until their batch is asked for. Programs on several
        hosts have to start in one order, and parameters of stages that are trained have to be
        those of the last update.
    is_on_device: whether all streams gather records that are on the device.
    is_windowed: whether a stream has batches whose number only reading shows.
    """

    options: PipelineOptions
    key: jax.Array | None
    scheduler: Any
    streams: Mapping[str, Stream]
    plans: Mapping[str, StreamPlan | WindowPlan]
    is_global: bool
    is_late: bool
    is_on_device: bool
    is_windowed: bool


class Problems(list[Problem]):
    """The problems found so far, to be reported at once."""

    cause: BaseException | None = None

    @contextmanager
    def of(self, path: str, *, data_path: str | None = None) -> Iterator[None]:
        """Collect what is wrong with the part at `path`; what its data shows, at `data_path`."""
        try:
            yield
        except ConfigError as error:
            self.extend(error.at(path))
            self.cause = self.cause or error.__cause__
        except (DataError, NotImplementedError) as error:
            self.append(Problem(path if data_path is None else data_path, str(error)))
            self.cause = self.cause or error

    def report(self) -> None:
        """Raise `ConfigError` with all problems if there are any."""
        if self:
            raise ConfigError(self) from self.cause


def make_part(
    kind: str, value: Any, seed: int | None, rngs: nnx.Rngs | None, num_records: int | None = None
) -> Any:
    """Return a part of a pipeline: `value`, or the component that it names.

    seed: of a component that has none. Raises `ConfigError` for a value that cannot serve.
    """
    if (value is None and kind != "stage") or not protocols.check(kind, value):
        return value
    spec = registry.parse(kind, value, defaults={"seed": seed})
    made = registry.instantiate(spec, num_records=num_records, rngs=rngs)
    if wrong := protocols.check(kind, made):
        raise ConfigError([Problem("", f"{clipped(made)} is not a {kind}: it {wrong}")])
    return made


def key_of_seed(seed: int) -> jax.Array:
    """Return what `jax.random.key(seed)` makes of a small seed, without dropping bits of others."""
    words = jax.numpy.array([seed >> 32, seed & 0xFFFFFFFF], "uint32")
    key: jax.Array = jax.random.wrap_key_data(words, impl="threefry2x32")
    return key


def build_parts(options: PipelineOptions, *, key: jax.Array | None, rngs: nnx.Rngs | None) -> Parts:
    """Return the scheduler and the streams: train first, then those of the scheduler's callbacks.

    Every mapping and component spec becomes an object. Raises `ConfigError` with all problems.
    """
    problems = Problems()
    placement = Placement() if options.sharding is None else placement_of(options.sharding)

    def make(kind: str, value: Any, path: str, num_records: int | None = None) -> Any:
        with problems.of(path):
            return make_part(kind, value, options.seed, rngs, num_records)

    def stages_of(values: Sequence[Any], path: str) -> list[Any]:
        return [make("stage", value, f"{path}stages[{i}]") for i, value in enumerate(values)]

    def add(name: str, parts: Any, stages: Sequence[Any], batcher: Any, size: int) -> None:
        path = "" if name == TRAIN else f"scheduler.callbacks[{len(streams) - 1}]."
        streams[name] = staged = None
        with problems.of(path.removesuffix(".")):  # the problem of a stage that is None is known
            staged = Stages(stages, stream=name, key=key)
        source = make("source", parts.source, f"{path}source")
        if source is None:
            if not problems:
                problems.append(Problem(f"{path}source", "missing; every stream needs one"))
            return
        if len(source) < 1:
            message = (
                f"{class_name(source)} has 0 records, and a stream needs at least 1; look at what "
                f"it reads: its path, its split, its filter"
            )
            problems.append(Problem(f"{path}source", message))
            return
        with problems.of(f"{path}source"):
            check_no_mask(source.element_spec())
        sampler = make("sampler", parts.sampler, f"{path}sampler", num_records=len(source))
        drop = options.drop_remainder and name == TRAIN
        with problems.of(path.removesuffix(".")):
            if placement.sharding is not None:
                placement.check(size, "batch_size")
            plan = _plan(name, source, sampler, batcher, size, drop, problems, path)
            if staged is not None:
                streams[name] = _stream(plan, size, source, sampler, batcher, staged, placement)
        made = streams[name] is not None and all(stage is not None for stage in stages)
        if made and (batcher is not None or (staged.on_record and options.batcher is None)):
            with problems.of(f"{path}batcher"), suppress(NotImplementedError):
                streams[name].host.specs()  # what the source has may not be what it takes

    scheduler: Any = make("scheduler", options.scheduler, "scheduler")
    problems.report()  # the rest depends on it
    scheduler = SingleScheduler() if scheduler is None else scheduler
    streams: dict[str, Any] = {}
    stages = stages_of(options.stages, "")
    batcher = make("batcher", options.batcher, "batcher")
    add(TRAIN, options, stages, batcher, options.batch_size)
    callbacks = scheduler.callbacks if provides(scheduler, protocols.MultiStream) else ()
    for i, callback in enumerate(callbacks):
        path = f"scheduler.callbacks[{i}]."
        if callback.stream in streams:
            message = f"{callback.stream!r} is taken already"
            problems.append(Problem(f"{path}stream", message))
        own = [stage for stage in stages if not is_stochastic(stage)]
        if callback.stages is not None:
            own = stages_of(callback.stages, path)
        own_batcher = make("batcher", callback.batcher, f"{path}batcher") or batcher
        add(callback.stream, callback, own, own_batcher, callback.batch_size or options.batch_size)
    workers = worker_count(options.workers)
    if workers.kind == "process" and workers.count:
        hosts = [s.host for s in streams.values() if s and s.execute is host_batches]
        texts = dict.fromkeys(text for host in hosts for text in obstacles_for_processes(host))
        problems += [Problem("workers", text) for text in texts]
    problems.report()
    if workers.kind == "process" and workers.count > usable_cpus():
        warnings.warn(
            f"{workers.count} worker processes share {usable_cpus()} CPUs; as many as CPUs are "
            f"fastest, unless they wait for storage",
            WorkerWarning,
            stacklevel=4,
        )
    is_global = placement.sharding is not None and placement.is_global
    return Parts(
        options=options,
        key=key,
        scheduler=scheduler,
        streams=streams,
        plans={
            name: WindowPlan(windows=s.plan, batch_size=s.batch_size) if s.is_windowed else s.plan
            for name, s in streams.items()
        },
        is_global=is_global,
        is_late=is_global or any(len(stream.stages.modules) for stream in streams.values()),
        is_on_device=all(stream.execute is device_batches for stream in streams.values()),
        is_windowed=any(stream.is_windowed for stream in streams.values()),
    )


def start_workers(parts: Parts, timing: Timing) -> Workers:
    """Return the workers of an iteration; there are none if no stream has work for them."""
    timing.begin()
    options, workers = parts.options, worker_count(parts.options.workers)
    on_host = {n: s.host for n, s in parts.streams.items() if s.execute is host_batches}
    loaders = {name: host.record_loader() for name, host in on_host.items()}
    serial = frozenset(name for name, host in on_host.items() if host.reader() is None)
    if not any(name not in serial or loaders[name].stages.stages for name in loaders):
        workers = WorkerCount(workers.kind, 0)
    return Workers(
        workers,
        loaders,
        serial,
        timing,
        ahead=workers.ahead if options.prefetch and workers.count else 0,
        lent=options.prefetch + 3,
        step_bytes=max(
            [
                bytes_of(parts.streams[n].host.stages.spec, parts.streams[n].plan.batch_size)
                for n in loaders
            ],
            default=1,
        ),
        # Each stream of windows is loaded ahead by itself, and all others together.
        at_once=len({name if parts.streams[name].is_windowed else "" for name in on_host}) or 1,
    )


def _plan(
    name: str,
    source: Any,
    sampler: Any,
    batcher: Any,
    size: int,
    drop: bool,
    problems: Problems,
    path: str,
) -> StreamPlan:
    if provides(sampler, protocols.Attached):
        try:
            sampler.attach(source)
        except ConfigError as error:
            raise ConfigError(error.at("sampler")) from error.__cause__
        except (DataError, NotImplementedError) as error:
            raise ConfigError([Problem("sampler", str(error))]) from error
    order = sampler
    if sampler is None:
        order = source if provides(source, protocols.Ordered) else StoredOrder(len(source))
    config = order.config if provides(order, protocols.Configured) else None
    number = getattr(config, "num_records", None)
    if number is not None and number > len(source):
        message = f"{number} is more than the {len(source)} records of its source"
        problems.append(Problem(f"{path}sampler.num_records", message))
    elif number is not None and number < len(source) and getattr(config, "stop", None) is None:
        warnings.warn(
            f"{path}sampler.num_records: {number} of the {len(source)} records of the source come, "
            f"the others never; leave num_records out for all of them, or ask for a part by the "
            f"sampler `range` (stop = {number})",
            DataWarning,
            stacklevel=7,
        )
    windowed = provides(batcher, Grouping)
    if drop and windowed:
        message = (
            f"batcher {type(batcher).__name__} pads the short batches of each window and drops "
            f"none; leave drop_remainder out"
        )
        problems.append(Problem("drop_remainder", message))
    planned = batcher.window_size(size) if windowed else size
    return plan_stream(name, order, batch_size=planned, drop_remainder=drop)


def _stream(
    plan: StreamPlan,
    size: int,
    source: Any,
    sampler: Any,
    batcher: Any,
    stages: Stages,
    placement: Placement,
) -> Stream:
    local = placement.sharding is None or not placement.is_global
    device = None
    on_host = stages.on_record or stages.host.stages
    if holds_records(source) and is_row_wise(batcher) and not on_host:
        device = DeviceLoader(
            source=source, plan=plan, batch_size=size, stages=stages, placement=placement
        )
    records = record_stages(stages.on_record, source.element_spec(), key=stages.key_bytes)
    if stages.on_record:  # the source's own fields are checked already
        check_no_mask(records.spec)
    host = HostLoader(
        source=source,
        stages=records,
        batcher=batcher,
        batch_size=size,
        records_per_epoch=plan.records_per_epoch,
        mine=None if local else placement.rows(size),
        specs=functools.partial(_batcher_specs, records.spec, sampler, batcher, size),
    )
    return Stream(
        plan=plan,
        batch_size=size,
        source=source,
        sampler=sampler,
        batcher=batcher,
        stages=stages,
        placement=placement,
        host=host,
        device=device,
        execute=device_batches if device is not None and local else host_batches,
    )


@attrs.frozen
class StoredOrder:
    """The order of a source that has none: its records as they are stored."""

    records: int

    def __len__(self) -> int:
        return self.records

    def indices(self, start: int, stop: int) -> Any:
        """Return the record numbers at positions [start, stop)."""
        return Order(self.records).indices(start, stop)

    def indices_at(self, epoch: Any, positions: Any) -> Any:
        """Return the record numbers at int32 positions of an epoch, traceably."""
        return positions


def _batcher_specs(spec: Any, sampler: Any, batcher: Any, size: int) -> tuple[dict[str, Any], ...]:
    """Return the specs of what the batcher makes of records; raise `DataError` if it cannot."""
    element = map_leaves(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), spec)
    if provides(sampler, protocols.Windowed):
        element = window_spec(element, sampler.index_spec().shape)
    if batcher is None:
        return (batch_spec(element, batch_size=size),)
    if provides(batcher, protocols.ManyShapes):
        return tuple(batcher.batch_specs(element, batch_size=size))
    return (batcher.batch_spec(element, batch_size=size),)
