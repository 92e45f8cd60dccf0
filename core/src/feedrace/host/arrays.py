"""Records that are numpy arrays in memory."""

from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from feedrace.host.records import check_numbers, count_records, map_leaves


@attrs.frozen(eq=False)
class ArrayReader:
    """Gives records of a dict of arrays by number; worker processes share the arrays' memory."""

    data: dict[str, Any]

    def fetch(self, indices: NDArray[np.int64]) -> dict[str, Any]:
        """Return copies of these records; raise `DataError` for a number out of range."""
        check_numbers(indices, count_records(self.data))
        records: dict[str, Any] = map_leaves(lambda leaf: leaf[indices], self.data)
        return records
