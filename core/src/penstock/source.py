"""The base class of sources: order, iteration, batches and state, derived from `fetch`."""

from collections.abc import Iterable, Iterator
from typing import Any

import attrs
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from penstock import specs
from penstock.config import StructuralConfig
from penstock.errors import StateError
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
        self._random_order = bool(getattr(config, "shuffle", False))

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
        return self._random_order

    def set_random_order(self, enabled: bool) -> None:
        """Shuffle its own order from now on, or not."""
        self._random_order = bool(enabled)
        if hasattr(self.config, "shuffle"):
            self.config = nnx.static(attrs.evolve(self.config, shuffle=self._random_order))

    def indices(self, start: int, stop: int) -> Any:
        """Return the record numbers at absolute positions [start, stop) of its own order."""
        if self.is_random_order:
            return epoch_indices(start, stop, self.length, seed=int(self.seed.get_value()))
        return np.arange(start, stop, dtype=np.int64) % self.length

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the records that are left of this epoch, one dict each, then start the next."""
        base = int(self.epoch.get_value()) * self.length
        starts = range(int(self.index.get_value()), self.length, _ELEMENTS)
        yield from self._hand_out(
            self.fetch(self.indices(base + s, base + min(s + _ELEMENTS, self.length)))
            for s in starts
        )

    def _hand_out(self, blocks: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield the records in `blocks`, the rest of this epoch, keeping `index` and `epoch`."""
        for block in blocks:
            for element in split_records(block):
                self.index.set_value(int(self.index.get_value()) + 1)
                yield element
        self.index.set_value(0)
        self.epoch.set_value(int(self.epoch.get_value()) + 1)

    def get_batch(self, batch_size: int, key: Any | None = None) -> dict[str, Any]:
        """Return the next `batch_size` records, going on into the next epoch where one ends.

        With a PRNG `key` the source's position is neither used nor moved: the records are drawn
        without replacement (epoch after epoch where `batch_size` exceeds the length).
        """
        specs.check_batch_size(batch_size)
        if key is not None:
            return self.fetch(np.asarray(self._keyed_order(0, batch_size, key), np.int64))
        start = int(self.epoch.get_value()) * self.length + int(self.index.get_value())
        batch = self.fetch(self.indices(start, start + batch_size))
        epoch, index = divmod(start + batch_size, self.length)
        self.epoch.set_value(epoch)
        self.index.set_value(index)
        return batch

    def get_batch_at(self, start: Any, size: int, key: Any | None = None) -> dict[str, Any]:
        """Return `size` records from position `start` on, traceably, where the source can do so."""
        raise NotImplementedError(
            f"{type(self).__name__} reads on the host; use fetch, or a source that holds its data"
        )

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

    def get_state(self) -> dict[str, Any]:
        return {**super().get_state(), "random_order": self._random_order}

    def set_state(self, state: dict[str, Any]) -> None:
        if not isinstance(state, dict):
            raise TypeError(f"a source's state is a dict, not {type(state).__name__}")
        if not isinstance(state.get("random_order"), bool):
            raise StateError("the state of a source needs random_order, true or false")
        before = super().get_state()
        super().set_state({k: v for k, v in state.items() if k != "random_order"})
        if not (0 <= state["index"] <= self.length and state["epoch"] >= 0):
            super().set_state(before)
            raise StateError(
                f"index {state['index']} in epoch {state['epoch']} is not a place in "
                f"{self.length} records"
            )
        self.set_random_order(state["random_order"])
        if hasattr(self.config, "seed") and state["seed"] != self.config.seed:
            self.config = nnx.static(attrs.evolve(self.config, seed=state["seed"]))


def split_records(records: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the records of a dict of arrays (leaves may be nested) one by one."""
    leaves, structure = jax.tree.flatten(records)
    for row in zip(*leaves, strict=True):
        yield jax.tree.unflatten(structure, row)
