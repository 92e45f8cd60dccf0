"""The base class of samplers: iteration, state and the rest, derived from `indices`."""

import functools
import itertools
import operator
from collections.abc import Callable, Iterator
from typing import Any, Self

import attrs
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from feedrace.config.fields import StructuralConfig, check_integer
from feedrace.errors import ConfigError, FeedraceError, Problem, StateError
from feedrace.modules.module import StructuralModule, take_config_fields, with_seed
from feedrace.plan.order import Order

_CHUNK = 8192


def _check_count(name: str, value: Any) -> None:
    check_integer(name, int(value) if isinstance(value, np.integer) else value, 0)


def _checked(indices: Callable[..., Any]) -> Callable[..., Any]:
    """Return a sampler's `indices` with its arguments checked, so that no author has to."""

    @functools.wraps(indices)
    def checked(self: Any, start: int, stop: int) -> Any:
        _check_count("start", start)
        _check_count("stop", stop)
        if start > stop:
            raise ConfigError([Problem("start", f"{start} is above stop, {stop}")])
        return indices(self, start, stop)

    return checked


@attrs.frozen(eq=False)
class _Chunk:
    """The indices that are being handed out, up to position `stop`."""

    stop: int
    values: Iterator[Any]


class SamplerModule(StructuralModule):
    """A sampler that orders records as a pure function of position; subclasses give `indices`.

    Iteration goes from the current position to the end of the pass, which is `len(self)` records
    long. A pass that ran to its end leaves the sampler at the start of the next.
    """

    _repeatable = False

    def __init__(
        self, config: StructuralConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        super().__init__(config, rngs=rngs, name=name)
        self._position = nnx.Variable(0)
        self._pass_start = nnx.Variable(0)
        self._chunk: Any = nnx.static(None)

    def indices(self, start: int, stop: int) -> Any:
        """Return the record numbers at absolute positions [start, stop), int64."""
        raise NotImplementedError(f"{type(self).__name__} must define indices(start, stop)")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "indices" in cls.__dict__:
            cls.indices = _checked(cls.__dict__["indices"])  # type: ignore[method-assign]

    @property
    def records_per_epoch(self) -> int:
        """Number of positions in one epoch: the config's `num_records`."""
        number = getattr(self.config, "num_records", None)
        if number is None:
            raise ConfigError(
                [
                    Problem(
                        "num_records", f"missing; {type(self).__name__} needs the number of records"
                    )
                ]
            )
        return int(number)

    def __len__(self) -> int:
        """Return the number of records in one pass; raises `TypeError` for an endless sampler."""
        epochs = getattr(self.config, "num_epochs", 1)
        if epochs == -1:
            raise TypeError(f"{type(self).__name__} with num_epochs = -1 is endless and has no len")
        return self.records_per_epoch * int(epochs)

    @property
    def position(self) -> int:
        """Number of records handed out since the start of epoch 0."""
        if self._chunk is not None:
            return int(self._chunk.stop - operator.length_hint(self._chunk.values))
        return int(self._position.get_value())

    def __iter__(self) -> Iterator[Any]:
        # The list iterators inside run at C speed, and how much is left of one tells the position.
        return itertools.chain.from_iterable(self._chunks())

    def _chunks(self) -> Iterator[Iterator[Any]]:
        self._leave()
        per_epoch = self.records_per_epoch
        end = self._pass_end()
        while (start := self.position) < end:
            epoch_end = (start // per_epoch + 1) * per_epoch
            stop = int(min(start + _CHUNK, epoch_end, end))
            mine = _Chunk(stop, iter(self.indices(start, stop).tolist()))
            self._chunk = nnx.static(mine)
            yield mine.values
            if self._chunk is not mine:
                raise FeedraceError(
                    f"this iterator of {type(self).__name__} is out of date: the sampler was "
                    f"iterated anew, reset or given a state since"
                )
            self._settle()
        if self.position == end:
            self._pass_start.set_value(int(end))

    def _pass_end(self) -> float:
        return int(self._pass_start.get_value()) + self._first_pass_end()

    def _first_pass_end(self) -> float:
        try:
            return len(self)
        except TypeError:  # an endless sampler has no length
            return float("inf")

    def _leave(self) -> None:
        """Be done with an iterator that may have stopped on the last index of an epoch or pass."""
        if self._chunk is not None:
            self._settle()

    def _settle(self) -> None:
        """Take down the position; begin the next pass and tell of the epoch where one is over."""
        position = self.position
        whole = position == self._chunk.stop
        self._position.set_value(position)
        self._chunk = nnx.static(None)
        if whole and position == self._pass_end():
            self._pass_start.set_value(position)
        if whole and position % self.records_per_epoch == 0:
            self.epoch_completed(position // self.records_per_epoch - 1)

    def attach(self, source: Any) -> None:
        """Be given the source of the records, before the first index; called by pipelines.

        A sampler that orders records by what they hold learns it here, by `feedrace.plugin.column`.
        """

    def epoch_completed(self, epoch: int) -> None:
        """Be told that `epoch` was handed out whole; called by iteration and by pipelines."""

    def sample(self, n: int) -> list[Any]:
        """Return the next `n` indices, fewer where the pass ends; the position moves along.

        Raises `ConfigError` for an n below 0.
        """
        _check_count("n", n)
        taken = list(itertools.islice(self, n))
        self._leave()
        return taken

    def process(self, n: int) -> list[Any]:
        """Return `sample(n)`."""
        return self.sample(n)

    def index_spec(self) -> Any:
        """Return the spec of one emitted index: an int32 scalar, or int64 past 2**31 records."""
        records = getattr(self.config, "num_records", None) or 0
        return jax.ShapeDtypeStruct((), np.int64 if records > 2**31 else jnp.int32)

    def reset(self, seed: int | None = None) -> None:
        """Go back to epoch 0, with another seed where one is given.

        Raises `ConfigError` for a seed out of range, or one given to a sampler that has none.
        """
        if seed is not None:
            self.config = nnx.static(with_seed(self, seed))
        self._leave()
        self._position.set_value(0)
        self._pass_start.set_value(0)

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of `epoch`, as torch's distributed samplers do."""
        _check_count("epoch", epoch)
        self._leave()
        self._position.set_value(int(epoch) * self.records_per_epoch)
        self._pass_start.set_value(int(epoch) * self.records_per_epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return `get_state()`, under the name that torchdata's loaders call."""
        return self.get_state()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a state that `state_dict` gave."""
        self.set_state(state)

    def __getitem__(self, index: int) -> Any:
        """Return `grain`'s metadata of the record at a position, as its samplers do.

        Raises `IndexError` below 0 and at the end of the first pass, `ImportError` without grain.
        """
        if not 0 <= index < self._first_pass_end():
            raise IndexError(f"there is no position {index} in a pass of {type(self).__name__}")
        from grain import python as grain

        key = self.indices(index, index + 1)[0]
        seed = getattr(self.config, "seed", 0)
        rng = np.random.Generator(np.random.Philox(key=(seed << 64) + int(index)))
        return grain.RecordMetadata(index=index, record_key=key, rng=rng)

    def get_state(self) -> dict[str, Any]:
        seed = {"seed": self.config.seed} if hasattr(self.config, "seed") else {}
        return {**super().get_state(), **seed, "_position": self.position}

    def set_state(self, state: dict[str, Any]) -> None:
        config, variables = take_config_fields(self, state, ("seed",))
        self._leave()
        before = super().get_state()
        super().set_state(variables)
        position, start = state["_position"], state["_pass_start"]
        if not 0 <= start <= position <= self._pass_end():
            super().set_state(before)
            raise StateError(
                f"position {position} in a pass that began at {start} is not one of this sampler"
            )
        self.config = nnx.static(config)

    def clone(self) -> Self:
        twin = super().clone()
        twin._chunk = nnx.static(None)
        twin._position.set_value(self.position)
        return twin


class OrderedSamplerModule(SamplerModule):
    """A sampler of every record once an epoch, in the `order` its config has; JAX can trace it.

    The order is a new permutation each epoch, chosen by the config's `seed`; or the stored one, if
    the config has no seed, or `shuffle = False`.
    """

    @property
    def order(self) -> Order:
        """The order of the records."""
        shuffled = getattr(self.config, "shuffle", True)
        return Order(
            self.records_per_epoch, getattr(self.config, "seed", None) if shuffled else None
        )

    def indices(self, start: int, stop: int) -> NDArray[np.int64]:
        return self.order.indices(start, stop)

    def indices_at(self, epoch: jax.Array, positions: jax.Array) -> jax.Array:
        """Return the record numbers at int32 positions of an epoch (uint32), traceably."""
        return self.order.traced(epoch, positions)
