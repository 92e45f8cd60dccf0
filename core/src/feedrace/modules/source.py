"""The base class of sources: order, iteration, batches and state, derived from `fetch`."""

import contextlib
from collections.abc import Generator, Iterator
from typing import Any

import attrs
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from feedrace.config.fields import StructuralConfig
from feedrace.device import specs
from feedrace.errors import ConfigError, FeedraceError, Problem, StateError
from feedrace.host.records import check_batch_size, map_leaves, split_records
from feedrace.modules.module import StructuralModule
from feedrace.modules.state import set_seed
from feedrace.plan.order import Order
from feedrace.protocols import Skipping, provides

_ELEMENTS = 256


class SourceModule(StructuralModule):
    """A source of records by number; subclasses define `fetch`, `element_spec` and `length`.

    Its own order is the stored one or, if `config.shuffle` is true, a new permutation each epoch.
    `index` and `epoch` hold the position of its iteration and of `get_batch`. Only the newest
    iterator works: an older one raises `FeedraceError`, as it does after anything else that moves
    the position.
    """

    _in_state: tuple[str, ...] = ("shuffle", "seed")
    length: int

    def __init__(
        self, config: StructuralConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        super().__init__(config, rngs=rngs, name=name)
        self.index = nnx.Variable(0)
        self.epoch = nnx.Variable(0)
        self._handed = False  # whether this very object handed out the record before `index`

    def fetch(self, indices: NDArray[np.int64]) -> dict[str, Any]:
        """Return the records of these numbers: a dict of arrays with leading axis len(indices)."""
        raise NotImplementedError(f"{type(self).__name__} must define fetch")

    def element_spec(self) -> Any:
        """Return a dict of `jax.ShapeDtypeStruct`, the shape and dtype of each field."""
        raise NotImplementedError(f"{type(self).__name__} must define element_spec")

    def process(self, indices: NDArray[np.int64]) -> dict[str, Any]:
        """Return `fetch(indices)`."""
        return self.fetch(indices)

    def __len__(self) -> int:
        """Return the number of records."""
        return self.length

    @property
    def seed(self) -> int:
        """The seed of its own order."""
        return int(getattr(self.config, "seed", 0))

    @property
    def is_random_order(self) -> bool:
        """Whether its own order is shuffled."""
        return bool(getattr(self.config, "shuffle", False))

    def set_random_order(self, enabled: bool) -> None:
        """Shuffle its own order from now on, or stop doing so."""
        if hasattr(self.config, "shuffle"):
            self.config = nnx.static(attrs.evolve(self.config, shuffle=bool(enabled)))
        elif enabled:
            message = f"{type(self).__name__} has no order of its own to shuffle"
            raise ConfigError([Problem("shuffle", message)])

    @property
    def order(self) -> Order:
        """Its own order."""
        return Order(self.length, self.seed if self.is_random_order else None)

    def indices(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the record numbers at absolute positions [start, stop) of its own order."""
        return self.order.indices(start, stop)

    def indices_at(self, epoch: jax.Array, positions: jax.Array) -> jax.Array:
        """Return the record numbers at int32 positions of an epoch (uint32), traceably."""
        return self.order.traced(epoch, positions)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the records that are left of this epoch, one dict each, then start the next."""
        return self._hand_out(
            record
            for start, stop in self._blocks(_ELEMENTS)
            for record in split_records(specs.arrive(self.fetch(self.indices(start, stop))))
        )

    def _blocks(self, size: int) -> Iterator[tuple[int, int]]:
        """Yield the absolute positions [start, stop) of blocks that make up the epoch's rest."""
        base = int(self.epoch.get_value()) * self.length
        for start in range(int(self.index.get_value()), self.length, size):
            yield base + start, base + min(start + size, self.length)

    def _hand_out(
        self, records: Generator[dict[str, Any] | None, None, None]
    ) -> Iterator[dict[str, Any]]:
        """Yield `records`, the epoch's rest, keeping `index` and `epoch`; None is a skipped record.

        `records` starts after an iteration that stopped on the last record has ended its epoch.
        """
        if self._handed and int(self.index.get_value()) == self.length:
            self._next_epoch()
        with contextlib.closing(records):
            for record in records:
                index, epoch = int(self.index.get_value()) + 1, self.epoch.get_value()
                self.index.set_value(index)
                self._handed = True
                if record is None:
                    continue
                yield record
                if (self.index.get_value(), self.epoch.get_value()) != (index, epoch):
                    raise FeedraceError(
                        f"this iterator of {type(self).__name__} is out of date: the source was "
                        f"iterated anew, reset or moved since; use the newest iterator"
                    )
        self._next_epoch()

    def _next_epoch(self) -> None:
        self._handed = False
        self.index.set_value(0)
        self.epoch.set_value(int(self.epoch.get_value()) + 1)

    def get_batch(self, batch_size: int, key: jax.Array | None = None) -> dict[str, Any]:
        """Return the next `batch_size` records, going on into the next epoch if one ends.

        With a PRNG `key` the source's position is neither used nor moved: the records are drawn
        without replacement (epoch after epoch if `batch_size` exceeds the length).
        """
        check_batch_size(batch_size)
        if key is not None:
            order = np.asarray(self._keyed_order(0, batch_size, key), np.int64)
            return self._arrived(order)
        start = int(self.epoch.get_value()) * self.length + int(self.index.get_value())
        batch = self._arrived(self.indices(start, start + batch_size))
        epoch, index = divmod(start + batch_size, self.length)
        self.epoch.set_value(epoch)
        self.index.set_value(index)
        return batch

    def _arrived(self, indices: NDArray[np.int64]) -> dict[str, Any]:
        """Return the records of these numbers on the device, without those that were skipped."""
        records: dict[str, Any] = self.fetch(indices)
        source: Any = self
        if provides(source, Skipping):
            valid = ~np.asarray(source.invalid_rows(indices))
            records = map_leaves(lambda leaf: leaf[valid], records)
        return dict(specs.arrive(records))

    def get_batch_at(
        self, start: int | jax.Array, size: int, key: jax.Array | None = None
    ) -> dict[str, Any]:
        """Return `size` records from position `start` on, traceably, if the source can do so."""
        raise NotImplementedError(
            f"{type(self).__name__} reads on the host; use fetch, or a source that holds its data"
        )

    def _keyed_order(self, start: int | jax.Array, size: int, key: jax.Array) -> jax.Array:
        """Return `size` record numbers from `start` on, in the order `key` chooses; traceable."""
        if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
            key = jax.random.key_data(key)
        words = key.reshape(-1)
        positions = (start + jnp.arange(size, dtype=jnp.int32)) % self.length
        return Order(self.length, words[0]).traced(words[-1], positions)

    def reset(self, seed: int | None = None) -> None:
        """Go back to the first record of epoch 0, with another seed if one is given.

        A seed has no effect on a source without one. Raises `ConfigError` for a seed out of range.
        """
        if seed is not None:
            set_seed(self, seed)
        self._handed = False
        self.index.set_value(0)
        self.epoch.set_value(0)

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self._handed = False

    def _decisive(self) -> dict[str, Any]:
        return {"length": self.length}

    def _check_restored(self) -> None:
        index, epoch = self.index.get_value(), self.epoch.get_value()
        if not (0 <= index <= self.length and epoch >= 0):
            raise StateError(
                f"index {index} in epoch {epoch} does not exist in {self.length} records"
            )
