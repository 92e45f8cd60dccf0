"""Records as columns of Parquet and back, as `encoding` says; needs pyarrow."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from feedrace.plugin import NotInstalledError, pip_line
from feedrace_files.encoding import METADATA_KEY, VERSION, Field, Values, size_of

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ModuleNotFoundError as error:
    raise NotInstalledError(
        "Parquet needs pyarrow, which is not installed", fix=pip_line("install", "pyarrow")
    ) from error

_GROUP_BYTES = 4 << 20  # in a row group: a record read alone costs decoding its group
_GROUP_ROWS = 1 << 16


class ParquetWriter:
    """Writes records into one file, a row group at a time."""

    def __init__(self, path: str, fields: Sequence[Field]) -> None:
        self._columns = [_Column(field) for field in fields]
        self._rows: list[Values] = []
        self._bytes = 0
        self._writer = pq.ParquetWriter(path, _schema(fields), compression="zstd")

    def add(self, values: Values, size: int) -> None:
        """Add a record of about `size` bytes."""
        self._rows.append(values)
        self._bytes += size
        if self._bytes >= _GROUP_BYTES or len(self._rows) >= _GROUP_ROWS:
            self._flush()

    def close(self) -> None:
        """Write what is left, and the end of the file."""
        try:
            self._flush()
        finally:
            self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            arrays = [column.arrow([row[column.name] for row in self._rows])
                      for column in self._columns]  # fmt: skip
            tree = nested([(c.field.path, a) for c, a in zip(self._columns, arrays, strict=True)])
            schema = self._writer.schema
            self._writer.write_table(
                pa.Table.from_arrays([_joined(tree[name]) for name in schema.names], schema=schema)
            )
        self._rows, self._bytes = [], 0


def read_parquet(path: str, fields: Sequence[Field]) -> Iterator[Values]:
    """Yield the records of a file that `ParquetWriter` wrote, by dotted name."""
    columns = [_Column(field) for field in fields]
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            found = {}
            for column in columns:
                array = table.column(column.field.path[0]).combine_chunks()
                for key in column.field.path[1:]:
                    array = array.field(key)
                found[column.name] = column.values(array)
            for row in range(table.num_rows):
                yield {name: values[row] for name, values in found.items()}


class _Column:
    """One field as a column.

    per: plain values in a record of axes of fixed length; complex numbers are two each.
    """

    def __init__(self, field: Field) -> None:
        self.field, self.name = field, field.name
        self._parts = 1
        if field.is_text:
            self._plain: Any = object
            self._type = pa.string() if field.dtype == "str" else pa.binary()
        else:
            self._plain, self._parts = plain_dtype(field.numpy)
            self._type = pa.from_numpy_dtype(self._plain)
        self._size = size_of(field.shape) * self._parts
        varying = len(field.varying)
        self._way = "shaped"
        if not field.shape and self._parts == 1:
            self._way = "scalar"
        elif self._size and varying == 0:
            self._way = "fixed"
        elif self._size and varying == 1:
            self._way = "list"

    @property
    def type(self) -> Any:
        """The type in Arrow."""
        if self._way == "scalar":
            return self._type
        if self._way == "fixed":
            return pa.list_(self._type, self._size)
        if self._way == "list":
            return pa.list_(self._type)
        shape = pa.list_(pa.int64(), len(self.field.shape))
        return pa.struct({"shape": shape, "values": pa.list_(self._type)})

    def arrow(self, values: Sequence[Any]) -> Any:
        """Return the values of records as an array of Arrow."""
        if self._way == "scalar" and self.field.is_text:
            return pa.array([self.field.array(value).item() for value in values], self._type)
        arrays = [self.field.array(value) for value in values]
        flat = self._flat(arrays)
        if self._way == "scalar":
            return flat
        if self._way == "fixed":
            return pa.FixedSizeListArray.from_arrays(flat, self._size)
        offsets = np.zeros(len(arrays) + 1, np.int32)
        np.cumsum([array.size * self._parts for array in arrays], out=offsets[1:])
        lists = pa.ListArray.from_arrays(pa.array(offsets), flat)
        if self._way == "list":
            return lists
        rank = len(self.field.shape)
        shapes = np.array([array.shape for array in arrays], np.int64).reshape(-1)
        shape = pa.FixedSizeListArray.from_arrays(pa.array(shapes), rank)
        return pa.StructArray.from_arrays([shape, lists], names=["shape", "values"])

    def _flat(self, arrays: Sequence[NDArray[Any]]) -> Any:
        if self.field.is_text:
            return pa.array([one for array in arrays for one in array.flat], self._type)
        joined = np.concatenate([np.ascontiguousarray(one).reshape(-1) for one in arrays])
        return pa.array(joined.view(self._plain))

    def values(self, array: Any) -> list[Any]:
        """Return the values of records from what `arrow` made of them."""
        if self._way == "scalar" and self.field.is_text:
            return list(array.to_pylist())
        if self._way == "scalar":
            return list(_numpy(array, self._plain).view(self.field.numpy))
        shapes: Any = None
        if self._way == "shaped":
            shapes = _numpy(array.field("shape").flatten(), np.int64)
            shapes = shapes.reshape(len(array), len(self.field.shape)).tolist()
            array = array.field("values")
        flat = array.flatten()
        if self.field.is_text:
            plain = np.empty(len(flat), object)
            plain[:] = flat.to_pylist()
        else:
            plain = _numpy(flat, self._plain).view(self.field.numpy)
        if self._way == "fixed":
            return list(plain.reshape(len(array), *self.field.filled(())))
        ends = np.cumsum(_numpy(array.value_lengths(), np.int64) // self._parts)
        parts = np.split(plain, ends[:-1])
        if shapes is None:
            shape = [-1 if length is None else length for length in self.field.shape]
            return [part.reshape(shape) for part in parts]
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def plain_dtype(dtype: "np.dtype[Any]") -> tuple["np.dtype[Any]", int]:
    """Return the dtype under which Arrow has values of `dtype`, and how many make one of them."""
    if dtype.kind == "c":
        return np.dtype(f"f{dtype.itemsize // 2}"), 2
    if dtype.kind in "biuf" and dtype.type.__module__ == "numpy":
        return dtype, 1
    return np.dtype(f"u{dtype.itemsize}"), 1


def _schema(fields: Sequence[Field]) -> Any:
    tree = nested([(field.path, _Column(field).type) for field in fields])
    document = {"version": VERSION, "fields": list(fields)}
    return pa.schema(
        [pa.field(name, _joined_type(value)) for name, value in tree.items()],
        metadata={METADATA_KEY: msgspec.json.encode(document)},
    )


def nested(items: Sequence[tuple[tuple[str, ...], Any]]) -> dict[str, Any]:
    """Return a nested dict of (path, value) pairs."""
    tree: dict[str, Any] = {}
    for path, value in items:
        inner = tree
        for key in path[:-1]:
            inner = inner.setdefault(key, {})
        inner[path[-1]] = value
    return tree


def _joined_type(tree: Any) -> Any:
    if not isinstance(tree, Mapping):
        return tree
    return pa.struct({name: _joined_type(value) for name, value in tree.items()})


def _joined(tree: Any) -> Any:
    if not isinstance(tree, Mapping):
        return tree
    return pa.StructArray.from_arrays([_joined(value) for value in tree.values()], list(tree))


def _numpy(array: Any, dtype: Any) -> NDArray[Any]:
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype)
