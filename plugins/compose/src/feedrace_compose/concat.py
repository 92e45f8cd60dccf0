"""The source of the records of several others, one source after another."""

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from feedrace.plugin import ConfigError, IdentityDict, Problem, column, leaves, map_leaves
from feedrace_compose.config import ConcatConfig
from feedrace_compose.parts import ComposedSource, fields_of, sources_of
from feedrace_compose.readers import JoinedReader, filling, plain_specs

_MOST = 2**63 - 1


class ConcatSource(ComposedSource):
    """The records of several sources, one source after another.

    The sampler `mixture` takes weights by the names of the sources. Raises `ConfigError` with all
    the fields in which the sources differ, unless `missing = "fill"` makes up for those that are
    not there.
    """

    def __init__(
        self, config: ConcatConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        sources = sources_of(config)
        super().__init__(config, sources, rngs=rngs, name=name)
        specs = {name: fields_of(name, source) for name, source in sources.items()}
        joined = _joined(specs, fill=config.missing == "fill")
        self._spec: IdentityDict = nnx.static(IdentityDict(joined))
        lacking = [{k: v for k, v in joined.items() if k not in spec} for spec in specs.values()]
        self._lacking: tuple[dict[str, Any], ...] = nnx.static(
            tuple(IdentityDict(plain_specs(fields)) for fields in lacking)
        )
        starts = list(itertools.accumulate(map(len, sources.values()), initial=0))
        if starts[-1] > _MOST:
            message = f"have {starts[-1]} records together, more than {_MOST}"
            raise ConfigError([Problem("sources", message)])
        self._starts: tuple[int, ...] = nnx.static(tuple(starts))
        self.length = starts[-1]

    @property
    def parts(self) -> Mapping[str, tuple[int, int]]:
        """The name of each source, in order, to (its first record, its number of records)."""
        lengths = np.diff(np.array(self._starts, np.int64)).tolist()
        return dict(zip(self.sources, zip(self._starts, lengths, strict=False), strict=True))

    def part(self, name: str) -> Any:
        """Return the source of this name."""
        return self.sources[name]

    def made(self, sources: Sequence[Any]) -> JoinedReader:
        return JoinedReader(sources, np.array(self._starts, np.int64), self._lacking)

    def element_spec(self) -> Any:
        return dict(self._spec)

    def column(self, field: str) -> NDArray[Any]:
        """Return one field of all records."""
        columns = [
            filling(lacking[field], len(source))
            if field in lacking
            else np.asarray(column(source, field))
            for source, lacking in zip(self._sources, self._lacking, strict=True)
        ]
        return np.concatenate(columns)


def _joined(specs: Mapping[str, dict[str, Any]], *, fill: bool) -> dict[str, Any]:
    """Return the spec of records of any of the parts; raise `ConfigError` with all differences."""
    problems = []
    joined: dict[str, Any] = {}
    for field in dict.fromkeys(field for spec in specs.values() for field in spec):
        having = {name: spec[field] for name, spec in specs.items() if field in spec}
        without = [name for name in specs if name not in having]
        if without and not fill:
            message = f"is in {', '.join(having)}, and not in {', '.join(without)}"
            message += '; leave it out, or fill it (missing = "fill")'
            problems.append(Problem("sources", f"field {field!r} {message}"))
        shown = {name: _shown(leaf) for name, leaf in having.items()}
        try:
            either = functools.partial(map_leaves, _either)
            joined[field] = functools.reduce(either, having.values())
            agree = len({tuple(names) for names, _ in shown.values()}) == 1
        except (ValueError, LookupError, TypeError, AttributeError):  # not even nested alike
            agree = False
        if not agree:
            found = "; ".join(f"in {name} it is {text}" for name, (_, text) in shown.items())
            problems.append(Problem("sources", f"field {field!r} differs: {found}"))
    if problems:
        raise ConfigError(problems)
    return joined


def _either(one: Any, other: Any) -> Any:
    """Return the spec of a leaf of one part or another; raise `ValueError` if they do not agree.

    Records whose shape varies come one array each, so that both have to vary, or neither.
    """
    vary = (None in one.shape, None in other.shape)
    fits = one.dtype == other.dtype and len(one.shape) == len(other.shape) and len(set(vary)) == 1
    if not fits or (one.shape != other.shape and not all(vary)):
        raise ValueError
    pairs = zip(one.shape, other.shape, strict=True)
    shape: Any = tuple(a if a == b else None for a, b in pairs)
    return jax.ShapeDtypeStruct(shape, one.dtype)


def _shown(spec: Any) -> tuple[list[str], str]:
    """Return the names of the leaves of a field, and the field in words."""
    found = {name: f"{leaf.dtype}{list(leaf.shape)}" for name, leaf in leaves(spec)}
    text = ", ".join(f"{name}: {leaf}" if name else leaf for name, leaf in found.items())
    return sorted(found), text
