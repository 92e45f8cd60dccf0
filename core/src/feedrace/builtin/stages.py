"""Built-in stages: functions of a batch, traceable by JAX."""

from typing import Any

import jax
import jax.numpy as jnp

from feedrace.builtin import config as configs
from feedrace.errors import DataError
from feedrace.host.records import VALID_MASK


class _Stage:
    def __init__(self, config: Any) -> None:
        self.config = config

    def field(self, batch: dict[str, Any]) -> Any:
        """Return the config's field of a batch; raise `DataError` if it has none on the device."""
        name = self.config.field
        if name not in batch:
            raise self.no_field(name, batch)
        if not hasattr(batch[name], "dtype"):
            message = f"stage {type(self).__name__}: field {name!r} is no array on the device"
            raise DataError(message)
        return batch[name]

    def no_field(self, name: str, batch: dict[str, Any]) -> DataError:
        where, fields = f"stage {type(self).__name__}", ", ".join(sorted(batch))
        return DataError(f"{where}: no field {name!r}; the batch has {fields}")


class Rescale(_Stage):
    """Field * scale + offset, in float32."""

    config: configs.RescaleConfig

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        value = self.field(batch).astype(jnp.float32)
        return {**batch, self.config.field: value * self.config.scale + self.config.offset}


class Cast(_Stage):
    """The field in another dtype, as `astype` converts it."""

    config: configs.CastConfig

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {**batch, self.config.field: self.field(batch).astype(self.config.dtype)}


class OneHot(_Stage):
    """The integer field as float32 vectors of `num_classes`; zeros where it is out of range."""

    config: configs.OneHotConfig

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        hot = jax.nn.one_hot(self.field(batch), self.config.num_classes)
        return {**batch, self.config.field: hot}


class Select(_Stage):
    """Only the named fields and the valid mask."""

    config: configs.SelectConfig

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        missing = [name for name in self.config.fields if name not in batch]
        if missing:
            raise self.no_field(missing[0], batch)
        return {name: batch[name] for name in (*self.config.fields, VALID_MASK)}


class Flip(_Stage):
    """The field mirrored along one axis, with the given probability for each record."""

    stochastic = True

    config: configs.FlipConfig

    def __call__(self, batch: dict[str, Any], keys: Any) -> dict[str, Any]:
        """Return the batch; `keys` holds one PRNG key a record."""
        value = self.field(batch)
        if not 0 <= self.config.axis < value.ndim - 1:
            raise DataError(
                f"stage flip: field {self.config.field!r} has records of shape {value.shape[1:]}, "
                f"which have no axis {self.config.axis}"
            )
        chosen = jax.vmap(lambda key: jax.random.bernoulli(key, self.config.probability))(keys)
        chosen = chosen.reshape(-1, *[1] * (value.ndim - 1))
        mirrored = jnp.flip(value, axis=self.config.axis + 1)
        return {**batch, self.config.field: jnp.where(chosen, mirrored, value)}
