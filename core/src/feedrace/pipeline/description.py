"""What a pipeline consists of: its parts by path, its config, its fingerprint in saved states."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from feedrace import registry
from feedrace.errors import FeedraceError
from feedrace.pipeline.options import PipelineOptions
from feedrace.pipeline.streams import Stream
from feedrace.plan import state
from feedrace.plan.steps import TRAIN
from feedrace.protocols import Identified, provides

Parts = dict[str, tuple[str, Any]]  # path (`test.stages[0]`) to (kind, object)


def parts_of(streams: Mapping[str, Stream], scheduler: Any) -> Parts:
    """Return the parts of a pipeline by path."""
    parts: Parts = {}
    for name, stream in streams.items():
        prefix = "" if name == TRAIN else f"{name}."
        for kind in ("source", "sampler", "batcher"):
            part = getattr(stream, kind)
            if part is not None:
                parts[prefix + kind] = (kind, part)
        for i, stage in enumerate(stream.stages.stages):
            parts[f"{prefix}stages[{i}]"] = ("stage", stage)
    return {**parts, "scheduler": ("scheduler", scheduler)}


def config_of(options: PipelineOptions, parts: Parts) -> dict[str, Any]:
    """Return a mapping from which `feedrace.build` makes an equal pipeline.

    A sharding that is not the name of a mesh axis is left out. Raises `UnknownComponentError` if a
    part has no name.
    """
    config: dict[str, Any] = {}
    for name in ("seed", "batch_size", "drop_remainder", "prefetch", "stall_seconds", "sharding"):
        value = getattr(options, name)
        if value is not None and (name != "sharding" or isinstance(value, str)):
            config[name] = value
    own = [(path, kind, part) for path, (kind, part) in parts.items() if "." not in path]
    config["stages"] = [registry.describe(kind, p) for _, kind, p in own if kind == "stage"]
    return config | {
        path: registry.describe(kind, part) for path, kind, part in own if kind != "stage"
    }


def fingerprint_of(
    options: PipelineOptions, key: jax.Array | None, streams: Mapping[str, Stream], parts: Parts
) -> dict[str, Any]:
    """Return what must be equal for a saved state to name the same batches."""
    found: dict[str, Any] = {
        name: [stream.batch_size, stream.plan.records_per_epoch] for name, stream in streams.items()
    }
    found["drop_remainder"] = options.drop_remainder
    if key is not None:
        found["key"] = np.asarray(jax.random.key_data(key)).tolist()
    for path, (kind, part) in parts.items():
        found[path] = registry.describe(kind, part, identity_only=True)
        if provides(part, Identified):
            found[path]["data"] = part.identity()
    return state.fingerprint(found)


def seed_of(key: jax.Array) -> int:
    """Return the seed that makes `key`; raise `FeedraceError` if it was not made from a seed."""
    words = np.asarray(jax.random.key_data(key)).reshape(-1)
    if words.shape != (2,):
        raise FeedraceError("the key of the pipeline's rngs is not one that a seed makes")
    return int(words[0]) << 32 | int(words[1])
