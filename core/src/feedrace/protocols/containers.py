"""Tables, data sets and lists of records, recognised by what they have: no library is imported."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from feedrace.errors import ConfigError, Problem, clipped


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
    if hasattr(data, "with_format"):  # a data set of Hugging Face
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


def source_line(data: Any) -> str:
    """Return what to write as `source=` for data that is no source; "" if nothing is known."""
    how = expression_for(data)
    return f'source=feedrace.create("source", "memory", data={how})' if how else ""


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
