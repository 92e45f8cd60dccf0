"""The source of those records of another that a hash puts in one part."""

import hashlib
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from flax import nnx
from numpy.typing import NDArray

from feedrace.plugin import (
    ConfigError,
    DataError,
    Problem,
    clipped,
    did_you_mean,
    leaves,
    progress,
    protocols,
)
from feedrace_compose.config import SplitConfig
from feedrace_compose.parts import fields_of, source_of
from feedrace_compose.selected import SelectedSource
from feedrace_compose.table import RecordNumbers

_BLOCK = 1 << 18  # records whose part is computed at a time
_READ = 1024  # of records that have to be read for it
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


class SplitSource(SelectedSource):
    """The records of a source in one part, in their order; which part depends on each alone.

    Their numbers are found when the source is made, in O(records of the source) time, and kept in
    1.06 bits for each record of the source. With `by`, that field of all records is read. Raises
    `ConfigError` for a part without records, and for a field that is neither a whole number nor
    text.
    """

    def __init__(
        self, config: SplitConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        source = source_of(config)["source"]
        low, high = _bounds(config)
        inside = (
            (first, (points >= low) & (points < high)) for first, points in _points(config, source)
        )
        select = RecordNumbers.of(inside, len(source))
        if not select.length:
            message = f"{clipped(config.part)} gets none of the {len(source)} records"
            raise ConfigError([Problem("part", f"{message}; give it a larger share")])
        super().__init__(config, source, select, rngs=rngs, name=name)


def _bounds(config: SplitConfig) -> tuple[float, float]:
    """Return where in [0, 1) the part lies."""
    names = sorted(config.shares)
    ends = list(itertools.accumulate(config.shares[name] for name in names))
    ends = [1.0 if abs(end - 1) < 1e-9 else end for end in ends]
    place = names.index(config.part)
    return (ends[place - 1] if place else 0.0), ends[place]


def _points(config: SplitConfig, source: Any) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield the first record of each block, and the point in [0, 1) of each of its records."""
    seed = np.array([config.seed], np.uint64)
    if config.by is None:
        for start in range(0, len(source), _BLOCK):
            numbers = np.arange(start, min(start + _BLOCK, len(source)))
            yield start, _spread(numbers, seed)
        return
    fields = fields_of("the source", source)
    if config.by not in fields:
        hint = did_you_mean(config.by, list(fields)) or f"; they have {', '.join(fields)}"
        message = f"the records have no field {clipped(config.by)}{hint}"
        raise ConfigError([Problem("by", message)])
    leaf = fields[config.by]
    if getattr(leaf, "shape", None) != () or np.dtype(leaf.dtype).kind not in "biuOSU":
        shown = ", ".join(f"{part.dtype}{list(part.shape)}" for _, part in leaves(leaf))
        message = f"field {config.by!r} is {shown}, neither a whole number nor text"
        raise ConfigError([Problem("by", f"{message}; floats compare equal by chance")])
    for start, keys in _keys(source, config.by):
        yield start, _spread(_hashed(keys, start), seed)


def _keys(source: Any, field: str) -> Iterator[tuple[int, NDArray[Any]]]:
    if protocols.provides(source, protocols.Columnar):
        yield 0, np.asarray(source.column(field))
        return
    with progress(f"split by {clipped(field)}", len(source), "records") as advance:
        for start in range(0, len(source), _READ):
            numbers = np.arange(start, min(start + _READ, len(source)))
            yield start, np.asarray(source.fetch(numbers)[field])
            advance(len(numbers))


def _hashed(keys: NDArray[Any], first: int) -> NDArray[np.int64]:
    """Return whole numbers as they are, and for each text 64 bits of its BLAKE2 digest."""
    if keys.dtype.kind in "biu":
        return keys.astype(np.int64)
    hashed = np.empty(len(keys), np.int64)
    for i, key in enumerate(keys.tolist()):
        data = key.encode() if isinstance(key, str) else b"" if key is None else key
        if not isinstance(data, bytes):
            message = f"{clipped(key)} of record {first + i} is neither a whole number nor text"
            raise DataError(f"the key {message}")
        digest = hashlib.blake2b(data, digest_size=8).digest()
        hashed[i] = int.from_bytes(digest, "little", signed=True)
    return hashed


def _spread(numbers: NDArray[np.int64], seed: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return a point in [0, 1) for each number: 53 bits of SplitMix64 (Steele et al., 2014)."""
    mixed = _mix(_mix(seed + _GOLDEN) + numbers.astype(np.uint64) * _GOLDEN)
    return np.asarray((mixed >> np.uint64(11)) * 2.0**-53)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * _MIX[0]
    x = (x ^ (x >> np.uint64(27))) * _MIX[1]
    return x ^ (x >> np.uint64(31))
