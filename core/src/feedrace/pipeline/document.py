"""From a file or a mapping to the checked config of a pipeline; nothing is made of it yet."""

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from feedrace.builtin.config import MAX_SEED
from feedrace.config.fields import (
    boolean,
    component_field,
    integer,
    number,
    plain_leaf,
    structure,
    text,
    unexpanded,
)
from feedrace.config.lines import located
from feedrace.errors import ConfigError, Problem
from feedrace.registry.making import Use, parse, shortest_reference


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


@contextmanager
def problems_located(path: str | os.PathLike[str]) -> Iterator[None]:
    """Give the problems of a `ConfigError` the lines where they are, in a TOML file."""
    try:
        yield
    except ConfigError as error:
        if Path(path).suffix.lower() != ".toml" or not any(p.path for p in error.problems):
            raise
        text = Path(path).read_text(encoding="utf-8-sig")
        problems = located(error.problems, text)
        raise ConfigError(problems, origin=os.fspath(path)) from error.__cause__


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
    mapping.pop("$schema", None)  # for editors
    return mapping


def filled(config: Any) -> dict[str, Any]:
    """Return a checked config as a mapping with every field in it, defaults and None included."""
    if isinstance(config, Use):
        fields = {} if config.config is None else filled(config.config)
        return {"use": shortest_reference(config.component), **fields}
    return {
        field.name: unexpanded(field, _plain(getattr(config, field.name)))
        for field in attrs.fields(type(config))
        if field.init
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Use) or attrs.has(type(value)):
        return filled(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return plain_leaf(value)


def write_text(mapping: Mapping[str, Any], suffix: str) -> str:
    """Return a config's mapping as the text of a TOML, JSON or YAML file, by its extension."""
    if suffix == ".toml":
        from feedrace.config.toml import as_toml

        return as_toml(mapping)
    if suffix == ".json":
        return json.dumps(mapping, indent=2) + "\n"
    if suffix not in (".yaml", ".yml"):
        raise ConfigError([Problem("", f"{suffix!r} is none of .toml, .json, .yaml, .yml")])
    import yaml

    made: str = yaml.safe_dump(dict(mapping), sort_keys=False)
    return made


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
    except (ValueError, RecursionError) as error:  # both parsers' errors say line and column
        raise ConfigError([Problem("", f"does not parse: {error}")]) from error
    import yaml

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:  # says line and column too
        reason = " ".join(str(error).split())
        raise ConfigError([Problem("", f"does not parse: {reason}")]) from error
