"""Records of text, one after another in a file: parsed together, those of a step at a time."""

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.types as kinds

from feedrace.plugin import Arrays, DataError, Failure, Layout, Ranges, Raw, Unreadable
from feedrace_arrow.blocks import damaged
from feedrace_arrow.fields import ArrowField, Choices
from feedrace_arrow.values import Converted, bad_rows, converted

_SAMPLE = 1000  # records from the start, and as many from everywhere, that show the types


class Parser(Protocol):
    """Parses records of text; it can be pickled.

    unit: what a record is called.
    """

    @property
    def unit(self) -> str: ...

    def parse(self, lines: Sequence[bytes], schema: pa.Schema, *, infer: bool = False) -> pa.Table:
        """Return the records of some lines, with the columns of the schema.

        infer: return all columns, those that the schema lacks with the types that they show.

        Raises `pa.ArrowException` or `ValueError`, such as `DataError`, for what is no such record.
        """
        ...


class LinesDecoder:
    """Makes arrays of records of text, as `Decoder`."""

    def __init__(self, parser: Parser, schema: pa.Schema, fields: Sequence[ArrowField]) -> None:
        self._parser, self._schema, self._fields = parser, schema, tuple(fields)
        self.layout = Layout(tuple(field.leaf for field in fields))

    def __reduce__(self) -> Any:
        return LinesDecoder, (self._parser, self._schema, self._fields)

    def decode(self, records: Iterable[tuple[int, Raw]], arrays: Arrays) -> list[Failure]:
        """Put raw records into their slots; return which slots failed, and why."""
        failures: dict[int, Exception] = {}
        lines: dict[int, bytes] = {}
        for slot, raw in records:
            if isinstance(raw, Unreadable):
                failures[slot] = DataError(raw.reason)
            else:
                lines[slot] = raw
        parts = [list(lines)] if lines else []
        while parts:
            slots = parts.pop()
            try:
                fields = self._converted([lines[slot] for slot in slots])
            except (pa.ArrowException, ValueError) as error:
                if len(slots) == 1:
                    failures[slots[0]] = damaged(error)
                else:  # one of them is bad: which?
                    middle = len(slots) // 2
                    parts += [slots[:middle], slots[middle:]]
            else:
                self._put(fields, slots, arrays, failures)
        return list(failures.items())

    def _converted(self, lines: Sequence[bytes]) -> list[Converted]:
        table = self._parser.parse(lines, self._schema)
        if len(table) != len(lines):
            raise DataError(f"{len(lines)} {self._parser.unit}s hold {len(table)} records")
        return [converted(table[field.column], field) for field in self._fields]

    def _put(
        self,
        fields: Sequence[Converted],
        places: list[int],
        arrays: Arrays,
        failures: dict[int, Exception],
    ) -> None:
        slots, rows = np.array(places, np.int64), np.arange(len(places))
        bad = bad_rows(fields, rows)
        if bad:
            failures |= {places[place]: DataError(reason) for place, reason in bad.items()}
            rows = np.setdiff1d(rows, list(bad))
        for field, into in zip(fields, arrays.values, strict=True):
            field.values.put(rows, into, slots[rows])


def sampled_schema(
    ranges: Ranges, parser: Parser, choices: Choices, on_error: str, where: str
) -> tuple[pa.Schema, dict[int, bytes]]:
    """Return the columns that a sample of the records shows, with the types of the config.

    Return the sample, too: records by number.

    Dates and times among text stay text unless the config gives their types. Raises `DataError` for
    a column whose values have several types, and with `on_error = "raise"` for a bad record.
    """
    numbers = np.unique(np.concatenate([
        np.arange(min(_SAMPLE, len(ranges))),
        np.linspace(0, len(ranges) - 1, _SAMPLE).astype(np.int64),
    ]))  # fmt: skip
    lines = {
        int(numbers[place]): raw for place, raw in ranges.read(numbers) if isinstance(raw, bytes)
    }
    types = {name: choices.cast(name) for name in choices.types}
    given = pa.schema([pa.field(name, kind) for name, kind in types.items()])
    try:
        found = _shown(parser, list(lines.values()), given)
    except (pa.ArrowException, ValueError) as error:
        for number, line in list(lines.items()):
            try:
                _shown(parser, [line], given)
            except (pa.ArrowException, ValueError) as reason:
                if on_error == "raise":
                    raise _bad(ranges, parser, number, reason) from reason
                del lines[number]
        if not lines:
            raise DataError(f"{where} has no {parser.unit} that can be read: {error}") from error
        found = _together(ranges, parser, lines, given)
    lacking = [column for column in given if found.get_field_index(column.name) < 0]
    return pa.schema([*found, *lacking]), lines


def check_sample(decoder: LinesDecoder, ranges: Ranges, lines: Mapping[int, bytes]) -> None:
    """Raise `DataError` for the first record of a sample that is bad."""
    records = enumerate(lines.values())
    failures = decoder.decode(records, decoder.layout.allocate(len(lines)))
    if failures:
        slot, error = min(failures, key=itemgetter(0))
        path, record = ranges.locate(list(lines)[slot])
        raise DataError(
            f"record {record} of {path}: {error}; correct it, or continue without such records "
            f"with on_error = 'substitute' or 'skip'"
        )


def _together(
    ranges: Ranges, parser: Parser, lines: Mapping[int, bytes], given: pa.Schema
) -> pa.Schema:
    """Return the columns of lines each of which can be read alone."""
    numbers, texts = list(lines), list(lines.values())
    try:
        return _shown(parser, texts, given)
    except (pa.ArrowException, ValueError):
        good, bad = 0, len(texts)  # of so many together it is known that they can be read, or not
        while bad - good > 1:
            middle = (good + bad) // 2
            try:
                _shown(parser, texts[:middle], given)
                good = middle
            except (pa.ArrowException, ValueError):
                bad = middle
        try:
            _shown(parser, texts[:bad], given)
        except (pa.ArrowException, ValueError) as error:
            raise _bad(ranges, parser, numbers[bad - 1], error) from error
        raise


def _bad(ranges: Ranges, parser: Parser, number: int, error: Exception) -> DataError:
    path, record = ranges.locate(number)
    return DataError(
        f"record {record} of {path}: {damaged(error)}; correct it, or give the column's "
        f"type in `types`"
    )


def _shown(parser: Parser, lines: Sequence[bytes], given: pa.Schema) -> pa.Schema:
    """Return the columns of some lines; dates and times are text if nobody said otherwise."""
    table = parser.parse(lines, given, infer=True)
    if len(table) != len(lines):
        raise DataError(f"{len(lines)} {parser.unit}s hold {len(table)} records")
    return pa.schema([
        column
        if given.get_field_index(column.name) >= 0
        else pa.field(column.name, _without_times(column.type))
        for column in table.schema
    ])  # fmt: skip


def _without_times(kind: pa.DataType) -> pa.DataType:
    if kinds.is_temporal(kind):
        return pa.string()
    if kinds.is_list(kind):
        return pa.list_(_without_times(kind.value_type))
    if kinds.is_struct(kind):
        return pa.struct([pa.field(child.name, _without_times(child.type)) for child in kind])
    return kind
