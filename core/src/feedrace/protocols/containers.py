"""Tables, data sets and lists of records, recognised by what they have: no library is imported."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from feedrace.errors import ConfigError, Problem, clipped, in_words
from feedrace.protocols.checks import has, provides
from feedrace.protocols.elements import ManyAtOnce, RandomAccess
from feedrace.protocols.kinds import IndexedSource


def columns_of(data: Any) -> Any:
    """Return a dict of field to column: of a table, a data set or a list of records as dicts.

    Tables of pandas, polars and pyarrow, and data sets of Hugging Face are taken. A mapping is
    returned as it is. Raises `ConfigError` for anything else, with the line that works.
    """
    how = expression_for(data)
    if how and how != "data":
        message = f"{clipped(data, 80)} is no dict of arrays, one for each field; write data={how}"
        raise ConfigError([Problem("data", message)])
    if isinstance(data, list | tuple):
        return _of_records(data)
    if isinstance(data, Mapping) or not how:
        return data
    if _is_hugging_face(data):
        return dict(data.with_format("numpy")[:])
    arrays = {str(name): data[name].to_numpy() for name in _names(data)}
    # The rows of a list column are objects, which may turn out to be of one shape.
    return {name: a.tolist() if a.dtype == object else a for name, a in arrays.items()}


def expression_for(data: Any) -> str:
    """Return the Python that makes what a `memory` source takes of `data`, "" if none is known."""
    if isinstance(data, Mapping):
        splits = bool(data) and all(_is_table(part) for part in data.values())
        return f"data[{next(iter(data))!r}]" if splits else "data"
    of_records = isinstance(data, list | tuple) and all(isinstance(r, Mapping) for r in data)
    if _is_table(data) or (of_records and data):
        return "data"
    if hasattr(data, "dtype") or isinstance(data, list | tuple):
        return '{"x": data}'
    if type(data).__module__.partition(".")[0] == "datasets":  # one that is read as it comes
        return "list(data)"
    if isinstance(data, str) or not (isinstance(data, Iterable) or hasattr(data, "__getitem__")):
        return ""
    return '[{"image": image, "label": label} for image, label in data]'


def random_access(data: Any) -> Any:
    """Return an object that gives records by number; raise `ConfigError` for any other.

    The error shows the line that works. Tables and mappings are none: they go to `memory`.
    """
    fault = ""
    if not _is_random_access(data):
        fault = _lacking(data)
    elif _is_table(data) and not _is_hugging_face(data):
        fault = "is a table"
    if fault:
        line = source_line(data)
        fix = f"; write {line}" if line else ""
        raise ConfigError([Problem("data", f"{_kind(data)} {fault}{fix}")])
    try:
        len(data)
    except Exception as error:
        message = f"len() of {_kind(data)} raised {in_words(error)}"
        raise ConfigError([Problem("data", message)]) from error
    return data


def as_source(value: Any) -> Any:
    """Return the mapping that names a source of data that is given in a source's place.

    That is `memory` for a table or a dict of arrays, and `records` for any other object that gives
    records by number. What is no data comes back as it is. Raises `ConfigError` for data that no
    source takes, with the line that works.
    """
    if isinstance(value, Mapping):
        if "use" in value:
            return value
        if value and all(map(_is_table, value.values())):
            message = f"{_kind(value)} holds several tables; write {source_line(value)}"
            raise ConfigError([Problem("", message)])
        if not any(_holds_an_array(part) for part in _parts(value)):
            return value  # as a file may have it
        return {"use": "builtin/memory", "data": dict(value)}
    named = any(has(value, IndexedSource, name) for name in ("element_spec", "fetch"))
    if named or isinstance(value, type | str | bytes | bytearray):
        return value
    if _is_table(value) and not _is_hugging_face(value):
        return {"use": "builtin/memory", "data": value}
    if _is_random_access(value) and not hasattr(value, "dtype"):
        return {"use": "builtin/records", "data": value}
    if line := source_line(value):
        message = f"{_kind(value)} {_lacking(value)}; write {line}"
        raise ConfigError([Problem("", message)])
    return value


def source_line(data: Any) -> str:
    """Return what to write as `source=` for data that is no source; "" if nothing is known."""
    if isinstance(data, Mapping):
        if data and all(map(_is_table, data.values())):
            return f"source=data[{next(iter(data))!r}]"
        return 'source=feedrace.create("source", "memory", data=data)'
    if hasattr(data, "dtype"):
        return 'source={"x": data}'
    if _is_table(data) or _is_random_access(data):
        return "source=data"
    if isinstance(data, Iterable) and not isinstance(data, str | bytes | bytearray):
        return "source=list(data)"
    return ""


def _is_random_access(data: Any) -> bool:
    """Return whether data gives elements by number; sequences of characters do not count."""
    if isinstance(data, type | Mapping | str | bytes | bytearray):
        return False
    return has(data, RandomAccess, "__len__") and (
        has(data, RandomAccess, "__getitem__") or provides(data, ManyAtOnce)
    )


def _lacking(data: Any) -> str:
    """Return what keeps data from giving its records by number."""
    if hasattr(data, "dtype"):
        return "is one array, which has no field names"
    missing = [name for name in ("__len__", "__getitem__") if not has(data, RandomAccess, name)]
    return f"gives no records by number: it has no method {' or '.join(missing)}"


def _holds_an_array(part: Any) -> bool:
    """Return whether it is an array, or a list that begins with one, as of records that differ."""
    first = part[0] if isinstance(part, list | tuple) and part else part
    return hasattr(first, "dtype")


def _parts(tree: Any) -> Iterator[Any]:
    """Yield the values of nested mappings."""
    for part in tree.values():
        yield from _parts(part) if isinstance(part, Mapping) else (part,)


def _kind(data: Any) -> str:
    return f"an object of type {type(data).__name__}"


def _is_hugging_face(data: Any) -> bool:
    return hasattr(data, "with_format")


def _of_records(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    names = records[0].keys()
    for number, record in enumerate(records):
        if record.keys() != names:
            message = f"record {number} has the fields {sorted(record, key=str)}, not those of "
            problem = Problem("data", f"{message}record 0, {sorted(names, key=str)}")
            raise ConfigError([problem])
    return {name: [record[name] for record in records] for name in names}


def _is_table(data: Any) -> bool:
    return hasattr(data, "__getitem__") and not isinstance(data, Mapping) and bool(_names(data))


def _names(data: Any) -> list[Any]:
    """Return the names of the columns of a table that has all its rows."""
    names = getattr(data, "column_names", None)  # pyarrow and Hugging Face
    if names is None and hasattr(data, "to_numpy"):
        names = getattr(data, "columns", None)  # pandas and polars
    return [] if names is None or not hasattr(data, "__len__") else list(names)
