"""JSON Lines: a JSON object on each line, found by a kept table and parsed a step at a time."""

import re
from collections.abc import Sequence

import attrs
import pyarrow as pa
import pyarrow.json as arrow_json

from feedrace.plugin import DataError, OpenFile, Table, scan_lines

VERSION = 1
_ROW = re.compile(r" in row \d+$")
_CHANGED = re.compile(r"Column\(/(.*)\) changed from (\w+) to (\w+)")


def scan(opened: OpenFile) -> Table:
    """Return where the lines of a file lie, without empty ones."""
    table = scan_lines(opened)
    full = table.arrays["sizes"] > 0
    arrays = {name: array[full] for name, array in table.arrays.items()}
    return Table(arrays, table.damage)


@attrs.frozen
class JSONParser:
    """Parses lines as objects.

    strict: whether a key that the schema lacks is an error; if not, it is left out.
    """

    strict: bool
    unit = "line"

    def parse(self, lines: Sequence[bytes], schema: pa.Schema, *, infer: bool = False) -> pa.Table:
        """Return a table of the objects, as `Parser` says."""
        for line in lines:  # one of two objects, and one of none, would not be noticed
            if not (line.lstrip()[:1] == b"{" and line.rstrip()[-1:] == b"}"):
                raise DataError("it is no JSON object")
        text = b"\n".join(lines)
        unexpected = "infer" if infer else "error" if self.strict else "ignore"
        try:
            table = arrow_json.read_json(
                pa.BufferReader(text),
                read_options=arrow_json.ReadOptions(use_threads=False, block_size=len(text) + 1),
                parse_options=arrow_json.ParseOptions(
                    explicit_schema=schema, unexpected_field_behavior=unexpected
                ),
            )
            table.validate(full=True)  # bytes that are no UTF-8
        except (pa.ArrowException, ValueError) as error:
            raise DataError(_in_words(error)) from error
        return table


def _in_words(error: Exception) -> str:
    """Return what is wrong with lines; rows are those of a step, which mean nothing outside it."""
    text = _ROW.sub("", str(error)).removeprefix("JSON parse error: ")
    changed = _CHANGED.match(text)
    if changed is not None:
        column, known, other = changed.groups()
        return f"column {column.replace('/', '.')!r} is {known} elsewhere, and {other} here"
    return f"{text}: `columns` chooses keys, `types` adds some" if "unexpected" in text else text
