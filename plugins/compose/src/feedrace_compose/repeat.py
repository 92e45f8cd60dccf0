"""The source of another's records several times over."""

import attrs
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from feedrace.plugin import ConfigError, Problem
from feedrace_compose.config import RepeatConfig
from feedrace_compose.parts import source_of
from feedrace_compose.selected import SelectedSource

_MOST = 2**63 - 1


@attrs.frozen
class Rounds:
    """Records 0 to below `records`, again and again up to `length`."""

    records: int
    length: int

    def __call__(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        selected: NDArray[np.int64] = numbers % self.records
        return selected


class RepeatSource(SelectedSource):
    """All records of a source `times` times; one that comes again has another number."""

    def __init__(
        self, config: RepeatConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        source = source_of(config)["source"]
        if config.times * len(source) > _MOST:
            message = f"{config.times} times {len(source)} records are more than {_MOST}"
            raise ConfigError([Problem("times", message)])
        select = Rounds(len(source), config.times * len(source))
        super().__init__(config, source, select, rngs=rngs, name=name)
