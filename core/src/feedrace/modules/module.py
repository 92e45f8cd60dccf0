"""Base classes on `flax.nnx.Module`: an author writes one method, the rest of each API is here."""

import warnings
from typing import Any, Self

from flax import nnx

from feedrace.config.fields import StructuralConfig
from feedrace.config.mapping import shown_fields
from feedrace.modules import state as states
from feedrace.modules.cache import IdentityDict, cached
from feedrace.modules.statistics import Statistics
from feedrace.registry.reprs import Configured


class Module(Configured, Statistics, nnx.Module):
    """A configured part of a pipeline, whose `nnx.Variable`s are its state.

    Raises `ValueError` if the config is stochastic and `rngs` is None or lacks its stream.
    """

    _in_state: tuple[str, ...] = ()  # fields of the config that may change in use

    def __init__(
        self, config: StructuralConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        self.config: Any = nnx.static(config)
        self.rngs: nnx.Rngs | None = nnx.data(rngs)
        self.name: str | None = nnx.static(name)
        self.stochastic = config.stochastic
        self.stream_name = config.stream_name
        if self.stochastic:
            if rngs is None:
                raise ValueError(f"{type(self).__name__} is stochastic and needs rngs; got None")
            self.ensure_rng_streams(list(rngs))
        self._applied_count = nnx.Variable(0)
        self._skipped_count = nnx.Variable(0)
        self._statistics = nnx.data(config.precomputed_stats)
        self._computed_stats = nnx.data(None)
        self._cache = nnx.static(IdentityDict())

    def __repr__(self) -> str:
        # Its state is not in it: grain refuses a state if the repr of a sampler has changed.
        shown = shown_fields(self.config)
        shown += [] if self.name is None else [f"name={self.name!r}"]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __str__(self) -> str:
        return repr(self)  # flax shows all attributes

    def requires_rng_streams(self) -> list[str] | None:
        """Return the names of the RNG streams it draws from, or None."""
        return None if self.stream_name is None else [self.stream_name]

    def ensure_rng_streams(self, stream_names: list[str]) -> None:
        """Raise `ValueError` if a stream it needs is not among `stream_names`.

        A stream called "default" serves for any, as it does in `nnx.Rngs`.
        """
        missing = [s for s in self.requires_rng_streams() or [] if s not in stream_names]
        if missing and "default" not in stream_names:
            raise ValueError(
                f"{type(self).__name__} needs the RNG streams {missing}; there are {stream_names}"
            )

    def reset_cache(self) -> None:
        """Forget the results kept for a config with `cacheable`."""
        self._cache.clear()

    def get_state(self) -> dict[str, Any]:
        """Return all `nnx.Variable`s, by path, as ints, floats, bools, strings and lists.

        "config" holds what must be equal for the state to fit; "statistics" those that were set or
        computed.
        """
        return states.plain_state(self)

    def set_state(self, state: dict[str, Any]) -> None:
        """Go back to a state that `get_state` returned.

        Raises `TypeError` for anything but a dict, `StateError` (a `ValueError`) for missing,
        unknown or differently shaped entries, and for the state of a differently configured module;
        nothing is changed then.
        """
        states.restore(self, state)

    def _decisive(self) -> dict[str, Any]:
        """Return, beside the config, what must be equal for a state to fit."""
        return {}

    def _check_restored(self) -> None:
        """Raise `StateError` if the variables, just restored, make no state; they go back then."""

    def clone(self) -> Self:
        """Return an independent module with the same config and state."""
        twin: Self = nnx.clone(self)
        twin._cache = nnx.static(IdentityDict(self._cache))
        return twin

    def copy(
        self,
        *,
        config: StructuralConfig | None = None,
        rngs: nnx.Rngs | None = None,
        name: str | None = None,
    ) -> Self:
        """Return an independent module with another config, other rngs or another name.

        With the same config everything else is copied too, as by `clone`. With another config the
        new module starts afresh, but keeps the name, the rngs and statistics that were set.
        """
        if config is None:
            twin = self.clone()
            if rngs is not None:
                twin.rngs = nnx.clone(rngs)
        else:
            kept = self.rngs if rngs is None else rngs
            twin = type(self)(
                config, rngs=None if kept is None else nnx.clone(kept), name=self.name
            )
            twin.take_over(self)
        if name is not None:
            twin.name = nnx.static(name)
        return twin

    def take_over(self, other: Self) -> None:
        """Take what a copy with another config keeps of `other`: statistics that were set."""
        if self.config.precomputed_stats is None and other._statistics is not None:
            self._statistics = nnx.data(dict(other._statistics))


class StructuralModule(Module):
    """A module that changes how data is organised, not its values; subclasses define `process`."""

    _repeatable = True  # whether the result of a call depends on its arguments alone

    def __init__(
        self, config: StructuralConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        super().__init__(config, rngs=rngs, name=name)
        if config.cacheable and not self._repeatable:
            message = f"cacheable has no effect on a {type(self).__name__}: no result of it is kept"
            warnings.warn(message, stacklevel=2)

    def process(self, *args: Any, **kwargs: Any) -> Any:
        """Return the reorganised input; input and output types are the subclass's."""
        raise NotImplementedError(f"{type(self).__name__} must define process")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return `process(*args, **kwargs)`, counted, and from the cache if the config says so.

        Calls of samplers and batchers are never cached: a sampler's depend on its position, and a
        batcher's return iterators.
        """
        if self.config.cacheable and self._repeatable:
            result = cached(self._cache, self.process, args, kwargs)
        else:
            result = self.process(*args, **kwargs)
        self._applied_count.set_value(self._applied_count.get_value() + 1)
        return result
