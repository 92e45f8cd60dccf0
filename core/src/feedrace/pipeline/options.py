"""The options of a pipeline: declared once, for Python, configs, their schema and the docs."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import numpy as np

from feedrace import registry
from feedrace.config.fields import (
    MAX_SEED,
    MAX_SIZE,
    ComponentTable,
    Rule,
    boolean,
    component_field,
    integer,
    number,
    one_of,
)
from feedrace.config.files import problems_located, read_mapping
from feedrace.config.mapping import shown_fields, structure
from feedrace.errors import ConfigError, Problem, did_you_mean, join
from feedrace.host.machine import usable_cpus
from feedrace.host.workers import WorkerCount
from feedrace.plan.steps import TRAIN
from feedrace.protocols import MultiStream, provides

_seconds = number()
_MORE_THAN_0 = Rule(
    lambda value: _seconds.holds(value) and value > 0,
    "a number of seconds above 0",
    {"exclusiveMinimum": 0},
)
# From Python other values may stand here, too: `feedrace.device.placement` checks those.
_AXIS = Rule(
    lambda value: not isinstance(value, str) or (value.isascii() and value.isidentifier()),
    "the name of a mesh axis: letters, digits and _ in ASCII",
    {"type": ["string", "null"], "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
)
# What other loaders call these options, and where they are found here.
_ELSEWHERE = {
    "shuffle": "a sampler shuffles: sampler = { use = 'epoch-aware' }",
    "num_epochs": "a sampler counts epochs: sampler = { use = 'epoch-aware', num_epochs = 3 }",
    "drop_last": "here it is drop_remainder",
    "num_workers": "here it is workers",
    "worker_count": "here it is workers",
    "prefetch_factor": "here it is prefetch",
    "collate_fn": "a batcher has it: feedrace.create('batcher', 'default', collate_fn=...)",
    "transform": "here it is stages, a list",
    "transforms": "here it is stages, a list",
    "operations": "here it is stages, a list",
    "dataset": "here it is source",
    "data_source": "here it is source",
}
_MOST_WORKERS = 1024
_COUNT = integer(0, _MOST_WORKERS)
_KIND = one_of("thread", "process")


def _check_workers(instance: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    if not isinstance(value, Mapping):
        if value is not None:
            _COUNT.check("workers", value)
        return
    unknown = [
        Problem(join("workers", key), f"no such key{did_you_mean(str(key), ('kind', 'count'))}")
        for key in value
        if key not in ("kind", "count")
    ]
    if unknown:
        raise ConfigError(unknown)
    _KIND.check("workers.kind", value.get("kind", "thread"))
    if value.get("count") is not None:
        _COUNT.check("workers.count", value["count"])


def worker_count(workers: Any) -> WorkerCount:
    """Return the workers that the option asks for: by default a thread for each usable CPU."""
    given = workers if isinstance(workers, Mapping) else {"count": workers}
    count = given.get("count")
    kind = given.get("kind", "thread")
    return WorkerCount(kind, usable_cpus() if count is None else int(count))


@attrs.frozen(kw_only=True, eq=False)
class PipelineOptions:
    """The options of a pipeline; components are named by mappings, or are objects in Python.

    source: gives records by number; see `feedrace.protocols.IndexedSource`.
    batch_size: records in a batch; the last batch of an epoch is padded, unless `drop_remainder`.
    stages: functions of a record (see `feedrace.record`), then those of a batch on the host, then
        those of a batch on the device; each in order.
    sampler: orders the records. Without one, a pass is one epoch in the source's own order.
    batcher: groups records into batches. Without one, they are padded and masked as they come.
    scheduler: orders the steps of several streams. Without one, there is the train stream alone.
    seed: of every component that has none, and of stochastic stages. In Python `rngs` may stand in
        its place: an `nnx.Rngs`, whose default stream is the seed.
    drop_remainder: drop the last batch of an epoch if it is short.
    workers: what reads records and runs the stages on them: a number of threads; for Python code
        that holds its lock, processes: `{ kind = "process", count = 8 }`; 0 for none. By default a
        thread for each CPU. Any number of either gives the same batches.
    prefetch: batches that a thread makes ahead; 0 makes each when it is asked for. Records that are
        on the device need no thread: with 1 or more, several batches are one dispatch.
    sharding: lay batches over devices, and over hosts under `jax.distributed`: the name of a mesh
        axis for the rows; in Python also a `jax.sharding.Sharding`, or a dict of these by field.
    stall_seconds: warn after this many seconds without a batch, naming the blocked part; with
        several processes, raise an error that names one that is missing for so long.
    """

    source: Any = component_field("source")
    batch_size: int = attrs.field(validator=integer(1, MAX_SIZE))
    stages: Any = component_field("stage", default=(), many=True)
    sampler: Any = component_field("sampler", default=None)
    batcher: Any = component_field("batcher", default=None)
    scheduler: Any = component_field("scheduler", default=None)
    seed: int | None = attrs.field(default=None, validator=integer(0, MAX_SEED, optional=True))
    drop_remainder: bool = attrs.field(default=False, validator=boolean)
    workers: int | dict[str, Any] | None = attrs.field(default=None, validator=_check_workers)
    prefetch: int = attrs.field(default=2, validator=integer(0))
    sharding: Any = attrs.field(default=None, validator=_AXIS)
    stall_seconds: float = attrs.field(default=300.0, validator=_MORE_THAN_0)

    def __repr__(self) -> str:
        return f"PipelineOptions({', '.join(shown_fields(self))})"


def options_of(fields: Mapping[str, Any]) -> PipelineOptions:
    """Return the options that are given in Python; raise `ConfigError` with every problem."""
    fields = {name: _python_number(value) for name, value in fields.items()}
    try:
        if isinstance(fields.get("stages", ()), list | tuple):
            return PipelineOptions(**fields)
    except (ConfigError, TypeError):  # a wrong value, a missing or an unknown option
        pass
    return parse_options(fields)  # which reports all that is wrong


def _python_number(value: Any) -> Any:
    """Return numpy's numbers as Python's, which do not overflow and which JSON can hold."""
    return value.item() if isinstance(value, np.integer | np.floating) else value


def parse_options(mapping: Mapping[str, Any], origin: str = "") -> PipelineOptions:
    """Return the checked options in a mapping; no component is made, no data is read.

    origin: where the mapping came from, for error messages.

    Raises `ConfigError` with every problem of the mapping, each with its path.
    """
    seed = mapping.get("seed") if isinstance(mapping, Mapping) else None
    good = isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed <= MAX_SEED
    defaults = {"seed": seed} if good else {}  # a wrong one is reported once, at its own path
    causes: list[BaseException] = []

    def parse_component(kind: str, value: Any, path: str) -> Any:
        try:
            return registry.parse(kind, value, path, defaults)
        except ConfigError as error:
            causes.extend([error.__cause__] if error.__cause__ else [])
            raise

    try:
        options: PipelineOptions = structure(
            PipelineOptions, mapping, parse_component=parse_component
        )
    except ConfigError as error:
        problems = [
            one._replace(message=f"unknown key; {_ELSEWHERE[one.path]}")
            if one.path in _ELSEWHERE and one.message.startswith("unknown key")
            else one
            for one in error.problems
        ]
        raise ConfigError(problems, origin=origin) from (causes[0] if causes else None)
    return options


def _contradictions(options: PipelineOptions) -> Iterator[Problem]:
    """Yield what making the pipeline would refuse, as far as the options and declarations show."""
    if not isinstance(options.sharding, str | Mapping | None):
        yield Problem("sharding", f"{options.sharding!r} is not the name of a mesh axis")
    for path, spec in _specs(options, ""):
        name, promises = spec.component.name, spec.component.capabilities
        by_config = getattr(spec.config, "stochastic", False)
        if options.seed is None and (by_config or "stochastic" in promises):
            message = f"{name} is stochastic, but the pipeline has no seed; give `seed`"
            yield Problem(join(path, "stochastic") if by_config else path, message)
        if path == "batcher" and "windowed" in promises and options.drop_remainder:
            message = f"batcher {name} pads the short batches of each window and drops none"
            yield Problem("drop_remainder", f"{message}; leave drop_remainder out")
        if provides(spec.config, MultiStream):
            names = [TRAIN, *(callback.stream for callback in spec.config.callbacks)]
            for i, name in enumerate(names[1:]):
                if name in names[: i + 1]:
                    yield Problem(f"{path}.callbacks[{i}].stream", f"{name!r} is taken already")


def _specs(value: Any, path: str) -> Iterator[tuple[str, registry.ComponentSpec]]:
    """Yield the path and spec of each named component in a config, also within others."""
    if isinstance(value, registry.ComponentSpec):
        yield path, value
        value = value.config
    if attrs.has(type(value)):
        for field in attrs.fields(type(value)):
            yield from _specs(getattr(value, field.name), join(path, field.name))
    elif isinstance(value, ComponentTable):
        for name, item in value.items():
            yield from _specs(item, join(path, name))
    elif isinstance(value, tuple):
        for i, item in enumerate(value):
            yield from _specs(item, f"{path}[{i}]")


def read_options(path: str | os.PathLike[str]) -> PipelineOptions:
    """Return the checked options in a TOML, JSON or YAML file; no component is made.

    What `feedrace.load` would refuse as soon as it makes the components is a problem here, too.
    Raises `ConfigError` as `parse_options` does, in TOML with the line of each problem.
    """
    with problems_located(path):
        options = parse_options(read_mapping(path), os.fspath(path))
        problems = list(_contradictions(options))
        if problems:
            raise ConfigError(problems, origin=os.fspath(path))
        return options
