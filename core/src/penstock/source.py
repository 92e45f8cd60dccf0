"""The base class of sources: order, iteration, batches and state, derived from `fetch`."""

from collections.abc import Iterator
from typing import Any

import attrs
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from penstock import specs
from penstock.config import StructuralConfig
from penstock.module import StructuralModule
from penstock.shuffle import epoch_indices, permute, round_keys

_ELEMENTS = 256


class SourceModule(StructuralModule):
    """A source of records by number; subclasses give `fetch`, `element_spec` and `length`.

    Its own order is sequential, or, where `config.shuffle` is true, a new permutation each epoch.
    `index` and `epoch` say where its iteration and `get_batch` stand.
    """

    length: int

    def __init__(
        self, config: StructuralConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        super().__init__(config, rngs=rngs, name=name)
        self.index = nnx.Variable(0)
        self.epoch = nnx.Variable(0)
        self.seed = nnx.Variable(getattr(config, "seed", 0))
        self._random_order = nnx.Variable(bool(getattr(config, "shuffle", False)))

    def fetch(self, indices: Any) -> dict[str, Any]:
        """Return the records of these numbers: a dict of arrays with leading axis len(indices)."""
        raise NotImplementedError(f"{type(self).__name__} must define fetch")

    def element_spec(self) -> Any:
        """Return a dict of `jax.ShapeDtypeStruct`, the shape and dtype of each field."""
        raise NotImplementedError(f"{type(self).__name__} must define element_spec")

    def process(self, indices: Any) -> dict[str, Any]:
        """Return `fetch(indices)`."""
        return self.fetch(indices)

    def __len__(self) -> int:
        """Return the number of records."""
        return self.length

    @property
    def is_random_order(self) -> bool:
        """Whether its own order is shuffled."""
        return bool(self._random_order.get_value())

    def set_random_order(self, enabled: bool) -> None:
        """Shuffle its own order from now on, or not."""
        self._random_order.set_value(bool(enabled))

    def indices(self, start: int, stop: int) -> Any:
        """Return the record numbers at absolute positions [start, stop) of its own order."""
        if self.is_random_order:
            return epoch_indices(start, stop, self.length, seed=self.seed.get_value())
        return np.arange(start, stop, dtype=np.int64) % self.length

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the records that are left of this epoch, one dict each, then start the next."""
        while (first := self.index.get_value()) < self.length:
            last = min(first + _ELEMENTS, self.length)
            base = self.epoch.get_value() * self.length
            for element in split_records(self.fetch(self.indices(base + first, base + last))):
                self.index.set_value(self.index.get_value() + 1)
                yield element
        self.index.set_value(0)
        self.epoch.set_value(self.epoch.get_value() + 1)

    def get_batch(self, batch_size: int, key: Any | None = None) -> dict[str, Any]:
        """Return the next `batch_size` records, going on into the next epoch where one ends.

        With a PRNG `key` the source's position is neither used nor moved: the records are drawn
        without replacement (epoch after epoch where `batch_size` exceeds the length).
        """
        specs.check_batch_size(batch_size)
        if key is not None:
            return self.fetch(np.asarray(self._keyed_order(0, batch_size, key), np.int64))
        start = self.epoch.get_value() * self.length + self.index.get_value()
        batch = self.fetch(self.indices(start, start + batch_size))
        epoch, index = divmod(start + batch_size, self.length)
        self.epoch.set_value(epoch)
        self.index.set_value(index)
        return batch

    def _keyed_order(self, start: Any, size: int, key: Any) -> Any:
        """Return `size` record numbers from `start` on, in the order `key` chooses; traceable."""
        if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
            key = jax.random.key_data(key)
        words = key.reshape(-1)
        keys = round_keys(words[0], words[-1], xp=jnp)
        positions = (start + jnp.arange(size, dtype=jnp.int32)) % self.length
        return permute(positions, self.length, keys, xp=jnp, while_loop=jax.lax.while_loop)

    def reset(self, seed: int | None = None) -> None:
        """Go back to the first record of epoch 0, with another seed where one is given."""
        if seed is not None:
            if hasattr(self.config, "seed"):
                self.config = nnx.static(attrs.evolve(self.config, seed=seed))
            self.seed.set_value(seed)
        self.index.set_value(0)
        self.epoch.set_value(0)


def split_records(records: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the records of a dict of arrays (leaves may be nested) one by one."""
    leaves, structure = jax.tree.flatten(records)
    for row in zip(*leaves, strict=True):
        yield jax.tree.unflatten(structure, row)
