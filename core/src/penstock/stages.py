"""Apply the stages of a stream to its batches: all of them in one jitted function."""

import zlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from penstock.errors import ConfigError, DataError, Problem
from penstock.specs import is_host_dtype


class Stages:
    """The stages of one stream, as one function of a batch on the device.

    stages: callables or `nnx.Module`s, each a function of a batch; one with `stochastic` true also
        gets one PRNG key a record, made from `key`, the stream's name, the epoch and the record's
        position in it, so that neither batch size nor resuming changes what a record sees.

    Fields that stay on the host (strings) pass by untouched. Raises `ConfigError` for a stochastic
    stage without a key.
    """

    def __init__(self, stages: Sequence[Any], *, stream: str, key: Any | None) -> None:
        self.stages = tuple(stages)
        for stage in self.stages:
            if not callable(stage):
                raise ConfigError([Problem("stages", f"{stage!r} is not callable")])
        if any(is_stochastic(stage) for stage in self.stages):
            if key is None:
                raise ConfigError(
                    [
                        Problem(
                            "stages", "a stage is stochastic, but the pipeline has no rngs (seed)"
                        )
                    ]
                )
            key = jax.random.fold_in(key, np.uint32(zlib.crc32(stream.encode())))
        self._key: Any = key
        # Parameters are arguments of the jitted function, so that training them shows here.
        self._modules = nnx.List([s for s in self.stages if isinstance(s, nnx.Module)])
        self._jitted = jax.jit(self._apply, static_argnums=0)

    def __call__(self, batch: dict[str, Any], epoch: int, position: int) -> dict[str, Any]:
        """Return the batch after all stages; its first record is at `position` of `epoch`."""
        if not self.stages:
            return batch
        device = {name: value for name, value in batch.items() if not _on_host(value)}
        definition, parameters = nnx.split(self._modules)
        place = np.array([epoch, position], np.uint32)
        result: dict[str, Any] = self._jitted(definition, parameters, device, place)
        return {**result, **{k: v for k, v in batch.items() if _on_host(v)}}

    def spec(self, batch_spec: dict[str, Any]) -> dict[str, Any]:
        """Return the spec of what comes out for batches of `batch_spec`; nothing is computed."""
        if not self.stages:
            return batch_spec
        host = {name: leaf for name, leaf in batch_spec.items() if _on_host(leaf)}
        device = {name: leaf for name, leaf in batch_spec.items() if name not in host}
        definition, parameters = nnx.split(self._modules)
        place = jax.ShapeDtypeStruct((2,), np.uint32)
        out = jax.eval_shape(lambda *a: self._apply(definition, *a), parameters, device, place)
        return {**out, **host}

    def _apply(self, definition: Any, parameters: Any, batch: dict[str, Any], place: Any) -> Any:
        size = len(jax.tree.leaves(batch)[0])
        modules = iter(nnx.merge(definition, parameters))
        keys = None
        if any(is_stochastic(stage) for stage in self.stages):
            epoch_key = jax.random.fold_in(self._key, place[0])
            positions = place[1] + jnp.arange(size, dtype=jnp.uint32)
            keys = jax.vmap(lambda p: jax.random.fold_in(epoch_key, p))(positions)
        for stage in self.stages:
            function = next(modules) if isinstance(stage, nnx.Module) else stage
            batch = function(batch, keys) if is_stochastic(stage) else function(batch)
            _check_batch(stage, batch, size)
        return batch


def is_stochastic(stage: Any) -> bool:
    """Return whether a stage takes PRNG keys."""
    return bool(getattr(stage, "stochastic", False))


def stage_name(stage: Any) -> str:
    """Return `module:name` of a stage's function or class."""
    named = stage if hasattr(stage, "__qualname__") else type(stage)
    return f"{named.__module__}:{named.__qualname__}"


def _check_batch(stage: Any, batch: Any, size: int) -> None:
    name = stage_name(stage)
    if not isinstance(batch, dict):
        raise DataError(f"stage {name} returned {type(batch).__name__}; a stage returns a dict")
    for path, leaf in jax.tree_util.tree_leaves_with_path(batch):
        shape = np.shape(leaf)
        if not shape or shape[0] != size:
            raise DataError(
                f"stage {name} returned {jax.tree_util.keystr(path)} of shape {shape}; "
                f"every field needs the leading axis {size} of the batch"
            )


def _on_host(value: Any) -> bool:
    return any(is_host_dtype(leaf.dtype) for leaf in jax.tree.leaves(value))
