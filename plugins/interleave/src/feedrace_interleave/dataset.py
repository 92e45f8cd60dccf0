"""Several map-style datasets behind one numbering, and the collator that keeps them apart."""

import bisect
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from feedrace.plugin import DataError


class InterleavedDataset:
    """The given datasets one after another; an item is (number of its dataset, sample)."""

    def __init__(self, datasets: Sequence[Any]) -> None:
        self.datasets = list(datasets)
        self._ends = list(itertools.accumulate(len(dataset) for dataset in self.datasets))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> tuple[int, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"item {index} does not exist; they go from 0 to {len(self) - 1}")
        number = bisect.bisect_right(self._ends, index)
        begin = self._ends[number - 1] if number else 0
        return number, self.datasets[number][index - begin]


class InterleavedCollator:
    """Collates the samples of a batch with their dataset's own collator, or torch's default.

    Raises `DataError` for a batch that mixes datasets.
    """

    def __init__(self, collators: Sequence[Callable[[list[Any]], Any] | None]) -> None:
        self.collators = list(collators)

    def __call__(self, items: Sequence[tuple[int, Any]]) -> Any:
        numbers = {number for number, _ in items}
        if len(numbers) != 1:
            raise DataError(
                f"a batch mixes samples of the datasets {sorted(numbers)}; keep them apart"
            )
        samples = [sample for _, sample in items]
        collate = self.collators[numbers.pop()]
        if collate is not None:
            return collate(samples)
        from torch.utils.data import default_collate

        return default_collate(samples)
