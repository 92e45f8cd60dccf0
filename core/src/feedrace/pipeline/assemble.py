"""From a mapping of names, or a file of one, to a pipeline."""

import os
from collections.abc import Mapping
from typing import Any

from feedrace.config.files import problems_located, read_mapping
from feedrace.errors import ConfigError
from feedrace.pipeline.document import parse_config
from feedrace.pipeline.pipeline import Pipeline


def build(mapping: Mapping[str, Any], *, origin: str = "") -> Pipeline:
    """Return the pipeline that a mapping of names describes.

    origin: where the mapping came from, for error messages.

    Raises `ConfigError` with every problem and its path, before any data is read; whatever the
    components raise when they are made.
    """
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
            sharding=config.sharding,
            stall_seconds=config.stall_seconds,
        )
    except ConfigError as error:
        raise ConfigError(error.problems, origin=origin) from error.__cause__


def load(path: str | os.PathLike[str]) -> Pipeline:
    """Return the pipeline that a TOML, JSON or YAML file describes.

    Raises `ConfigError` where the file does not parse (with line and column) and as `build` does
    (in TOML, with the line of each problem); `OSError` where it cannot be read.
    """
    with problems_located(path):
        return build(read_mapping(path), origin=os.fspath(path))
