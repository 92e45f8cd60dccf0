"""What the composed sources share: their parts, and what they pass on to them and from them."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from feedrace.plugin import (
    MAX_SEED,
    ConfigError,
    DataError,
    Problem,
    SourceModule,
    StructuralConfig,
    check_integer,
    clipped,
    protocols,
    registry,
)

_BLOCK = 1024  # records of a column read at a time


@attrs.frozen(eq=False)
class _Held:
    """The parts, of whose state the composed source is independent; its clones share them."""

    parts: dict[str, Any]


class ComposedSource(SourceModule):
    """A source over other sources; subclasses give `length`, `element_spec` and `made`.

    sources: the parts by name, in order.

    The records are read on the host, from the parts' readers if all have one.
    """

    _in_state = ()

    def __init__(
        self,
        config: StructuralConfig,
        sources: Mapping[str, Any],
        *,
        rngs: nnx.Rngs | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(config, rngs=rngs, name=name)
        self._held = nnx.static(_Held(dict(sources)))

    def made(self, sources: Sequence[Any]) -> Any:
        """Return what reads records from the parts, or from their readers."""
        raise NotImplementedError(f"{type(self).__name__} must define made")

    @property
    def sources(self) -> dict[str, Any]:
        """The parts by name, in order."""
        return dict(self._held.parts)

    @property
    def _sources(self) -> tuple[Any, ...]:
        return tuple(self._held.parts.values())

    def fetch(self, indices: NDArray[np.int64]) -> dict[str, Any]:
        return self.made(self._sources).fetch(indices)  # type: ignore[no-any-return]

    def invalid_rows(self, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of the records fetched last are blank, because a part skipped them."""
        return self.made(self._sources).invalid_rows(indices)  # type: ignore[no-any-return]

    def reader(self) -> Any:
        """Return what reads from the parts' readers; None if one of them has none."""
        readers = [
            part.reader() if protocols.provides(part, protocols.Readable) else None
            for part in self._sources
        ]
        for part, reader in zip(self._sources, readers, strict=True):
            skips = protocols.provides(part, protocols.Skipping)
            if reader is None or (skips and not protocols.provides(reader, protocols.Skipping)):
                return None
        return self.made(readers)

    def note(self, noted: Sequence[Any]) -> None:
        """Hand on to the parts what their readers noted; raise `DataError` if one refuses it."""
        for i, items in noted:
            if protocols.provides(self._sources[i], protocols.Noted):
                self._sources[i].note(items)

    def identity(self) -> str:
        """Return the parts' names, lengths and identities, for the state's fingerprint."""
        known = [
            f"{name}={len(part)}"
            + (f":{part.identity()}" if protocols.provides(part, protocols.Identified) else "")
            for name, part in self.sources.items()
        ]
        return ",".join(known)

    def precompute(self) -> None:
        """Have the parts make what they keep, if they keep anything."""
        for part in self._sources:
            if protocols.provides(part, protocols.Precomputing):
                part.precompute()

    @property
    def decode_seconds(self) -> float:
        """Seconds that the parts have spent on decoding."""
        timed = [part for part in self._sources if protocols.provides(part, protocols.Timed)]
        return float(sum(part.decode_seconds for part in timed))

    def details(self) -> list[str]:
        """Return a sentence on each part, and what it says of itself."""
        lines = []
        for name, part in self.sources.items():
            lines.append(f"{name}: {len(part)} records of {type(part).__name__}")
            if protocols.provides(part, protocols.Detailed):
                lines += [f"{name}: {line}" for line in part.details()]
        return lines

    def reset(self, seed: int | None = None) -> None:
        """Go back to the first record of epoch 0; a seed has no effect."""
        if seed is not None:
            check_integer("seed", seed, 0, MAX_SEED)
        super().reset()

    def _read_column(self, field: str) -> NDArray[Any]:
        """Return one field of all records, read in blocks."""
        starts = range(0, self.length, _BLOCK)
        blocks = [np.arange(start, min(start + _BLOCK, self.length)) for start in starts]
        return np.concatenate([np.asarray(self.fetch(block)[field]) for block in blocks])


def source_of(config: Any, field: str = "source") -> dict[str, Any]:
    """Return the source of a config as the only part.

    Raises `ConfigError` for one that shuffles, or has no records.
    """
    parts = _checked({field: _made(getattr(config, field), field)}, "")
    if not len(parts[field]):
        shown = type(parts[field]).__name__
        raise ConfigError([Problem(field, f"{shown} has no records; look at what it reads")])
    return parts


def sources_of(config: Any) -> dict[str, Any]:
    """Return the parts of a config by name.

    Raises `ConfigError` if there are none, if two have one name, and for those that shuffle.
    """
    given = config.sources
    if not isinstance(given, dict | tuple) or not given:
        message = f"{clipped(given)} is not a table of sources by name, or a list of them"
        raise ConfigError([Problem("sources", message)])
    if isinstance(given, dict):
        named = {name: _made(part, f"sources.{name}") for name, part in given.items()}
        return _checked(named, "sources.")
    parts: dict[str, Any] = {}
    problems = []
    for i, part in enumerate(_made(part, f"sources[{i}]") for i, part in enumerate(given)):
        own = getattr(part, "name", None)  # that of a module
        name = own if isinstance(own, str) and own else str(i)
        if name in parts:
            message = f"is called {clipped(name)}, as one before it; give them names in a table"
            problems.append(Problem(f"sources[{i}]", message))
        parts[name] = part
    if problems:
        raise ConfigError(problems)
    return _checked(parts, "sources.")


def stages_of(config: Any) -> list[Any]:
    """Return the stages of a config.

    Raises `ConfigError` for those that are not on records, or that draw random numbers.
    """
    stages, problems = [], []
    for i, part in enumerate(config.stages):
        path = f"stages[{i}]"
        stage = registry.instantiate(registry.parse("stage", part, path))
        wrong = ""
        if (place := protocols.place_of(stage)) != "record":
            wrong = f"runs on the {place}, on batches"
        elif protocols.is_stochastic(stage):
            wrong = "draws random numbers, other ones in each epoch"
        if wrong:
            problems.append(Problem(path, f"{wrong}; put it in the stages of the pipeline"))
        stages.append(stage)
    if problems:
        raise ConfigError(problems)
    return stages


def _made(part: Any, path: str) -> Any:
    """Return a part that a config made in Python may give as a mapping."""
    return registry.instantiate(registry.parse("source", part, path))


def _checked(parts: dict[str, Any], prefix: str) -> dict[str, Any]:
    problems = []
    for name, part in parts.items():
        if fault := protocols.check("source", part):
            problems.append(
                Problem(f"{prefix}{name}", f"{clipped(part)} is not a source: it {fault}")
            )
        elif getattr(getattr(part, "config", None), "shuffle", False) is True:
            message = "has no effect on a source within another; a sampler orders the records"
            problems.append(Problem(f"{prefix}{name}.shuffle", message))
    if problems:
        raise ConfigError(problems)
    return parts


def fields_of(name: str, source: Any) -> dict[str, Any]:
    """Return the spec of a part's records; raise `DataError` unless it is a dict."""
    spec = source.element_spec()
    if not isinstance(spec, dict):
        raise DataError(f"the records of {name} are {clipped(spec)}, not dicts of fields")
    return spec
