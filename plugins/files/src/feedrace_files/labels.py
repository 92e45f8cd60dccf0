"""The labels of images: from the folders that they lie in, or from a CSV file."""

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from feedrace.plugin import DataError, Storage, clipped, did_you_mean
from feedrace_files.config import ImageFolderConfig

_SHOWN = 5
_NUMBER = re.compile(r"[+-]?[0-9]+")


@attrs.frozen(eq=False)
class Labels:
    """The labels of all images.

    values: int32, one for each image. classes: their names, by number; none if the labels were
    numbers already.
    """

    values: NDArray[np.int32]
    classes: tuple[str, ...]


def folder_labels(names: Sequence[str], paths: Sequence[str]) -> Labels | None:
    """Return the labels of images by the first folder in their names; None if there are none.

    Raises `DataError` if only some images lie in a folder.
    """
    found = [name.partition("/")[0] if "/" in name else "" for name in names]
    if not any(found):
        return None
    if not all(found):
        outside = paths[found.index("")]
        raise DataError(
            f"{outside} lies in no folder of a class, as other images do; move it into one, or "
            f"give a CSV file in labels"
        )
    return _numbered(found)


def csv_labels(
    storage: Storage, config: ImageFolderConfig, roots: Sequence[str], names: Sequence[str]
) -> Labels:
    """Return the labels of images by the rows of a CSV file.

    roots, names: of each image, its folder and its name relative to that.

    Raises `DataError` for a file or column that is not there, and for images without a row, rows
    without an image, and images with two rows.
    """
    path = str(config.labels)
    given = {}
    for root in dict.fromkeys(roots):
        place = path if path.startswith("/") or "://" in path else f"{root}/{path}"
        if place not in given:
            given[place] = _rows(storage, place, config)
    rows = [row for table in given.values() for row in table]
    _check_rows(", ".join(given), rows, names)
    label_of = dict(rows)
    found = [label_of[name] for name in names]
    if not all(map(_NUMBER.fullmatch, found)):
        return _numbered(found)
    numbers = np.array([int(text) for text in found], object)
    beyond = [text for text, number in zip(found, numbers, strict=True) if abs(number) >= 2**31]
    if beyond:
        raise DataError(f"{', '.join(given)}: label {clipped(beyond[0])} does not fit an int32")
    return Labels(numbers.astype(np.int32), ())


def _numbered(found: Sequence[str]) -> Labels:
    classes, values = np.unique(np.array(found, object), return_inverse=True)
    return Labels(values.astype(np.int32), tuple(classes.tolist()))


def _rows(storage: Storage, path: str, config: ImageFolderConfig) -> list[tuple[str, str]]:
    """Return (name, label) of each row."""
    [file] = storage.find(path)
    content = storage.open(file).read(0, file.size)
    try:
        table = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no CSV file in UTF-8: {error}") from error
    rows = [(line, row) for line, row in enumerate(table, 1) if row]
    if not rows:
        raise DataError(f"{path} is empty; it needs a line of headers and a row for each image")
    headers = [header.strip() for header in rows[0][1]]
    file_column, label_column = _columns(path, headers, config)
    for line, row in rows[1:]:
        if len(row) != len(headers):
            raise DataError(
                f"{path}, row {line}: {len(row)} columns, and {len(headers)} headers: "
                f"{', '.join(headers)}"
            )
    return [(row[file_column].strip(), row[label_column].strip()) for _, row in rows[1:]]


def _columns(path: str, headers: Sequence[str], config: ImageFolderConfig) -> tuple[int, int]:
    """Return the numbers of the columns of names and labels."""
    given = {field: getattr(config, field) for field in ("file_column", "label_column")}
    there = f"the columns {', '.join(headers)}"
    for field, header in given.items():
        if header is not None and header not in headers:
            near = did_you_mean(header, headers)
            raise DataError(
                f"{path} has no column {header!r}{near}, as {field} says; it has {there}"
            )
    if len(headers) == 2 and not any(given.values()):
        return 0, 1
    for field, header in given.items():
        if header is None:
            raise DataError(f"{path} has {there}; name one in {field}")
    file_column, label_column = map(list(headers).index, given.values())
    return file_column, label_column


def _check_rows(path: str, rows: Sequence[tuple[str, str]], names: Sequence[str]) -> None:
    """Raise `DataError` unless the rows name each image once."""
    counts, images = Counter(name for name, _ in rows), set(names)
    problems = [
        _listed("images have no row", [name for name in names if name not in counts]),
        _listed("rows name no image", [name for name in counts if name not in images]),
        _listed("images have several rows", [name for name, n in counts.items() if n > 1]),
    ]
    if any(problems):
        raise DataError(f"{path}: {'; '.join(filter(None, problems))}; give each image one row")


def _listed(what: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    more = ", ..." if len(names) > _SHOWN else ""
    return f"{len(names)} {what}: {', '.join(map(clipped, names[:_SHOWN]))}{more}"
