"""Stages that run on the device: all those of a stream as one jitted function of its batches."""

import functools
import zlib
from collections.abc import Sequence
from typing import Any

import attrs
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from feedrace.device.placement import with_auto_axes
from feedrace.errors import ConfigError, DataError, Problem, class_name, clipped
from feedrace.host.records import VALID_MASK, is_host_dtype
from feedrace.host.stages import HostStages, check_batch, named
from feedrace.protocols import is_stochastic, place_of


@attrs.frozen
class HostField:
    """What a stage on the device sees of a field that stays on the host: its name."""

    name: str


_PLACES = ("record", "host", "device")


class Stages:
    """The stages of one stream: `on_record`, `host` before the batch moves, then on the device.

    stages: callables or `nnx.Module`s, each a function of a batch; a stochastic one also gets one
        PRNG key for each row, made from `key`, the stream's name, the stage's number, the epoch and
        the position of the row's record in it: neither the batch size nor resuming changes what a
        record sees. Plain callables are traced once; later attribute changes have no effect.

    A stage on the device may drop, rename or pass on a field that stays on the host (strings); it
    sees a `HostField` in its place. Raises `ConfigError` with the problem of each stage: not a
    function, stochastic without a key, in an unknown place, or behind one of a later place.
    """

    def __init__(self, stages: Sequence[Any], *, stream: str, key: jax.Array | None) -> None:
        self.stages = tuple(stages)
        problems = [
            Problem(f"stages[{i}]", wrong)
            for i, stage in enumerate(self.stages)
            if stage is not None and (wrong := _wrong(stage, self.stages[:i], key))
        ]
        if problems:
            raise ConfigError(problems)
        if key is not None:
            key = jax.random.fold_in(key, np.uint32(zlib.crc32(stream.encode())))
        self._key = key
        by_place = {
            place: tuple(stage for stage in self.stages if place_of(stage) == place)
            for place in _PLACES
        }
        self.on_record, self._on_device = by_place["record"], by_place["device"]
        self.host = HostStages(by_place["host"], len(self.on_record))
        # Parameters are arguments of the jitted function, so that training them shows here.
        self.modules: Any = nnx.List([s for s in self._on_device if isinstance(s, nnx.Module)])
        self._no_modules = None if len(self.modules) else nnx.split(self.modules)
        self._kept: dict[tuple[str, ...], dict[str, str]] = {}
        self._jitted = jax.jit(self._staged, static_argnums=0)
        self._host_keys = jax.jit(functools.partial(_keys, key), static_argnums=(0, 2))

    @property
    def key_bytes(self) -> bytes | None:
        """What seeds the stages on records, which draw their numbers without JAX."""
        return None if self._key is None else np.asarray(jax.random.key_data(self._key)).tobytes()

    def split(self) -> tuple[Any, Any]:
        """Return the definition and the parameters of the stages that are modules."""
        if self._no_modules is None:
            definition, parameters = nnx.split(self.modules)
            return definition, parameters
        return self._no_modules

    def on_host(self, batch: dict[str, Any], epoch: int, positions: Any) -> dict[str, Any]:
        """Return the batch after the stages on the host; `positions` as for a call."""

        def keys(number: int, rows: int) -> np.ndarray[Any, np.dtype[np.uint32]]:
            at = np.uint32(epoch & 0xFFFFFFFF), np.asarray(positions, np.uint32)
            with jax.default_device(jax.local_devices(backend="cpu")[0]):
                return np.asarray(jax.random.key_data(self._host_keys(number, at, rows)))

        return self.host(batch, keys)

    def __call__(self, batch: dict[str, Any], epoch: int, positions: Any) -> dict[str, Any]:
        """Return a batch on the device after the stages there.

        positions: uint32, where in `epoch` the record of each row stands, or that of row 0.
        """
        if not self._on_device:
            return batch
        device, host = _split(batch)
        definition, parameters = self.split()
        names = tuple(sorted(host))
        at = np.uint32(epoch & 0xFFFFFFFF), positions
        result: dict[str, Any] = self._jitted((definition, names), parameters, device, at)
        return {**result, **{new: host[old] for new, old in self._kept[names].items()}}

    def spec(self, batch_spec: dict[str, Any]) -> dict[str, Any]:
        """Return the spec of what comes out for batches of `batch_spec`; nothing is computed."""
        batch_spec = self.host.spec(batch_spec)
        if not self._on_device:
            return batch_spec
        device, host = _split(batch_spec)
        definition, parameters = self.split()
        at = (jax.ShapeDtypeStruct((), np.uint32),) * 2
        names = tuple(sorted(host))
        out = jax.eval_shape(
            lambda *arrays: self._staged((definition, names), *arrays), parameters, device, at
        )
        return {**out, **{new: host[old] for new, old in self._kept[names].items()}}

    def _staged(self, fixed: Any, parameters: Any, batch: dict[str, Any], at: Any) -> Any:
        definition, host_names = fixed
        return self.apply(nnx.merge(definition, parameters), batch, at, host_names)

    def apply(
        self, modules: Any, batch: dict[str, Any], at: Any, host_names: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """Return the batch after the stages on the device, traceably.

        modules: the stages that are modules, in order. at: the epoch and the positions.
        """
        if not self._on_device:
            return batch
        definition, parameters = nnx.split(modules)
        applied = functools.partial(self._applied, definition, host_names)
        return with_auto_axes(applied, batch, parameters, self._key, at)

    def _applied(
        self,
        definition: Any,
        host_names: tuple[str, ...],
        batch: dict[str, Any],
        parameters: Any,
        key: jax.Array | None,
        at: Any,
    ) -> dict[str, Any]:
        modules = nnx.merge(definition, parameters)
        arrays = jax.tree.leaves(batch)
        if not arrays:
            raise DataError("no field is left for the stages on the device")
        rows = len(arrays[0])
        batch = {**batch, **{name: HostField(name) for name in host_names}}
        following, masked = iter(modules), VALID_MASK in batch
        drawn = sum(map(is_stochastic, self.host.stages))
        first = len(self.stages) - len(self._on_device)
        for number, stage in enumerate(self._on_device, first):
            function = next(following) if isinstance(stage, nnx.Module) else stage
            before = _variables(function)
            with named(number, stage, batch):
                if is_stochastic(stage):
                    batch, drawn = function(batch, _keys(key, drawn, at, rows)), drawn + 1
                else:
                    batch = function(batch)
            on_device = batch
            if isinstance(batch, dict):
                on_device = {k: v for k, v in batch.items() if not isinstance(v, HostField)}
            check_batch(stage, on_device, rows, masked=masked)
            _check_unchanged(stage, before, _variables(function))
        # Which host fields come out under which name is known once the stages are traced.
        kept = {new: v.name for new, v in batch.items() if isinstance(v, HostField)}
        self._kept[host_names] = kept
        return {name: value for name, value in batch.items() if name not in kept}


def _keys(key: Any, number: int, at: Any, rows: int) -> jax.Array:
    """Return one key for each row, for the stochastic stage of that number."""
    epoch, positions = at
    key = jax.random.fold_in(jax.random.fold_in(key, np.uint32(number)), epoch)
    if positions.ndim == 0:
        positions = positions + jnp.arange(rows, dtype=jnp.uint32)
    return jax.vmap(lambda position: jax.random.fold_in(key, position))(positions)


def _wrong(stage: Any, before: tuple[Any, ...], key: Any) -> str:
    """Return what is wrong with a stage behind those `before` it, or an empty string."""
    if not callable(stage) or isinstance(stage, type):
        return f"{stage!r} is not a function of a batch"
    if isinstance(stage, nnx.Dropout):
        return (
            "nnx.Dropout changes its rngs with each call, and a batch depends on seed and position "
            "alone; call it in the model, or write a stage with `stochastic = True` and "
            "`__call__(self, batch, keys)` that draws from its keys"
        )
    if is_stochastic(stage) and key is None:
        lacking = "the pipeline has no seed; give `seed`, or rngs in Python"
        return f"{class_name(stage)} is stochastic, but {lacking}"
    place = place_of(stage)
    if place not in _PLACES:
        known = "'record', 'host' or 'device'"
        return f"{class_name(stage)} is on {clipped(place)}; a stage is on {known}"
    later = [one for one in before if one is not None and _rank(one) > _PLACES.index(place)]
    if later:
        return (
            f"{class_name(stage)} is on the {place}, behind a stage on the {place_of(later[0])}; "
            f"stages on records come first, then those on the host"
        )
    return ""


def _rank(stage: Any) -> int:
    place = place_of(stage)
    return _PLACES.index(place) if place in _PLACES else -1


def _check_unchanged(stage: Any, before: dict[str, Any], after: dict[str, Any]) -> None:
    changed = [path for path, value in after.items() if before.get(path) is not value]
    if changed:
        raise DataError(
            f"stage {class_name(stage)} changed its Variable {changed[0]}; a batch must not depend "
            f"on what came before: take keys (`stochastic = True`)"
        )


def _split(batch: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields that are on the device and those that stay on the host."""
    host = {
        name: value
        for name, value in batch.items()
        if any(is_host_dtype(leaf.dtype) for leaf in jax.tree.leaves(value))
    }
    return {name: value for name, value in batch.items() if name not in host}, host


def _variables(function: Any) -> dict[str, Any]:
    """Return the values of a module's Variables by path."""
    if not isinstance(function, nnx.Module):
        return {}
    return {
        ".".join(map(str, path)): variable.get_value()
        for path, variable in nnx.iter_graph(function)
        if isinstance(variable, nnx.Variable)
    }
