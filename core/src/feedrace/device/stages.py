"""Apply the stages of a stream to its batches: all those on the device in one jitted function."""

import zlib
from collections.abc import Sequence
from typing import Any

import attrs
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from feedrace.errors import ConfigError, DataError, Problem
from feedrace.host.records import count_records, is_host_dtype
from feedrace.registry import class_name


@attrs.frozen
class HostField:
    """What a stage sees of a field that stays on the host: its name."""

    name: str


class Stages:
    """The stages of one stream: those on the host, then those on the device as one function.

    stages: callables or `nnx.Module`s, each a function of a batch; one with `stochastic` true also
        gets one PRNG key a record, made from `key`, the stream's name, the stage's number, the
        epoch and the record's position in it: neither batch size nor resuming changes what a
        record sees. Changing its Variables is an error. Attributes of other callables count as they
        are when the stages are first run.

    A stage whose attribute `on` is "host" gets numpy arrays, strings among them, and runs before
    the batch moves to the device; its keys are uint32 of shape (records, 2). Where it changes
    shapes or dtypes it has a method `spec(batch_spec)` that says so.

    To the others a field that stays on the host (strings) is a `HostField`, which they may leave
    out, rename or pass on. Raises `ConfigError` for a stochastic stage without a key, another `on`,
    and a host stage behind one on the device.
    """

    def __init__(self, stages: Sequence[Any], *, stream: str, key: Any | None) -> None:
        self.stages = tuple(stages)
        for i, stage in enumerate(self.stages):
            said = _wrong(stage, self.stages[:i], key)
            if said:
                raise ConfigError([Problem(f"stages[{i}]", said)])
        if key is not None:
            key = jax.random.fold_in(key, np.uint32(zlib.crc32(stream.encode())))
        self._key: Any = key
        self.on_host = tuple(stage for stage in self.stages if is_on_host(stage))
        self._on_device = self.stages[len(self.on_host) :]
        # Parameters are arguments of the jitted function, so that training them shows here.
        self.modules: Any = nnx.List([s for s in self._on_device if isinstance(s, nnx.Module)])
        self._no_modules = None if len(self.modules) else nnx.split(self.modules)
        self._kept: dict[tuple[str, ...], dict[str, str]] = {}
        self._promised: dict[Any, Any] = {}
        self._jitted = jax.jit(self._staged, static_argnums=0)
        self._host_keys = jax.jit(self._keys, static_argnums=(0, 2))

    def split(self) -> tuple[Any, Any]:
        """Return the definition and the parameters of the stages that are modules."""
        if self._no_modules is not None:
            return self._no_modules
        definition, parameters = nnx.split(self.modules)
        return definition, parameters

    def host(self, batch: dict[str, Any], epoch: int, positions: Any) -> dict[str, Any]:
        """Return the batch after the stages on the host, as numpy arrays."""
        if not self.on_host:
            return batch
        batch = jax.tree.map(np.asarray, batch)
        stochastic = 0
        for stage in self.on_host:
            size = count_records(batch)
            before = _batch_spec(batch)
            if is_stochastic(stage):
                place = np.uint32(epoch), np.asarray(positions, np.uint32)
                with jax.default_device(jax.local_devices(backend="cpu")[0]):
                    keys = self._host_keys(stochastic, place, size)
                    batch = stage(batch, np.asarray(jax.random.key_data(keys)))
                stochastic += 1
            else:
                batch = stage(batch)
            _check_batch(stage, batch, size)
            self._check_promise(stage, before, _batch_spec(batch))
        return batch

    def __call__(self, batch: dict[str, Any], epoch: int, positions: Any) -> dict[str, Any]:
        """Return a batch on the device after the stages there.

        positions: uint32, where in `epoch` the first of its records stands, or each of them.
        """
        if not self._on_device:
            return batch
        device, host = _split(batch)
        definition, parameters = self.split()
        names = tuple(sorted(host))
        place = np.uint32(epoch), positions
        result: dict[str, Any] = self._jitted((definition, names), parameters, device, place)
        return {**result, **{new: host[old] for new, old in self._kept[names].items()}}

    def spec(self, batch_spec: dict[str, Any]) -> dict[str, Any]:
        """Return the spec of what comes out for batches of `batch_spec`; nothing is computed."""
        for stage in self.on_host:
            batch_spec = stage.spec(batch_spec) if hasattr(stage, "spec") else batch_spec
        if not self._on_device:
            return batch_spec
        device, host = _split(batch_spec)
        definition, parameters = self.split()
        place = (jax.ShapeDtypeStruct((), np.uint32),) * 2
        names = tuple(sorted(host))
        out = jax.eval_shape(
            lambda *arrays: self._staged((definition, names), *arrays), parameters, device, place
        )
        return {**out, **{new: host[old] for new, old in self._kept[names].items()}}

    def _staged(self, fixed: Any, parameters: Any, batch: dict[str, Any], place: Any) -> Any:
        definition, host_names = fixed
        return self.apply(nnx.merge(definition, parameters), batch, place, host_names)

    def apply(
        self, modules: Any, batch: dict[str, Any], place: Any, host_names: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """Return the batch after the stages on the device, traceably.

        modules: the stages that are modules, in order. place: the epoch and the positions.
        """
        arrays = jax.tree.leaves(batch)
        if not arrays:
            raise DataError("no field is left for the stages on the device")
        size = len(arrays[0])
        batch = {**batch, **{name: HostField(name) for name in host_names}}
        following = iter(modules)
        stochastic = sum(map(is_stochastic, self.on_host))
        for stage in self._on_device:
            function = next(following) if isinstance(stage, nnx.Module) else stage
            before = _variables(function)
            if is_stochastic(stage):
                batch = function(batch, self._keys(stochastic, place, size))
                stochastic += 1
            else:
                batch = function(batch)
            _check_batch(stage, batch, size)
            changed = [path for path, value in _variables(function).items()
                       if before.get(path) is not value]  # fmt: skip
            if changed:
                raise DataError(
                    f"stage {class_name(stage)} changed its Variable {changed[0]}; what a batch is "
                    f"must not depend on what came before: take keys (`stochastic = True`)"
                )
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

    def _check_promise(self, stage: Any, before: dict[str, Any], after: dict[str, Any]) -> None:
        """Raise `DataError` where a host stage gives other shapes or dtypes than it says."""
        place = (id(stage), str(before))
        if place not in self._promised:
            self._promised[place] = stage.spec(before) if hasattr(stage, "spec") else before
        promised = self._promised[place]
        if after != promised:
            mend = "correct its spec method" if hasattr(stage, "spec") else "give it such a method"
            raise DataError(
                f"host stage {class_name(stage)} returned {_texts(after)}; by its "
                f"`spec(batch_spec)`, or without one by what came in, it returns "
                f"{_texts(promised)}; {mend}"
            )


def is_on_host(stage: Any) -> bool:
    """Return whether a stage runs on the host."""
    return bool(getattr(stage, "on", "device") == "host")


def _wrong(stage: Any, before: tuple[Any, ...], key: Any) -> str:
    """Return what is wrong with a stage behind those `before` it, or an empty string."""
    name, place = class_name(stage), getattr(stage, "on", "device")
    if not callable(stage) or isinstance(stage, type):
        return f"{stage!r} is not a function of a batch"
    if is_stochastic(stage) and key is None:
        return f"{name} is stochastic, but the pipeline has no seed (rngs)"
    if place not in ("host", "device"):
        return f"{name} is on {place!r}; a stage is on 'host' or 'device'"
    if is_on_host(stage) and not all(map(is_on_host, before)):
        return f"{name} is on the host, behind a stage on the device; host stages come first"
    return ""


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


def _variables(function: Any) -> dict[str, Any]:
    """Return the values of a module's Variables by path."""
    if not isinstance(function, nnx.Module):
        return {}
    return {
        ".".join(map(str, path)): variable.get_value()
        for path, variable in nnx.iter_graph(function)
        if isinstance(variable, nnx.Variable)
    }


def _batch_spec(batch: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(np.shape(x), np.asarray(x).dtype), batch
    )
    return spec


def _texts(spec: dict[str, Any]) -> str:
    return ", ".join(
        f"{jax.tree_util.keystr(path, simple=True, separator='.')}: {leaf.dtype}{list(leaf.shape)}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(spec)
    )
