"""Built-in stages: functions of a batch, traceable by JAX."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from feedrace.errors import DataError
from feedrace.host.records import VALID_MASK
from feedrace.registry.reprs import Configured


class _Stage(Configured):
    """A stage with a config."""

    def __init__(self, config: Any) -> None:
        self.config = config


class Rescale(_Stage):
    """Field * scale + offset, in float32."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        value = _field(self, batch).astype(jnp.float32)
        return {**batch, self.config.field: value * self.config.scale + self.config.offset}


class Cast(_Stage):
    """The field in another dtype, as `astype` converts it."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {**batch, self.config.field: _field(self, batch).astype(self.config.dtype)}


class OneHot(_Stage):
    """The integer field as float32 vectors of `num_classes`; zeros where it is out of range."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        hot = jax.nn.one_hot(_field(self, batch), self.config.num_classes, dtype=jnp.float32)
        return {**batch, self.config.field: hot}


class Select(_Stage):
    """Only the named fields and the valid mask."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        missing = [name for name in self.config.fields if name not in batch]
        if missing:
            raise _no_field(self, missing[0], batch)
        return {name: batch[name] for name in (*self.config.fields, VALID_MASK)}


class Flip(_Stage):
    """The field mirrored along one axis, with the given probability for each record."""

    stochastic = True

    def __call__(self, batch: dict[str, Any], keys: Any) -> dict[str, Any]:
        """Return the batch; `keys` holds one PRNG key a record."""
        value = _field(self, batch)
        if not 0 <= self.config.axis < value.ndim - 1:
            raise DataError(
                f"stage flip: field {self.config.field!r} has records of shape {value.shape[1:]}, "
                f"which have no axis {self.config.axis}"
            )
        share = np.float32(self.config.probability)  # so that x64 mode draws the same
        chosen = jax.vmap(lambda key: jax.random.bernoulli(key, share))(keys)
        chosen = chosen.reshape(-1, *[1] * (value.ndim - 1))
        mirrored = jnp.flip(value, axis=self.config.axis + 1)
        return {**batch, self.config.field: jnp.where(chosen, mirrored, value)}


def _field(stage: Any, batch: dict[str, Any]) -> Any:
    name = stage.config.field
    if name not in batch:
        raise _no_field(stage, name, batch)
    if not hasattr(batch[name], "dtype"):
        message = f"field {name!r} is not an array on the device"
        raise DataError(f"stage {type(stage).__name__}: {message}")
    return batch[name]


def _no_field(stage: Any, name: str, batch: dict[str, Any]) -> DataError:
    fields = ", ".join(sorted(batch))
    return DataError(f"stage {type(stage).__name__}: no field {name!r}; the batch has {fields}")
