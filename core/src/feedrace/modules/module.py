"""Base classes on `flax.nnx.Module`: an author writes one method, the rest of each API is here."""

from collections.abc import Hashable
from typing import Any, Self

import attrs
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from feedrace.config.fields import StructuralConfig
from feedrace.device import specs
from feedrace.errors import ConfigError, Problem, StateError
from feedrace.host.records import check_batch_size


class Module(nnx.Module):
    """A configured part of a pipeline, whose `nnx.Variable`s are its state.

    Raises `ValueError` where the config is stochastic and `rngs` is None or lacks its stream.
    """

    def __init__(
        self, config: StructuralConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        self.config: Any = nnx.static(config)
        self.rngs = rngs
        self.name = nnx.static(name)
        self.stochastic = config.stochastic
        self.stream_name = config.stream_name
        if self.stochastic:
            if rngs is None:
                raise ValueError(f"{type(self).__name__} is stochastic and needs rngs; got None")
            self.ensure_rng_streams(list(rngs))
        self._applied_count = nnx.Variable(0)
        self._skipped_count = nnx.Variable(0)
        self._statistics: Any = nnx.data(config.precomputed_stats)
        self._computed_stats: Any = nnx.data(None)
        self._cache = nnx.static(IdentityDict())

    def requires_rng_streams(self) -> list[str] | None:
        """Return the names of the RNG streams it draws from, or None."""
        return None if self.stream_name is None else [self.stream_name]

    def ensure_rng_streams(self, stream_names: list[str]) -> None:
        """Raise `ValueError` where a stream it needs is not among `stream_names`.

        A stream called "default" serves for any, as it does in `nnx.Rngs`.
        """
        missing = [s for s in self.requires_rng_streams() or [] if s not in stream_names]
        if missing and "default" not in stream_names:
            raise ValueError(
                f"{type(self).__name__} needs the RNG streams {missing}; there are {stream_names}"
            )

    def get_operation_stats(self) -> dict[str, int]:
        """Return `applied_count`, its completed calls, and `skipped_count`, items it left out."""
        return {
            "applied_count": int(self._applied_count.get_value()),
            "skipped_count": int(self._skipped_count.get_value()),
        }

    def reset_operation_stats(self) -> None:
        """Set both counts to zero."""
        self._applied_count.set_value(0)
        self._skipped_count.set_value(0)

    def compute_statistics(self, data: Any) -> dict[str, Any] | None:
        """Return `config.batch_stats_fn(data)` and remember it; None without such a function."""
        if self.config.batch_stats_fn is None:
            return None
        computed: dict[str, Any] = self.config.batch_stats_fn(data)
        self._computed_stats = nnx.data(computed)
        return computed

    def get_statistics(self) -> dict[str, Any] | None:
        """Return statistics that were set or precomputed, else computed ones, else None."""
        known: dict[str, Any] | None = self._statistics
        return self._computed_stats if known is None else known

    def set_statistics(self, stats: dict[str, Any]) -> None:
        """Make `stats` the statistics, in place of any others."""
        self._statistics = nnx.data(stats)
        self._computed_stats = nnx.data(None)

    def reset_statistics(self) -> None:
        """Forget all statistics, precomputed ones too."""
        self._statistics = nnx.data(None)
        self._computed_stats = nnx.data(None)

    def reset_cache(self) -> None:
        """Forget the results kept for a config with `cacheable`."""
        self._cache.clear()

    def get_state(self) -> dict[str, Any]:
        """Return all `nnx.Variable`s, by path, as ints, floats, bools, strings and lists."""
        return {path: _plain(variable.get_value()) for path, variable in _variables(self).items()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go back to a state that `get_state` gave.

        Raises `TypeError` for anything but a dict, `StateError` (a `ValueError`) for missing,
        unknown or differently shaped entries; nothing is changed then.
        """
        if not isinstance(state, dict):
            raise TypeError(f"a module's state is a dict, not {type(state).__name__}")
        variables = _variables(self)
        if state.keys() != variables.keys():
            missing = sorted(variables.keys() - state.keys())
            unknown = sorted(state.keys() - variables.keys(), key=str)
            raise StateError(
                f"the state is not one of a {type(self).__name__}: missing {missing}, "
                f"unknown {unknown}"
            )
        values = {
            path: _restored(path, state[path], variable.get_value())
            for path, variable in variables.items()
        }
        for path, variable in variables.items():
            variable.set_value(values[path])

    def clone(self) -> Self:
        """Return an independent module with the same config and state."""
        twin: Self = nnx.clone(self)
        twin._cache = nnx.static(IdentityDict(self._cache))
        return twin

    def copy(
        self,
        *,
        config: StructuralConfig | None = None,
        rngs: nnx.Rngs | None = None,
        name: str | None = None,
    ) -> Self:
        """Return an independent module, some of whose config, rngs or name are other ones.

        With the same config everything else comes along, as in a clone; with another config, the
        new module starts afresh, but keeps the name, the rngs and statistics that were set.
        """
        if config is None:
            twin = self.clone()
            twin.rngs = twin.rngs if rngs is None else nnx.clone(rngs)
        else:
            kept = self.rngs if rngs is None else rngs
            twin = type(self)(
                config, rngs=None if kept is None else nnx.clone(kept), name=self.name
            )
            twin.take_over(self)
        if name is not None:
            twin.name = nnx.static(name)
        return twin

    def take_over(self, other: Self) -> None:
        """Take what a copy with another config keeps of `other`: statistics that were set."""
        if self.config.precomputed_stats is None and other._statistics is not None:
            self._statistics = nnx.data(dict(other._statistics))


class StructuralModule(Module):
    """A module that changes how data is organised, not its values; subclasses give `process`."""

    def process(self, *args: Any, **kwargs: Any) -> Any:
        """Return the reorganised input; input and output types are the subclass's."""
        raise NotImplementedError(f"{type(self).__name__} must define process")

    # Whether a call's result depends on its arguments alone, so that it may be kept.
    _repeatable = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return `process(*args, **kwargs)`, counted; from the cache where that is on.

        What samplers and batchers return moves on with each call and is never cached.
        """
        key = (args, tuple(sorted(kwargs.items())))
        use_cache = self.config.cacheable and self._repeatable and _hashable(key)
        if use_cache and key in self._cache:
            result = self._cache[key]
        else:
            result = self.process(*args, **kwargs)
            if use_cache:
                self._cache[key] = result
        self._applied_count.set_value(self._applied_count.get_value() + 1)
        return result


class BatcherModule(StructuralModule):
    """A batcher; subclasses give `process`.

    row_wise: true where row i of a batch is record i, stacked and padded as `pad_batch` does
        and no more: then batches can be made on the device, and by each host its own rows.
    """

    _repeatable = False
    row_wise = False

    def process(
        self,
        elements: Any,
        *args: Any,
        batch_size: int,
        drop_remainder: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Return an iterable of batches of `batch_size` elements.

        Raises `ConfigError` for a batch size below 1.
        """
        check_batch_size(batch_size)
        raise NotImplementedError(f"{type(self).__name__} must define process")

    def batch_spec(self, element_spec: Any, *, batch_size: int) -> dict[str, Any]:
        """Return the spec of a batch: a leading `(batch_size,)` on each leaf, and `valid_mask`."""
        return specs.batch_spec(element_spec, batch_size=batch_size)


def take_config_fields(
    module: Module, state: Any, names: tuple[str, ...]
) -> tuple[Any, dict[str, Any]]:
    """Return the module's config with these fields as in `state`, and the rest of the state.

    Fields that the config has not are passed by. Raises `TypeError` and `StateError` as `set_state`
    does.
    """
    if not isinstance(state, dict):
        raise TypeError(f"a module's state is a dict, not {type(state).__name__}")
    names = tuple(name for name in names if hasattr(module.config, name))
    missing = [name for name in names if name not in state]
    if missing:
        raise StateError(f"the state is not one of a {type(module).__name__}: missing {missing}")
    try:
        config = attrs.evolve(module.config, **{name: state[name] for name in names})
    except ConfigError as error:
        raise StateError(f"the state does not fit: {error}") from error
    return config, {key: value for key, value in state.items() if key not in names}


def with_seed(module: Module, seed: int) -> Any:
    """Return the module's config with another seed.

    Raises `ConfigError` for a seed out of range, and for a config that has none.
    """
    if not hasattr(module.config, "seed"):
        raise ConfigError([Problem("seed", f"{type(module).__name__} has no seed to set")])
    return attrs.evolve(module.config, seed=seed)


class IdentityDict(dict[Any, Any]):
    """A dict compared by identity, so that it can be a static attribute of an NNX module."""

    __hash__ = object.__hash__  # type: ignore[assignment]
    __eq__ = object.__eq__


def _hashable(key: Hashable) -> bool:
    try:
        hash(key)
    except TypeError:
        return False
    return True


def _variables(module: Module) -> dict[str, "nnx.Variable[Any]"]:
    return {
        "/".join(str(part) for part in path): node
        for path, node in nnx.iter_graph(module)
        if isinstance(node, nnx.Variable)
    }


def _plain(value: Any) -> Any:
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    return value.tolist() if hasattr(value, "tolist") else value


def _restored(path: str, value: Any, current: Any) -> Any:
    """Return the plain `value` as what `current` is; raises `StateError` where it cannot be."""
    expected = _plain(current)
    if np.shape(value) != np.shape(expected) or type(value) is not type(expected):
        raise StateError(f"{path} is {value!r} in the state; expected something like {expected!r}")
    if isinstance(current, jax.Array):
        if jnp.issubdtype(current.dtype, jax.dtypes.prng_key):
            words = jnp.asarray(value, jnp.uint32)
            return jax.random.wrap_key_data(words, impl=jax.random.key_impl(current))
        return jnp.asarray(value, current.dtype)
    return value
