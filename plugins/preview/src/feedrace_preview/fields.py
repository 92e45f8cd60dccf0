"""The rows of one field as HTML: images, text, tokens with their segments, numbers."""

from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feedrace.plugin import VALID_MASK
from feedrace_preview.pictures import histogram, is_image, thumbnails
from feedrace_preview.points import Fields, Point

_CHARACTERS = 300  # of a text that are shown
_TOKENS = 160
_COLOURS = 6
_CAPTIONED = 3  # values under an image


def unchanged(before: Fields, after: Fields) -> set[str]:
    """Return the fields that have the same rows at two points."""
    return {name for name in before.keys() & after.keys() if _same(before[name], after[name])}


def _same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    if one.shape != other.shape:
        return False
    if object in (one.dtype, other.dtype):
        return all(map(_same_value, one.tolist(), other.tolist()))
    return np.array_equal(one, other, equal_nan="f" in one.dtype.kind + other.dtype.kind)


def _same_value(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    return bool(one == other)


def rows_of(point: Point, same: set[str]) -> str:
    """Return the rows of a point; those of padding and of records left out are dimmed.

    same: the fields that are as they were at the point before, which are named alone.
    """
    fields = point.fields
    if not fields:
        return ""
    count = max(len(value) for value in fields.values())
    valid = np.asarray(fields.get(VALID_MASK, np.ones(count, bool)))
    images = [name for name, value in fields.items() if is_image(value) and name not in same]
    filled = {name: marks for name in fields if (marks := _segments(name, fields)) is not None}
    masks = {f"{name}_{end}" for name in filled for end in ("segmentation", "position", "mask")}
    plain = [name for name in fields if name not in {*filled, *images, *masks, *same, VALID_MASK}]
    captioned = [name for name in fields if fields[name].ndim == 1 and not is_image(fields[name])]
    captioned = [name for name in captioned if name != VALID_MASK][:_CAPTIONED]
    shown = [_sheet(name, point, captioned, valid) for name in images]
    shown += [_tokens(point, name, filled[name], valid) for name in filled if name not in same]
    listed = [name for name in plain if not (images and name in captioned)]
    shown += [_table(point, listed, valid)] if listed else []
    names = ", ".join(sorted(same - {VALID_MASK}))
    return "".join(shown) + (f"<p><small>As before: {escape(names)}</small></p>" if names else "")


def _row_name(point: Point, row: int, valid: NDArray[Any]) -> str:
    """Return the record of a row in words; "" if rows hold several."""
    if not len(point.records):
        return "" if valid[row] else "padding"
    if row >= len(point.records):
        return "padding"
    record = point.records[row]
    name = (
        f"records {', '.join(map(str, record.reshape(-1)))}" if record.ndim else f"record {record}"
    )
    return f"{name}{'' if valid[row] else ', left out'}"


def _value(point: Point, name: str, row: int) -> str:
    """Return a value in one line: a label with the name of its class, tokens of bytes as text."""
    value = point.fields[name][row]
    if name in point.bytes_from and np.ndim(value) == 1:
        text = "".join(_character(token, point.bytes_from[name]) for token in value[:_TOKENS])
        return f"{value.dtype}{list(value.shape)} {text}{_more(value)}"
    if name == "label" and point.names and np.ndim(value) == 0 and 0 <= value < len(point.names):
        return f"{_short(value)} {point.names[int(value)]}"
    return _short(value)


def _sheet(name: str, point: Point, captioned: list[str], valid: NDArray[Any]) -> str:
    """Return a contact sheet: each image with the scalars beside it and its record."""
    tiles = []
    pictures, spread = thumbnails(point.fields[name])
    for row, picture in enumerate(pictures):
        words = [f"{other} {_value(point, other, row)}" for other in captioned]
        words = [escape(word) for word in [*words, _row_name(point, row, valid)] if word]
        dim = "" if valid[row] else " class=padding"
        tiles.append(
            f'<figure{dim}><img src="{picture}" '
            f'alt="{escape(name)} {", ".join(words)}" loading="lazy">'
            f"<figcaption>{'<br>'.join(words)}</figcaption></figure>"
        )
    note = f" <small>{escape(spread)}</small>" if spread else ""
    return f"<h4>{escape(name)}{note}</h4><div class=sheet>{''.join(tiles)}</div>"


def _segments(name: str, fields: Fields) -> NDArray[Any] | None:
    """Return the segment of each token of a field, 0 in padding; None if nothing says what is."""
    if f"{name}_segmentation" in fields:
        return fields[f"{name}_segmentation"]
    mask = fields.get(f"{name}_mask")
    padded = mask is not None and mask.dtype == bool and mask.shape == fields[name].shape
    return mask if padded and fields[name].ndim == 2 else None


def _tokens(point: Point, name: str, segments: NDArray[Any], valid: NDArray[Any]) -> str:
    """Return rows of tokens, a colour for each segment; padding is dim."""
    lines = []
    first, packed = point.bytes_from.get(name), segments.dtype != bool
    for row, (tokens, marks) in enumerate(zip(point.fields[name], segments, strict=True)):
        spans = "".join(
            f'<span class="t{(int(mark) - 1) % _COLOURS if mark else "0 padding"}" '
            f'title="{_short(token)}{f", segment {mark}" if packed else ""}">'
            f"{escape(_character(token, first) if mark else _short(token))}</span> "
            for token, mark in zip(tokens[:_TOKENS], marks[:_TOKENS], strict=True)
        )
        held = f"{int(marks.max())} segments, " if packed else ""
        words = f"{held}{np.count_nonzero(marks)} of {len(marks)} tokens"
        words = ", ".join(filter(None, [_row_name(point, row, valid), words]))
        dim = "" if valid[row] else " class=padding"
        lines.append(f"<p{dim}><small>{words}</small><br>{spans}{_more(tokens)}</p>")
    return f"<h4>{escape(name)}</h4><div class=tokens>{''.join(lines)}</div>"


def _more(tokens: NDArray[Any]) -> str:
    return " ..." if len(tokens) > _TOKENS else ""


def _character(token: Any, first: int | None) -> str:
    """Return a byte as a character or escape, another id in brackets; `first` is that of byte 0."""
    if first is None:
        return _short(token)
    byte = int(token) - first
    if not 0 <= byte < 256:
        return f"<{int(token)}>"
    return "\u2423" if byte == 32 else repr(bytes([byte]))[2:-1]


def _table(point: Point, names: list[str], valid: NDArray[Any]) -> str:
    """Return fields as the columns of a table, a histogram under the name of each with numbers."""
    count = max(len(point.fields[name]) for name in names)
    heads = "".join(f"<th>{escape(name)}{_histogram(point, name, valid)}</th>" for name in names)
    rows = []
    for row in range(count):
        cells = "".join(f"<td>{escape(_value(point, name, row))}</td>" for name in names)
        known = len(valid) != count or valid[row]
        dim = "" if known else " class=padding"
        first = _row_name(point, row, valid) if len(valid) == count else ""
        rows.append(f"<tr{dim}><td><small>{escape(first)}</small></td>{cells}</tr>")
    return f"<table class=rows><tr><td></td>{heads}</tr>{''.join(rows)}</table>"


def _histogram(point: Point, name: str, valid: NDArray[Any]) -> str:
    value = point.fields[name]
    kept = value[valid] if len(valid) == len(value) else value
    is_class = name == "label" and bool(point.names)
    numbers = value.dtype.kind in "iuf" and not is_class and len(np.unique(value)) > 4
    return histogram(kept) if numbers else ""


def _short(value: Any) -> str:
    """Return a value in one line."""
    if isinstance(value, bytes):
        return f"{len(value):,} bytes {value[:12].hex(' ')}"
    if isinstance(value, np.ndarray) and value.ndim:
        text = np.array2string(value.reshape(-1)[:8], precision=4, separator=", ")
        return f"{value.dtype}{list(value.shape)} {text[:-1]}{', ...' * (value.size > 8)}]"
    if isinstance(value, np.ndarray | np.generic):
        value = value.item()
    text = f"{value:.5g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _CHARACTERS else f"{text[:_CHARACTERS]}..."
