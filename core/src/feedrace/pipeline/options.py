"""What a pipeline can be told: declared once, for Python, configs, their schema and the docs."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from feedrace import registry
from feedrace.config import boolean, component_field, integer, number, text
from feedrace.errors import ConfigError, Problem
from feedrace.pipeline.document import problems_located, read_mapping

MAX_SEED = 2**63 - 1


def _sharding(instance: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    if isinstance(value, str):
        text()(instance, attribute, value)


_sharding.schema = {"minLength": 1}  # type: ignore[attr-defined]


def _seconds(instance: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    number()(instance, attribute, value)
    if value <= 0:
        raise ConfigError([Problem(attribute.name, f"{value!r} is not more than 0")])


_seconds.schema = {"exclusiveMinimum": 0}  # type: ignore[attr-defined]


@attrs.frozen(kw_only=True, eq=False)
class PipelineOptions:
    """The options of a pipeline.

    source: gives records by number; see `feedrace.protocols.IndexedSource`.
    batch_size: records in a batch; the last batch of an epoch is padded, unless `drop_remainder`.
    stages: functions of a batch, in order; those on the host come first.
    sampler: orders the records. Without one, a pass is one epoch in the source's own order.
    batcher: groups records into batches. Without one, they are padded and masked as they come.
    scheduler: orders the steps of several streams. Without one, there is the train stream alone.
    seed: of every component that has none of its own, and of stochastic stages. In Python, `rngs`
        may stand in its place: an `nnx.Rngs`, whose default stream is the seed.
    drop_remainder: drop the last batch of an epoch if it is short.
    prefetch: batches that a thread makes ahead; 0 makes each when it is asked for. Records that are
        on the device need no thread: with 1 or more, several batches are one dispatch.
    sharding: lay batches over devices, and over hosts under `jax.distributed`: the name of a mesh
        axis for the rows. In Python also a `jax.sharding.Sharding`, or a dict of these by field.
    stall_seconds: warn after this many seconds without a batch, naming the blocked part; with
        several processes, raise an error that names one that is missing for so long.
    """

    source: Any = component_field("source")
    batch_size: int = attrs.field(validator=integer(1))
    stages: Any = component_field("stage", default=(), many=True)
    sampler: Any = component_field("sampler", default=None)
    batcher: Any = component_field("batcher", default=None)
    scheduler: Any = component_field("scheduler", default=None)
    seed: int | None = attrs.field(default=None, validator=integer(0, MAX_SEED, optional=True))
    drop_remainder: bool = attrs.field(default=False, validator=boolean)
    prefetch: int = attrs.field(default=2, validator=integer(0))
    sharding: Any = attrs.field(default=None, validator=_sharding)
    stall_seconds: float = attrs.field(default=300.0, validator=_seconds)


def parse_config(mapping: Mapping[str, Any], origin: str = "") -> PipelineOptions:
    """Return the checked options that a mapping of names describes; no data is read.

    origin: where the mapping came from, for error messages.

    Raises `ConfigError` with every problem of the mapping, each with its path.
    """
    raise NotImplementedError


def read_config(path: str | os.PathLike[str]) -> PipelineOptions:
    """Return the checked options in a file; raise `ConfigError` with the lines of its problems."""
    with problems_located(path):
        return parse_config(read_mapping(path), os.fspath(path))
