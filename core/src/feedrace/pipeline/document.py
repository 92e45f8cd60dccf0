"""From a file or a mapping to the checked config of a pipeline; nothing is made of it yet."""

import os
from collections.abc import Mapping
from typing import Any

import attrs

from feedrace.builtin.config import MAX_SEED
from feedrace.config.fields import boolean, component_field, integer, number, text
from feedrace.config.files import problems_located, read_mapping
from feedrace.config.mapping import structure
from feedrace.errors import ConfigError
from feedrace.registry import parse


@attrs.frozen(kw_only=True)
class PipelineConfig:
    """The top level of a config.

    seed: of every component that gives none, and of stochastic stages.
    """

    batch_size: int = attrs.field(validator=integer(1))
    source: Any = component_field("source")
    sampler: Any = component_field("sampler", default=None)
    batcher: Any = component_field("batcher", default=None)
    stages: Any = component_field("stage", default=(), many=True)
    scheduler: Any = component_field("scheduler", default=None)
    seed: int | None = attrs.field(default=None, validator=integer(0, MAX_SEED, optional=True))
    drop_remainder: bool = attrs.field(default=False, validator=boolean)
    prefetch: int = attrs.field(default=2, validator=integer(0))
    sharding: str | None = attrs.field(default=None, validator=text(optional=True))
    stall_seconds: float = attrs.field(default=300.0, validator=number())


def parse_config(mapping: Mapping[str, Any], origin: str = "") -> PipelineConfig:
    """Return the checked config of a pipeline; no data is read.

    Raises `ConfigError` with every problem of the mapping, each with its path.
    """
    seed = mapping.get("seed") if isinstance(mapping, Mapping) else None
    good = isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed <= MAX_SEED
    defaults = {"seed": seed} if good else {}  # a wrong one is told once, at its own path
    causes: list[BaseException] = []

    def parse_component(kind: str, value: Any, path: str) -> Any:
        try:
            return parse(kind, value, path, defaults)
        except ConfigError as error:
            causes.extend([error.__cause__] if error.__cause__ else [])
            raise

    try:
        config: PipelineConfig = structure(PipelineConfig, mapping, parse_component=parse_component)
    except ConfigError as error:
        raise ConfigError(error.problems, origin=origin) from (causes[0] if causes else None)
    return config


def read_config(path: str | os.PathLike[str]) -> PipelineConfig:
    """Return the checked config in a file; raises `ConfigError` as `read_mapping` and the check."""
    with problems_located(path):
        return parse_config(read_mapping(path), os.fspath(path))
