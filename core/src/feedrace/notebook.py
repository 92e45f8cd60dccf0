"""HTML for notebooks: tables of escaped text, without scripts, colours, or anything to load."""

import html
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from feedrace.errors import ConfigError, clipped, cut

_CELL = 'style="text-align: left; vertical-align: top; padding: .15em 1.2em .15em 0"'
_TABLE = 'style="margin: .3em 0; border-collapse: collapse; background: none"'
_MOST_ROWS = 50
_MOST_BYTES = 1 << 20  # of an array whose values are shown: more are not brought from a device
_FEW = 6  # values, of a field with one value a record

Row = Sequence[object]


def page(title: str, about: str, *parts: str) -> str:
    """Return what shows one object: its title, a line about it, and parts in HTML."""
    return f"<div><strong>{text(title)}</strong> {text(about)}{''.join(parts)}</div>"


def text(value: object) -> str:
    """Return a value as text for HTML: cut and escaped."""
    return html.escape(cut(str(value), 400))


def table(rows: Iterable[Row], heads: Row = ()) -> str:
    """Return a table of text; rows beyond 50 are only counted."""
    rows = list(rows)
    lines = [_line("td", row) for row in rows[:_MOST_ROWS]]
    if len(rows) > _MOST_ROWS:
        lines.append(_line("td", [f"and {len(rows) - _MOST_ROWS:,} more"]))
    head = f"<thead>{_line('th', heads)}</thead>" if heads else ""
    body = f"<table {_TABLE}>{head}<tbody>{''.join(lines)}</tbody></table>"
    return f'<div style="overflow-x: auto">{body}</div>' if rows else ""


def fold(summary: str, *parts: str) -> str:
    """Return parts that a click on the summary shows; nothing if there is none."""
    inside = "".join(parts)
    return f"<details><summary>{text(summary)}</summary>{inside}</details>" if inside else ""


def specs(tree: Any) -> str:
    """Return a table of what has shapes and dtypes: the leaves of nested dicts, by dotted name."""
    return table([_described(*leaf) for leaf in _leaves(tree)], ("field", "dtype", "shape"))


def batch(tree: Any) -> str:
    """Return a table of a batch's fields, with the values of the rows that its mask has as valid.

    Values of fields above a megabyte stay where they are, and are not shown.
    """
    valid = _array(tree.get("valid_mask")) if isinstance(tree, Mapping) else None
    rows = [(*_described(*leaf), _values(leaf[1], valid)) for leaf in _leaves(tree)]
    return table(rows, ("field", "dtype", "shape", "values"))


def error(raised: Exception) -> str:
    """Return what shows an error: the problems of a config as a table."""
    name = type(raised).__name__
    if not isinstance(raised, ConfigError):
        return page(name, str(raised), *(f"<p>{text(note)}</p>" for note in _notes(raised)))
    problems = raised.problems
    rows = [(path, message, f"line {line}" if line else "") for path, message, line in problems]
    count = f"{len(problems)} problem{'s' * (len(problems) != 1)}"
    return page(name, f"{count} of {raised.origin}" if raised.origin else count, table(rows))


def _line(tag: str, cells: Row) -> str:
    return f"<tr>{''.join(f'<{tag} {_CELL}>{text(cell)}</{tag}>' for cell in cells)}</tr>"


def _notes(raised: Exception) -> list[str]:
    return list(getattr(raised, "__notes__", []))


def _leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(tree, Mapping):
        yield name, tree
        return
    for key, value in tree.items():
        yield from _leaves(value, f"{name}.{key}" if name else str(key))


def _described(name: str, leaf: Any) -> Row:
    if not hasattr(leaf, "shape") or not hasattr(leaf, "dtype"):
        return name, type(leaf).__name__, ""
    sizes = ("?" if size is None else str(size) for size in leaf.shape)
    return name, leaf.dtype, f"[{', '.join(sizes)}]"


def _array(value: Any) -> Any:
    """Return a small array as numpy's; None for a large one, and one whose values are not here."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is None or math.prod(shape) * getattr(dtype, "itemsize", 0) > _MOST_BYTES:
        return None
    try:
        return value.__array__()
    except (RuntimeError, TypeError):  # it was donated, lies with other processes, or is traced
        return None


def _values(leaf: Any, valid: Any) -> str:
    array = _array(leaf)
    if array is None:
        return ""
    if valid is not None and valid.shape == array.shape[:1] and array.dtype != bool:
        array = array[valid]
    if array.dtype == bool:
        return f"{int(array.sum())} of {array.size} true"
    are_numbers = array.dtype.kind in "iufc" or array.dtype.isbuiltin == 2  # as bfloat16 is
    if array.ndim > 1 and array.size and are_numbers:
        return f"{_number(array.min())} to {_number(array.max())}"
    shown = ", ".join(_number(value) for value in array.reshape(-1)[:_FEW])
    return shown + (", ..." if array.size > _FEW else "")


def _number(value: Any) -> str:
    value = value.item() if hasattr(value, "item") else value
    return f"{value:.6g}" if isinstance(value, float) else clipped(value, 40)
