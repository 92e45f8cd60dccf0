"""From a mapping of names, or a file of one, to a pipeline."""

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from penstock.builtin.config import MAX_SEED
from penstock.config import boolean, component_field, integer, structure
from penstock.errors import ConfigError, Problem
from penstock.pipeline import Pipeline
from penstock.registry import notify, parse


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


def build(mapping: Mapping[str, Any], *, origin: str = "") -> Pipeline:
    """Return the pipeline that a mapping of names describes.

    origin: where the mapping came from, for error messages.

    Raises `ConfigError` with every problem and its path, before any data is read; whatever the
    components raise when they are made, or a plugin's hook to refuse the config.
    """
    notify("penstock_before_build", config=mapping)
    config = parse_config(mapping, origin)
    rngs = None
    if config.seed is not None:
        import jax.numpy as jnp
        from flax import nnx
        from jax.random import wrap_key_data

        # What jax.random.key(seed) makes of a small seed, without dropping the bits of a large one.
        words = [config.seed >> 32, config.seed & 0xFFFFFFFF]
        rngs = nnx.Rngs(wrap_key_data(jnp.array(words, jnp.uint32), impl="threefry2x32"))
    try:
        return Pipeline(
            source=config.source,
            batch_size=config.batch_size,
            stages=config.stages,
            rngs=rngs,
            sampler=config.sampler,
            batcher=config.batcher,
            scheduler=config.scheduler,
            drop_remainder=config.drop_remainder,
            prefetch=config.prefetch,
        )
    except ConfigError as error:
        raise ConfigError(error.problems, origin=origin) from error.__cause__


def load(path: str | os.PathLike[str]) -> Pipeline:
    """Return the pipeline that a TOML, JSON or YAML file describes.

    Raises `ConfigError` where the file does not parse (with line and column) and as `build` does;
    `OSError` where it cannot be read.
    """
    return build(read_mapping(path), origin=os.fspath(path))


def read_mapping(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the mapping in a TOML, JSON or YAML file, told apart by extension."""
    file, origin = Path(path), os.fspath(path)
    suffix = file.suffix.lower()
    if suffix not in (".toml", ".json", ".yaml", ".yml"):
        raise ConfigError(
            [Problem("", f"{file.suffix!r} is none of .toml, .json, .yaml, .yml")], origin=origin
        )
    try:
        mapping = _parse_text(file.read_text(encoding="utf-8-sig"), suffix)
    except ConfigError as error:
        raise ConfigError(error.problems, origin=origin) from error.__cause__
    except UnicodeDecodeError as error:
        raise ConfigError([Problem("", f"not UTF-8 text: {error}")], origin=origin) from error
    if not isinstance(mapping, dict):
        problem = Problem("", f"holds {type(mapping).__name__}, not a table of keys and values")
        raise ConfigError([problem], origin=origin)
    return mapping


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs as a dict; JSON itself would let the last of equal keys win."""
    keys = [key for key, _ in pairs]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(f"the key {twice[0]!r} stands twice in one table")
    return dict(pairs)


def _parse_text(text: str, suffix: str) -> Any:
    try:
        if suffix == ".toml":
            return tomllib.loads(text)
        if suffix == ".json":
            return json.loads(text, object_pairs_hook=_unique)
    except ValueError as error:  # both parsers' errors say line and column
        raise ConfigError([Problem("", f"does not parse: {error}")]) from error
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:  # says line and column too
        reason = " ".join(str(error).split())
        raise ConfigError([Problem("", f"does not parse: {reason}")]) from error
