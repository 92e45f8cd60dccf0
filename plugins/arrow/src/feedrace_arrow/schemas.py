"""What is kept of the schemas of files, and whether the files of a source agree."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feedrace.plugin import DataError, File, Table, clipped
from feedrace_arrow.fields import ArrowField, dictionaries
from feedrace_arrow.values import leaf_array

SCHEMA = "schema"
CATEGORIES = "categories"
_SHOWN = 10


def schema_array(schema: pa.Schema) -> NDArray[np.uint8]:
    """Return a digest of the names and types of columns, in any order."""
    text = "\n".join(sorted(f"{column.name}\0{column.type}" for column in schema))
    return np.frombuffer(hashlib.blake2b(text.encode(), digest_size=16).digest(), np.uint8)


def dictionary_arrays(
    schema: pa.Schema, tables: Iterable[pa.Table]
) -> dict[str, NDArray[np.uint8]]:
    """Return the values of a file's dictionaries, as they come; none if it has no dictionary.

    tables: all rows of the columns with dictionaries. Raises `DataError` for values that are
    neither numbers nor text.
    """
    fields = dictionaries(schema)
    if not fields:
        return {}
    found: dict[str, dict[Any, None]] = {field.leaf.dotted: {} for field in fields}
    for table in tables:
        for field in fields:
            values = leaf_array(table[field.column], field).dictionary.to_pylist()
            found[field.leaf.dotted] |= dict.fromkeys(values)
    try:
        text = json.dumps({name: list(values) for name, values in found.items()})
    except TypeError as error:
        raise DataError(
            f"a dictionary has values that are neither numbers nor text: {error}"
        ) from None
    return {CATEGORIES: np.frombuffer(text.encode(), np.uint8)}


def all_categories(tables: Sequence[Table]) -> dict[str, tuple[Any, ...]]:
    """Return the values of each dictionary of all files, in the order in which they come."""
    found: dict[str, dict[Any, None]] = {}
    for text in dict.fromkeys(
        table.arrays[CATEGORIES].tobytes() for table in tables if CATEGORIES in table.arrays
    ):
        for name, values in json.loads(text).items():
            found[name] = found.get(name, {}) | dict.fromkeys(values)
    return {name: tuple(values) for name, values in found.items()}


def check_schemas(
    files: Sequence[File],
    tables: Sequence[Table],
    first: pa.Schema,
    schema_of: Callable[[File], pa.Schema],
    fields: Sequence[ArrowField],
    cast: Mapping[str, Any],
) -> None:
    """Raise one `DataError` that names all files and columns that differ from the first file.

    first: the first file's schema. Of the columns of the fields, those that are cast do not count.
    """
    columns = list(dict.fromkeys(field.column for field in fields))
    problems: dict[str, list[str]] = {}
    by_digest: dict[bytes, list[File]] = {}
    for file, table in zip(files, tables, strict=True):
        by_digest.setdefault(table.arrays[SCHEMA].tobytes(), []).append(file)
    for alike in list(by_digest.values())[1:]:
        schema = schema_of(alike[0])
        for name in columns:
            place = schema.get_field_index(name)
            if place < 0:
                problem = f"column {name!r} is missing, or there twice"
            elif name in cast or schema.field(place).type == first.field(name).type:
                continue
            else:
                kind, wanted = str(schema.field(place).type), str(first.field(name).type)
                problem = f"column {name!r} has type {clipped(kind)}, not {clipped(wanted)}"
            problems.setdefault(problem, []).extend(file.path for file in alike)
    if problems:
        lines = [
            f"{problem} in {', '.join(paths[:_SHOWN])}"
            + (f" and {len(paths) - _SHOWN} more files" if len(paths) > _SHOWN else "")
            for problem, paths in list(problems.items())[:_SHOWN]
        ]
        raise DataError(
            "\n".join([
                f"the files do not have the columns of {files[0].path}:", *lines,
                "leave these columns or files out, or cast the columns with `types`",
            ])
        )  # fmt: skip
