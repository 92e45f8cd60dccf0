"""Apply the stages of a stream to its batches: all of them in one jitted function."""

import zlib
from collections.abc import Sequence
from typing import Any

import attrs
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from penstock.errors import ConfigError, DataError, Problem
from penstock.registry import class_name
from penstock.specs import is_host_dtype


@attrs.frozen
class HostField:
    """What a stage sees of a field that stays on the host: its name."""

    name: str


class Stages:
    """The stages of one stream, as one function of a batch on the device.

    stages: callables or `nnx.Module`s, each a function of a batch; one with `stochastic` true also
        gets one PRNG key a record, made from `key`, the stream's name, the stage's number, the
        epoch and the record's position in it: neither batch size nor resuming changes what a
        record sees. A stage must not change its Variables: such changes are lost.

    A field that stays on the host (strings) is a `HostField` to the stages, which may leave it out,
    rename it or pass it on. Raises `ConfigError` for a stochastic stage without a key.
    """

    def __init__(self, stages: Sequence[Any], *, stream: str, key: Any | None) -> None:
        self.stages = tuple(stages)
        for i, stage in enumerate(self.stages):
            path = f"stages[{i}]"
            if not callable(stage) or isinstance(stage, type):
                raise ConfigError([Problem(path, f"{stage!r} is not a function of a batch")])
            if is_stochastic(stage) and key is None:
                said = f"{class_name(stage)} is stochastic, but the pipeline has no seed (rngs)"
                raise ConfigError([Problem(path, said)])
        if key is not None:
            key = jax.random.fold_in(key, np.uint32(zlib.crc32(stream.encode())))
        self._key: Any = key
        # Parameters are arguments of the jitted function, so that training them shows here.
        self._modules = nnx.List([s for s in self.stages if isinstance(s, nnx.Module)])
        self._kept: dict[tuple[str, ...], dict[str, str]] = {}
        self._jitted = jax.jit(self._apply, static_argnums=0)

    def __call__(self, batch: dict[str, Any], epoch: int, positions: Any) -> dict[str, Any]:
        """Return the batch after all stages.

        positions: uint32, where in `epoch` the first of its records stands, or each of them.
        """
        if not self.stages:
            return batch
        device, host = _split(batch)
        definition, parameters = nnx.split(self._modules)
        place = np.uint32(epoch), positions
        names = tuple(sorted(host))
        result: dict[str, Any] = self._jitted((definition, names), parameters, device, place)
        return {**result, **{new: host[old] for new, old in self._kept[names].items()}}

    def spec(self, batch_spec: dict[str, Any]) -> dict[str, Any]:
        """Return the spec of what comes out for batches of `batch_spec`; nothing is computed."""
        if not self.stages:
            return batch_spec
        device, host = _split(batch_spec)
        definition, parameters = nnx.split(self._modules)
        place = (jax.ShapeDtypeStruct((), np.uint32),) * 2
        names = tuple(sorted(host))
        out = jax.eval_shape(
            lambda *arrays: self._apply((definition, names), *arrays), parameters, device, place
        )
        return {**out, **{new: host[old] for new, old in self._kept[names].items()}}

    def _apply(self, fixed: Any, parameters: Any, batch: dict[str, Any], place: Any) -> Any:
        definition, host_names = fixed
        size = len(jax.tree.leaves(batch)[0])
        batch = {**batch, **{name: HostField(name) for name in host_names}}
        modules = iter(nnx.merge(definition, parameters))
        stochastic = 0
        for stage in self.stages:
            function = next(modules) if isinstance(stage, nnx.Module) else stage
            if is_stochastic(stage):
                batch = function(batch, self._keys(stochastic, place, size))
                stochastic += 1
            else:
                batch = function(batch)
            _check_batch(stage, batch, size)
        # Which host fields come out under which name is known once the stages are traced.
        kept = {new: v.name for new, v in batch.items() if isinstance(v, HostField)}
        self._kept[host_names] = kept
        return {name: value for name, value in batch.items() if name not in kept}

    def _keys(self, number: int, place: Any, size: int) -> Any:
        """Return one key a record for the stochastic stage of that number."""
        epoch, positions = place
        key = jax.random.fold_in(jax.random.fold_in(self._key, np.uint32(number)), epoch)
        if positions.ndim == 0:
            positions = positions + jnp.arange(size, dtype=jnp.uint32)
        return jax.vmap(lambda position: jax.random.fold_in(key, position))(positions)


def is_stochastic(stage: Any) -> bool:
    """Return whether a stage takes PRNG keys."""
    return bool(getattr(stage, "stochastic", False))


def _check_batch(stage: Any, batch: Any, size: int) -> None:
    name = class_name(stage)
    if not isinstance(batch, dict):
        raise DataError(f"stage {name} returned {type(batch).__name__}; a stage returns a dict")
    for path, leaf in jax.tree_util.tree_leaves_with_path(batch):
        if isinstance(leaf, HostField):
            continue
        shape = np.shape(leaf)
        if not shape or shape[0] != size:
            raise DataError(
                f"stage {name} returned {jax.tree_util.keystr(path)} of shape {shape}; "
                f"every field needs the leading axis {size} of the batch"
            )


def _split(batch: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields that are on the device and those that stay on the host."""
    host = {
        name
        for name, value in batch.items()
        if any(is_host_dtype(leaf.dtype) for leaf in jax.tree.leaves(value))
    }
    return (
        {name: value for name, value in batch.items() if name not in host},
        {name: batch[name] for name in host},
    )
