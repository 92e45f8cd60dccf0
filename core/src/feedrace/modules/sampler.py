"""The base class of samplers: iteration, state and the rest, derived from `indices`."""

import functools
import itertools
import operator
import sys
from collections.abc import Callable, Iterator
from typing import Any, Self

import attrs
import jax
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from feedrace.config.fields import MAX_INT, StructuralConfig, check_integer
from feedrace.errors import ConfigError, FeedraceError, Problem, StateError
from feedrace.modules.module import StructuralModule
from feedrace.modules.state import set_seed
from feedrace.plan.order import Order

_CHUNK = 8192


def _checked(indices: Callable[..., Any]) -> Callable[..., Any]:
    """Return a sampler's `indices` with its arguments checked, so that no author has to."""

    @functools.wraps(indices)
    def checked(self: Any, start: int, stop: int) -> Any:
        if not (type(start) is type(stop) is int and 0 <= start <= stop <= MAX_INT):
            check_integer("start", start, 0)
            check_integer("stop", stop, 0)
            if start > stop:
                raise ConfigError([Problem("start", f"{start} is above stop, {stop}")])
        return indices(self, int(start), int(stop))

    return checked


class _EndlessError(TypeError, AttributeError):
    """An endless sampler has no `__len__`, neither for `len` nor for `hasattr`, as grain asks."""


class _Length:
    """The `__len__` of a sampler, which an endless one lacks."""

    def __init__(self, length: Callable[[Any], int]) -> None:
        self.length = length

    def __get__(self, sampler: Any, owner: type) -> Any:
        if sampler is not None and getattr(sampler.config, "num_epochs", 1) == -1:
            raise _EndlessError(f"{owner.__name__} with num_epochs = -1 is endless and has no len")
        return self.length.__get__(sampler, owner)


@attrs.frozen(eq=False)
class _Chunk:
    """The indices that an iterator is handing out, up to position `stop`; `left` runs over them."""

    stop: int
    ends_pass: bool
    indices: list[Any]
    left: Iterator[Any]


class SamplerModule(StructuralModule):
    """A sampler that orders records as a pure function of position; subclasses define `indices`.

    Iteration goes from the current position to the end of the pass, which is `len(self)` records
    long, and leaves the sampler at the start of the next pass. Only the newest iterator works: an
    older one raises `FeedraceError`, as it does after a reset.
    """

    _repeatable = False
    _in_state = ("seed",)

    def __init__(
        self, config: StructuralConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        super().__init__(config, rngs=rngs, name=name)
        self._position = nnx.Variable(0)
        self._pass_start = nnx.Variable(0)
        self._chunk: Any = nnx.static(None)  # the newest iterator's, or None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "indices" in cls.__dict__:
            cls.indices = _checked(cls.__dict__["indices"])  # type: ignore[method-assign]

    def indices(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the record numbers at absolute positions [start, stop), one row each."""
        raise NotImplementedError(f"{type(self).__name__} must define indices(start, stop)")

    @property
    def records_per_epoch(self) -> int:
        """Number of positions in one epoch: the config's `num_records`."""
        number = getattr(self.config, "num_records", None)
        if number is None:
            message = (
                f"missing; {type(self).__name__} needs the number of records: give it, or let a "
                f"pipeline make the sampler of its name and take the number from its source"
            )
            raise ConfigError([Problem("num_records", message)])
        return int(number)

    @_Length
    def __len__(self) -> int:
        """Return the number of records in one pass; raises `TypeError` for an endless sampler."""
        epochs = int(getattr(self.config, "num_epochs", 1))
        length = self.records_per_epoch * epochs
        if length > MAX_INT:
            message = f"{epochs} epochs of {self.records_per_epoch} records are more than {MAX_INT}"
            raise ConfigError([Problem("num_epochs", f"{message}; -1 makes the pass endless")])
        return length

    @property
    def position(self) -> int:
        """Number of records handed out since the start of epoch 0."""
        if self._chunk is not None:
            return int(self._chunk.stop) - operator.length_hint(self._chunk.left)
        return int(self._position.get_value())

    def __iter__(self) -> Iterator[Any]:
        # The list iterators inside run at C speed; how much is left of one gives the position.
        return itertools.chain.from_iterable(self._chunks())

    def _chunks(self) -> Iterator[Iterator[Any]]:
        if self._chunk is not None:
            self._settle()
        per_epoch, end = self.records_per_epoch, int(self._pass_start.get_value())
        end += operator.length_hint(self, sys.maxsize)  # an endless sampler has no length
        while (start := int(self._position.get_value())) < end:
            stop = min(start + _CHUNK, (start // per_epoch + 1) * per_epoch, end)
            indices = self.indices(start, stop).tolist()
            chunk = _Chunk(stop, stop == end, indices, iter(indices))
            self._chunk = nnx.static(chunk)
            yield chunk.left
            newest = self._chunk is chunk
            if newest:
                self._settle()
            if not newest or self._chunk is not None:  # `epoch_completed` may have iterated anew
                raise FeedraceError(
                    f"this iterator of {type(self).__name__} is out of date: the sampler was "
                    f"iterated anew, reset or given a state since; use the newest iterator"
                )
        if start == end:  # also if a state at the end was restored
            self._pass_start.set_value(end)

    def _settle(self) -> None:
        """Record where the current iterator stopped, and make it stop there for good.

        At the end of a pass the next one begins; the end of an epoch is reported.
        """
        if (chunk := self._chunk) is None:
            return
        position = self.position
        chunk.indices.clear()  # an iterator of a list that is empty has ended
        self._chunk = nnx.static(None)
        self._position.set_value(position)
        if position == chunk.stop:
            if chunk.ends_pass:
                self._pass_start.set_value(position)
            if position % self.records_per_epoch == 0:
                self.epoch_completed(position // self.records_per_epoch - 1)

    def attach(self, source: Any) -> None:
        """Take the source of the records; a pipeline calls it before the first index.

        Override it in a sampler that orders records by what they hold: `feedrace.plugin.column`
        reads one field of all of them.
        """

    def epoch_completed(self, epoch: int) -> None:
        """Do what is due after the last index of `epoch`; iteration and pipelines call it."""

    def sample(self, n: int) -> list[Any]:
        """Return the next `n` indices, fewer at the end of the pass, and move the position along.

        Raises `ConfigError` for an n below 0.
        """
        check_integer("n", n, 0)
        taken = list(itertools.islice(self, n))
        self._settle()
        return taken

    def process(self, n: int) -> list[Any]:
        """Return `sample(n)`."""
        return self.sample(n)

    def index_spec(self) -> jax.ShapeDtypeStruct:
        """Return the spec of one emitted index: an int32 scalar, or int64 past 2**31 records."""
        records = getattr(self.config, "num_records", None) or 0
        return jax.ShapeDtypeStruct((), np.int64 if records > 2**31 else np.int32)

    def reset(self, seed: int | None = None) -> None:
        """Go back to epoch 0, with another seed if one is given.

        A seed has no effect on a sampler without one. Raises `ConfigError` for a seed out of range.
        """
        if seed is not None:
            set_seed(self, seed)
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of `epoch`, as torch's distributed samplers do."""
        check_integer("epoch", epoch, 0)
        self._settle()
        start = int(epoch) * self.records_per_epoch if epoch else 0
        self._position.set_value(start)
        self._pass_start.set_value(start)

    def state_dict(self) -> dict[str, Any]:
        """Return `get_state()`, under the name that torchdata's loaders call."""
        return self.get_state()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a state that `state_dict` returned."""
        self.set_state(state)

    def __getitem__(self, index: int) -> Any:
        """Return `grain`'s metadata of the record at a position, as its samplers do.

        The position counts from the start of epoch 0, wherever the sampler itself stands.
        Raises `IndexError` below 0 and at the end of the first pass, `ImportError` without grain.
        """
        if not 0 <= index < operator.length_hint(self, sys.maxsize):
            raise IndexError(f"there is no position {index} in a pass of {type(self).__name__}")
        from grain import python as grain

        key = self.indices(index, index + 1)[0]
        seed = getattr(self.config, "seed", 0)
        rng = np.random.Generator(np.random.Philox(key=(seed << 64) + int(index)))
        return grain.RecordMetadata(index=index, record_key=key, rng=rng)

    def get_state(self) -> dict[str, Any]:
        return {**super().get_state(), "_position": self.position}

    def set_state(self, state: dict[str, Any]) -> None:
        self._settle()
        super().set_state(state)

    def _check_restored(self) -> None:
        position, start = self.position, int(self._pass_start.get_value())
        if not 0 <= start <= position <= start + operator.length_hint(self, sys.maxsize):
            raise StateError(
                f"position {position} in a pass that began at {start} does not exist in this "
                f"{type(self).__name__}"
            )

    def clone(self) -> Self:
        twin = super().clone()
        twin._chunk = nnx.static(None)
        twin._position.set_value(self.position)
        return twin


class OrderedSamplerModule(SamplerModule):
    """A sampler of every record once an epoch, in the `order` its config has; JAX can trace it.

    The order is a new permutation each epoch, chosen by the config's `seed`; or the stored one, if
    the config has no seed, or `shuffle = False`.

    Raises `ConfigError` if the config has no `num_records`.
    """

    def __init__(
        self, config: StructuralConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        super().__init__(config, rngs=rngs, name=name)
        _ = self.records_per_epoch  # reports a missing num_records here, not at the first index

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
