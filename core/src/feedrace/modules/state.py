"""The state of a module: its variables as plain values, its config, and statistics it was given."""

import json
from collections.abc import Mapping
from typing import Any

import attrs
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from feedrace.config.fields import MAX_INT, MAX_SEED, check_integer
from feedrace.config.mapping import unstructure
from feedrace.errors import ConfigError, StateError, clipped
from feedrace.plan.state import diff, fingerprint

_CONFIG, _STATISTICS = "config", "statistics"
_ARRAY = "__array__"


def plain_state(module: Any) -> dict[str, Any]:
    """Return all variables, by path, as ints, floats, bools, strings and lists, and the fields.

    "config" holds what must be equal for the state to fit, "statistics" those that were set or
    computed.
    """
    variables = {path: _plain(value.get_value()) for path, value in _variables(module).items()}
    return {
        **variables,
        **{name: getattr(module.config, name) for name in _fields(module)},
        _CONFIG: _identity(module),
        _STATISTICS: [_packed(module._statistics), _packed(module._computed_stats)],
    }


def restore(module: Any, state: Any) -> None:
    """Set all variables and fields to the values that `plain_state` returned.

    Raises `TypeError` for anything but a dict; `StateError` for missing, unknown or differently
    shaped entries, the state of a differently configured module, a field that breaks its rule, and
    what the module refuses. Nothing is changed then.
    """
    if not isinstance(state, dict):
        raise TypeError(f"a module's state is a dict, not {type(state).__name__}")
    variables, fields = _variables(module), _fields(module)
    expected = {*variables, *fields, _CONFIG, _STATISTICS}
    problem = f"the state does not fit a {type(module).__name__}"
    if state.keys() != expected:
        missing, unknown = (
            sorted(expected - state.keys()),
            sorted(state.keys() - expected, key=clipped),
        )
        raise StateError(f"{problem}: missing {missing}, unknown {clipped(unknown)}")
    differences = diff(state[_CONFIG], _identity(module))
    if differences:
        raise StateError(
            f"the state is of a {type(module).__name__} with another config; this differs "
            f"(saved -> here): {'; '.join(differences)}"
        )
    try:
        given, computed = map(_unpacked, state[_STATISTICS])
    except (TypeError, ValueError, KeyError) as error:
        raise StateError(f"{problem}: its statistics are damaged: {error}") from error
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
    module._statistics, module._computed_stats = nnx.data(given), nnx.data(computed)


def set_seed(module: Any, seed: int) -> None:
    """Give the module's config another seed; one without a seed stays as it is.

    Raises `ConfigError` for a seed out of range.
    """
    if hasattr(module.config, "seed"):
        module.config = nnx.static(attrs.evolve(module.config, seed=seed))
    else:
        check_integer("seed", seed, 0, MAX_SEED)


def _identity(module: Any) -> dict[str, Any]:
    """Return the fields of the config that decide which records come when, and a source's length.

    Long ones are digests, and fields that belong to the state are left out.
    """
    fields = unstructure(
        module.config, defaults=True, identity_only=True, name_component=lambda _, part: str(part)
    )
    fields = {name: value for name, value in fields.items() if name not in module._in_state}
    return fingerprint(json.loads(json.dumps({**fields, **module._decisive()}, default=str)))


def _packed(statistics: Any) -> Any:
    """Return statistics with their arrays as {"__array__": dtype, "values": nested lists}."""
    if isinstance(statistics, Mapping):
        return {key: _packed(value) for key, value in statistics.items()}
    if isinstance(statistics, tuple | list):
        return [_packed(value) for value in statistics]
    if isinstance(statistics, jax.Array | np.ndarray | np.generic):
        array = np.asarray(statistics)
        wide = array.astype(np.float32) if array.dtype.name == "bfloat16" else array
        return {_ARRAY: array.dtype.name, "values": wide.tolist()}
    return statistics


def _unpacked(statistics: Any) -> Any:
    if isinstance(statistics, Mapping) and _ARRAY in statistics:
        return np.asarray(statistics["values"], jnp.dtype(statistics[_ARRAY]))
    if isinstance(statistics, Mapping):
        return {key: _unpacked(value) for key, value in statistics.items()}
    return list(map(_unpacked, statistics)) if isinstance(statistics, list) else statistics


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
