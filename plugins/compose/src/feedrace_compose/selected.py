"""Sources of selected records of one other source."""

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from feedrace.plugin import StructuralConfig, protocols
from feedrace_compose.parts import ComposedSource
from feedrace_compose.readers import SelectedReader, Selection


@attrs.frozen
class Steps:
    """Records start, start + step, ...: as many as `length`."""

    start: int
    step: int
    length: int

    def __call__(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        selected: NDArray[np.int64] = self.start + numbers * self.step
        return selected


class SelectedSource(ComposedSource):
    """Some records of a source, by a selection of their numbers."""

    def __init__(
        self,
        config: StructuralConfig,
        source: Any,
        select: Selection,
        *,
        rngs: nnx.Rngs | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(config, {"source": source}, rngs=rngs, name=name)
        self._select: Selection = nnx.static(select)
        self.length = select.length

    def made(self, sources: Sequence[Any]) -> SelectedReader:
        return SelectedReader(sources, self._select)

    def element_spec(self) -> Any:
        return self._sources[0].element_spec()

    def column(self, field: str) -> NDArray[Any]:
        """Return one field of all records."""
        source = self._sources[0]
        if not protocols.provides(source, protocols.Columnar):
            return self._read_column(field)
        whole = np.asarray(source.column(field))
        return whole[self._select(np.arange(self.length))]
