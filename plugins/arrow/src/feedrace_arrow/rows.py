"""The rows of a dataset of Hugging Face's, which `datasets` has mapped, by blocks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from feedrace_arrow.blocks import cast
from feedrace_arrow.runs import SMALL, Runs


class DatasetRows:
    """The rows of a dataset by blocks, as `Blocks`; `datasets` maps the files that they are in."""

    units = "rows"

    def __init__(
        self,
        dataset: Any,
        where: str,
        names: Sequence[str],
        types: Mapping[str, pa.DataType],
        row_bytes: float,
    ) -> None:
        self._arguments = dataset, where, names, types, row_bytes
        self._dataset, self._where, self._names, self._types, _ = self._arguments
        rows = dataset.data.num_rows
        size = max(1, int(SMALL / max(1, row_bytes)))
        starts = np.append(np.arange(0, rows, size), rows)
        count = len(starts) - 1
        number = np.arange(count)
        none = np.zeros(count, np.int64)
        self.runs = Runs(
            starts, none, number, number + 1, np.zeros(1, np.int64), int(row_bytes * rows)
        )

    def __reduce__(self) -> Any:
        return DatasetRows, self._arguments

    def path(self, file: int) -> str:
        """Return the name of the dataset."""
        return self._where

    def read(self, block: int) -> pa.Table:
        """Return the chosen columns of a block."""
        start, stop = self.runs.starts[block : block + 2].tolist()
        rows = self._dataset.data.fast_slice(start, stop - start)
        return cast(rows.select(self._names), self._types)

    def check(self, block: int) -> None:
        """Do nothing: `datasets` keeps its files mapped."""
