"""Parquet files, read by row groups; which there are is taken from the files' footers, and kept."""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from feedrace.plugin import DataError, File, OpenFile, Storage, Table, TableCache
from feedrace_arrow.blocks import damaged
from feedrace_arrow.fields import ArrowField, Choices, plan
from feedrace_arrow.hints import hints_of
from feedrace_arrow.runs import Runs, runs_of
from feedrace_arrow.schemas import (
    CATEGORIES,
    SCHEMA,
    all_categories,
    check_schemas,
    dictionary_arrays,
    schema_array,
)

_VERSION = 1
_FOOTERS = 64  # that stay in memory


def scan(opened: OpenFile) -> Table:
    """Return what is kept of a file: the rows of its row groups, and bytes by column."""
    file = _opened(opened)
    metadata, schema = file.metadata, file.schema_arrow
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    sizes = dict.fromkeys(schema.names, 0)
    for group in groups:
        for i in range(group.num_columns):
            chunk = group.column(i)
            name = chunk.path_in_schema.partition(".")[0]
            sizes[name] = sizes.get(name, 0) + max(0, chunk.total_uncompressed_size)
    arrays = {
        "rows": np.array([group.num_rows for group in groups], np.int64),
        "bytes": np.array([sizes[name] for name in schema.names], np.int64),
        SCHEMA: schema_array(schema),
    }
    try:
        tables = (file.read_row_groups([i], _dictionaries(schema)) for i in range(len(groups)))
        return Table(arrays | dictionary_arrays(schema, tables))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(opened.file.path, error) from error


def _dictionaries(schema: pa.Schema) -> list[str]:
    from feedrace_arrow.fields import dictionaries

    return [field.path for field in dictionaries(schema)]


def _opened(opened: OpenFile, metadata: Any = None) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(opened.binary(), metadata=metadata, pre_buffer=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(opened.file.path, error) from error


def _unreadable(path: str, error: Exception) -> DataError:
    return DataError(
        f"{path} is no Parquet file, or is damaged or cut short ({damaged(error)}); write it again"
    )


class RowGroups:
    """The row groups of some files, as `Blocks`."""

    unit = "row group"

    def __init__(
        self,
        storage: Storage,
        files: Sequence[File],
        runs: Runs,
        paths: Sequence[str],
        types: Mapping[str, pa.DataType],
    ) -> None:
        self._storage, self._files, self._runs = storage, tuple(files), runs
        self._paths, self._types = list(paths), dict(types)
        self._footers: OrderedDict[int, Any] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> Any:
        return RowGroups, (self._storage, self._files, self._runs, self._paths, self._types)

    @property
    def starts(self) -> NDArray[np.int64]:
        """The number of the first record of each block, and of all records."""
        return self._runs.starts

    @property
    def nbytes(self) -> int:
        """About how many bytes all of them have in memory."""
        return self._runs.nbytes

    def locate(self, number: int) -> tuple[str, int]:
        """Return a record's file, and its number in there."""
        file, row = self._runs.locate(number)
        return self._files[file].path, row

    def read(self, block: int) -> pa.Table:
        """Return the chosen columns of a block."""
        number, first, stop = self._runs.parts(block)
        opened = self._storage.open(self._files[number])
        with self._lock:
            footer = self._footers.get(number)
        file = _opened(opened, footer)
        with self._lock:
            self._footers[number] = file.metadata
            if len(self._footers) > _FOOTERS:
                self._footers.popitem(last=False)
        table = file.read_row_groups(list(range(first, stop)), self._paths)
        rows = int(self.starts[block + 1] - self.starts[block])
        if len(table) != rows:
            raise DataError(f"{len(table)} records are where the footer promises {rows}")
        return cast(table, self._types)


def cast(table: pa.Table, types: Mapping[str, pa.DataType]) -> pa.Table:
    """Return a table with some columns cast; raise `pa.ArrowInvalid` for a value that does not fit.

    """
    for name, kind in types.items():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, table.column(place).cast(kind))
    return table
