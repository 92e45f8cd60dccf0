"""The state of a module: its `nnx.Variable`s as plain values, and some fields of its config."""

from collections.abc import Mapping
from typing import Any

import attrs
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from feedrace.errors import ConfigError, Problem, StateError


def plain_variables(module: nnx.Module) -> dict[str, Any]:
    """Return all variables, by path, as ints, floats, bools, strings and lists."""
    return {path: _plain(variable.get_value()) for path, variable in _variables(module).items()}


def restore_variables(module: nnx.Module, state: Mapping[str, Any]) -> None:
    """Set all variables to the values that `plain_variables` returned.

    Raises `TypeError` for anything but a dict, `StateError` for missing, unknown or differently
    shaped entries; nothing is changed then.
    """
    check_state(state)
    variables = _variables(module)
    if state.keys() != variables.keys():
        missing = sorted(variables.keys() - state.keys())
        unknown = sorted(state.keys() - variables.keys(), key=str)
        raise StateError(
            f"the state does not fit a {type(module).__name__}: missing {missing}, "
            f"unknown {unknown}"
        )
    values = {
        path: _restored(path, state[path], variable.get_value())
        for path, variable in variables.items()
    }
    for path, variable in variables.items():
        variable.set_value(values[path])


def restore_config(module: Any, state: Any, names: tuple[str, ...]) -> tuple[Any, dict[str, Any]]:
    """Return the module's config with these fields as in `state`, and the rest of the state.

    Fields that the config lacks are ignored. Raises `TypeError` for anything but a dict,
    `StateError` for a missing field or a value that breaks its rule.
    """
    check_state(state)
    names = tuple(name for name in names if hasattr(module.config, name))
    missing = [name for name in names if name not in state]
    if missing:
        raise StateError(f"the state does not fit a {type(module).__name__}: missing {missing}")
    try:
        config = attrs.evolve(module.config, **{name: state[name] for name in names})
    except ConfigError as error:
        raise StateError(f"the state does not fit a {type(module).__name__}: {error}") from error
    return config, {key: value for key, value in state.items() if key not in names}


def check_state(state: Any) -> None:
    """Raise `TypeError` if `state` is not a dict."""
    if not isinstance(state, dict):
        raise TypeError(f"a module's state is a dict, not {type(state).__name__}")


def with_seed(module: Any, seed: int) -> Any:
    """Return the module's config with another seed.

    Raises `ConfigError` for a seed out of range, and for a config without one.
    """
    if not hasattr(module.config, "seed"):
        raise ConfigError([Problem("seed", f"{type(module).__name__} has no seed to set")])
    return attrs.evolve(module.config, seed=seed)


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
    if np.shape(value) != np.shape(expected) or type(value) is not type(expected):
        raise StateError(f"{path} is {value!r} in the state; expected something like {expected!r}")
    if isinstance(current, jax.Array):
        if jnp.issubdtype(current.dtype, jax.dtypes.prng_key):
            words = jnp.asarray(value, jnp.uint32)
            return jax.random.wrap_key_data(words, impl=jax.random.key_impl(current))
        return jnp.asarray(value, current.dtype)
    return value
