"""Arrow files and streams, read by record batches, which a table of the messages finds."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feedrace.plugin import DataError, File, OpenFile, Storage, StorageError, Table, Tables
from feedrace_arrow.blocks import FileBlocks, cast, damaged
from feedrace_arrow.fields import dictionaries
from feedrace_arrow.messages import BATCH, DICTIONARY, messages
from feedrace_arrow.runs import Runs
from feedrace_arrow.schemas import SCHEMA, dictionary_arrays, schema_array

VERSION = 1


def scan(opened: OpenFile) -> Table:
    """Return what is kept of a file: where its schema, dictionaries and batches lie, and rows."""
    found = messages(opened)
    schema = _schema(opened, found[0].start, found[0].size)
    batches = [one for one in found if one.kind == BATCH]
    arrays: dict[str, NDArray[Any]] = {
        "head": np.array(found[0][1:3], np.int64),
        "rows": np.array([one.rows for one in batches], np.int64),
    }
    for name, kind in (("batches", BATCH), ("dictionaries", DICTIONARY)):
        places = [one[1:3] for one in found if one.kind == kind]
        arrays[name] = np.array(places, np.int64).reshape(-1)
    try:
        arrays[SCHEMA] = schema_array(schema)
        tables = _tables(opened, arrays, dictionaries(schema))
        return Table(arrays | dictionary_arrays(schema, tables))
    except StorageError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(opened.file.path, error) from error


def _tables(
    opened: OpenFile, arrays: Mapping[str, NDArray[Any]], fields: Sequence[Any]
) -> Iterator[pa.Table]:
    """Yield the batches of a file that has fields of dictionaries, with these alone."""
    for batch in range(len(arrays["rows"]) if fields else 0):
        yield read_batches(opened, arrays, batch, batch + 1, [field.column for field in fields])


def schema_of(opened: OpenFile, table: Table) -> pa.Schema:
    """Return the schema of a file."""
    start, size = table.arrays["head"].tolist()
    return _schema(opened, start, size)


def _schema(opened: OpenFile, start: int, size: int) -> pa.Schema:
    try:
        return pa.ipc.read_schema(pa.py_buffer(opened.read(start, size)))
    except StorageError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(opened.file.path, error) from error


def _unreadable(path: str, error: Exception) -> DataError:
    return DataError(f"{path} is damaged ({damaged(error)}); write it again")


def read_batches(
    opened: OpenFile,
    arrays: Mapping[str, NDArray[Any]],
    first: int,
    stop: int,
    names: Sequence[str],
) -> pa.Table:
    """Return the batches [first, stop) of a file, with these columns.

    They are read, not mapped: a file that another process cuts would end this one. What comes of
    damaged bytes is validated whole. Raises `pa.ArrowException` or `OSError` for those.
    """
    batches = arrays["batches"].reshape(-1, 2)
    begin, end = int(batches[first, 0]), int(batches[stop - 1].sum())
    parts = [arrays["head"].reshape(1, 2), arrays["dictionaries"].reshape(-1, 2)]
    before = [place for places in parts for place in places.tolist() if place[0] < begin]
    content = [opened.read(start, size) for start, size in before]
    content.append(opened.read(begin, end - begin))
    stream = pa.py_buffer(b"".join(content) if len(content) > 1 else content[0])
    with pa.ipc.open_stream(stream) as reader:
        wanted = [reader.schema.get_field_index(name) for name in dict.fromkeys(names)]
    options = pa.ipc.IpcReadOptions(included_fields=wanted, use_threads=False)
    with pa.ipc.open_stream(stream, options=options) as reader:
        table = reader.read_all()
    table.validate(full=True)
    return table


class Batches(FileBlocks):
    """The record batches of some files, as `Blocks`."""

    units = "record batches"

    def __init__(
        self,
        storage: Storage,
        files: Sequence[File],
        tables: Tables,
        runs: Runs,
        names: Sequence[str],
        types: Mapping[str, pa.DataType],
    ) -> None:
        super().__init__(storage, files, runs, types)
        self._tables, self._names = tables, names

    def __reduce__(self) -> Any:
        return Batches, (
            self._storage,
            self._files,
            self._tables,
            self._runs,
            self._names,
            self._types,
        )

    def read(self, block: int) -> pa.Table:
        """Return the chosen columns of a block."""
        number, first, stop = self._runs.parts(block)
        opened = self._storage.open(self._files[number])
        arrays = self._tables[number].arrays
        table = read_batches(opened, arrays, first, stop, self._names)
        return cast(table, self._types)
