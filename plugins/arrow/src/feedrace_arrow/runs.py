"""Blocks of records in files: small neighbours together, and where each record lies."""

from collections.abc import Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

SMALL = 8 << 20  # bytes: smaller neighbours in a file are decoded together


@attrs.frozen(eq=False)
class Runs:
    """Blocks, each a run of parts of one file: of its row groups, or of its batches.

    starts: int64 (blocks + 1), the number of the first record of each. files: int64 (blocks,).
    first, stop: int64 (blocks,), the parts. file_starts: int64 (files,), of each file's records.
    nbytes: about how many bytes all records have in memory.
    """

    starts: NDArray[np.int64]
    files: NDArray[np.int64]
    first: NDArray[np.int64]
    stop: NDArray[np.int64]
    file_starts: NDArray[np.int64]
    nbytes: int

    def parts(self, block: int) -> tuple[int, int, int]:
        """Return the file of a block, and its parts [first, stop)."""
        return int(self.files[block]), int(self.first[block]), int(self.stop[block])

    def locate(self, number: int) -> tuple[int, int]:
        """Return the file of a record, and its number there."""
        file = int(np.searchsorted(self.file_starts, number, "right")) - 1
        return file, number - int(self.file_starts[file])


def runs_of(rows: Sequence[NDArray[np.int64]], row_bytes: float) -> Runs:
    """Return the blocks of files whose parts have so many rows; parts without rows are left out.

    row_bytes: about how many bytes a record has in memory.
    """
    target = max(1, int(SMALL / max(row_bytes, 1)))  # records
    counts = np.array([int(parts.sum()) for parts in rows], np.int64)
    file_starts = np.concatenate([[0], np.cumsum(counts)])
    runs: list[tuple[int, int, int, int]] = []
    for file, parts in enumerate(rows):
        at, begun, held = int(file_starts[file]), 0, 0
        for part, size in enumerate(parts.tolist()):
            if held and held + size > target:
                runs.append((at, file, begun, part))
                at, begun, held = at + held, part, 0
            held += size
        if held:
            runs.append((at, file, begun, len(parts)))
    table = np.array(runs, np.int64).reshape(-1, 4)
    total = int(file_starts[-1])
    starts = np.append(table[:, 0], total)
    # A file without records begins where the next one does; the last of them has the record.
    return Runs(
        starts, table[:, 1], table[:, 2], table[:, 3], file_starts[:-1], int(row_bytes * total)
    )
