"""The state of a module: its `nnx.Variable`s as plain values, and some fields of its config."""

from collections.abc import Mapping
from typing import Any

import attrs
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from feedrace.config.fields import MAX_INT
from feedrace.errors import ConfigError, Problem, StateError, clipped


def plain_state(module: Any) -> dict[str, Any]:
    """Return all variables, by path, as ints, floats, bools, strings and lists, and the fields."""
    variables = {path: _plain(value.get_value()) for path, value in _variables(module).items()}
    return {**variables, **{name: getattr(module.config, name) for name in _fields(module)}}


def restore(module: Any, state: Any) -> None:
    """Set all variables and fields to the values that `plain_state` returned.

    Raises `TypeError` for anything but a dict; `StateError` for missing, unknown or differently
    shaped entries, a field that breaks its rule, and what the module refuses. Nothing is changed
    then.
    """
    if not isinstance(state, dict):
        raise TypeError(f"a module's state is a dict, not {type(state).__name__}")
    variables, fields = _variables(module), _fields(module)
    expected = {*variables, *fields}
    problem = f"the state does not fit a {type(module).__name__}"
    if state.keys() != expected:
        missing, unknown = (
            sorted(expected - state.keys()),
            sorted(state.keys() - expected, key=clipped),
        )
        raise StateError(f"{problem}: missing {missing}, unknown {clipped(unknown)}")
    try:
        config = attrs.evolve(module.config, **{name: state[name] for name in fields})
    except ConfigError as error:
        raise StateError(f"{problem}: {error}") from error
    before = {path: variable.get_value() for path, variable in variables.items()}
    after = {path: _restored(path, state[path], value) for path, value in before.items()}
    try:
        _set(variables, after)
        module._check_restored()
    except StateError:
        _set(variables, before)
        raise
    module.config = nnx.static(config)


def set_seed(module: Any, seed: int) -> None:
    """Give the module's config another seed.

    Raises `ConfigError` for a seed out of range, and for a config without one.
    """
    if not hasattr(module.config, "seed"):
        raise ConfigError([Problem("seed", f"{type(module).__name__} has no seed to set")])
    module.config = nnx.static(attrs.evolve(module.config, seed=seed))


def _fields(module: Any) -> list[str]:
    """Return the fields of the config that belong to the state: they may change in use."""
    return [name for name in module._in_state if hasattr(module.config, name)]


def _set(variables: Mapping[str, "nnx.Variable[Any]"], values: Mapping[str, Any]) -> None:
    for path, variable in variables.items():
        variable.set_value(values[path])


def _variables(module: nnx.Module) -> dict[str, "nnx.Variable[Any]"]:
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
    """Return the plain `value` as the type of `current`; raise `StateError` if it does not fit."""
    expected = _plain(current)
    fits = type(value) is type(expected) and (not isinstance(value, int) or value <= MAX_INT)
    if not fits or np.shape(value) != np.shape(expected):
        raise StateError(
            f"{path} is {clipped(value)} in the state; expected something like {clipped(expected)}"
        )
    if isinstance(current, jax.Array):
        if jnp.issubdtype(current.dtype, jax.dtypes.prng_key):
            words = jnp.asarray(value, jnp.uint32)
            return jax.random.wrap_key_data(words, impl=jax.random.key_impl(current))
        return jnp.asarray(value, current.dtype)
    return value
