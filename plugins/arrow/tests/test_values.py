"""What Arrow columns become."""

import datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedrace.errors import ConfigError, DataError
from feedrace_arrow.fields import Choices, plan
from feedrace_arrow.values import bad_rows, converted

NUMBERS = {
    pa.int8(): st.integers(-128, 127),
    pa.uint32(): st.integers(0, 2**32 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float32(): st.floats(width=32, allow_nan=False),
    pa.float64(): st.floats(allow_nan=False),
    pa.bool_(): st.booleans(),
}
TEXTS = {pa.string(): st.text(max_size=4), pa.binary(): st.binary(max_size=4)}


@st.composite
def kinds_and_values(draw, depth=2):
    """A type, and a strategy of its values."""
    if depth and draw(st.booleans()):
        kind, values = draw(kinds_and_values(depth - 1))
        if pa.types.is_list(kind):  # which need one length in lists to be arrays
            return kind, values
        if draw(st.booleans()):
            size = draw(st.integers(1, 3))
            return pa.list_(kind, size), st.lists(values, min_size=size, max_size=size)
        return pa.list_(kind), st.lists(values, max_size=3)
    return draw(st.sampled_from([*NUMBERS.items(), *TEXTS.items()]))


def fields_of(column, **choices):
    schema = pa.schema([pa.field("x", column.type)])
    return plan(schema, Choices(**choices), "the test", categories={})


def taken(column, rows=None, **choices):
    """Return the records of the one field of a column, and what is wrong with which."""
    (field,) = fields_of(column, **choices)
    rows = np.arange(len(column)) if rows is None else np.array(rows, np.int64)
    made = converted(column, field)
    bad = bad_rows([made], rows)
    into = field.leaf.allocate(len(rows))
    good = np.array([n for n in range(len(rows)) if n not in bad], np.int64)
    made.values.put(rows[good], into, good)
    return into, bad


def plain(value):
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


@settings(max_examples=150)
@given(st.data())
def test_arrays_hold_the_values_that_the_column_held(data):
    kind, values = data.draw(kinds_and_values())
    rows = data.draw(st.lists(values, min_size=1, max_size=6))
    start = data.draw(st.integers(0, len(rows) - 1))
    column = pa.array(rows, kind)
    chunked = pa.chunked_array([column.slice(0, start), column.slice(start)])
    for one, expected in ((column.slice(start), rows[start:]), (chunked, rows)):
        order = data.draw(st.lists(st.integers(0, len(expected) - 1), max_size=20))
        into, bad = taken(one, order)
        assert not bad
        assert [plain(value) for value in into] == [expected[row] for row in order]


@settings(max_examples=100)
@given(st.data())
def test_rows_with_null_anywhere_are_bad_and_no_others(data):
    kind, values = data.draw(kinds_and_values())

    def is_null(value):
        return value is None or (isinstance(value, list) and any(map(is_null, value)))

    rows = data.draw(st.lists(values | st.none(), min_size=1, max_size=6))
    if pa.types.is_nested(kind):
        rows += [[None, *row[1:]] for row in rows if row]
    start = data.draw(st.integers(0, len(rows) - 1))
    into, bad = taken(pa.array(rows, kind).slice(start))
    assert sorted(bad) == [n for n, row in enumerate(rows[start:]) if is_null(row)]
    assert all("x is null" in reason and "nulls" in reason for reason in bad.values())
    for n, row in enumerate(rows[start:]):
        if n not in bad:
            assert plain(into[n]) == row


@pytest.mark.parametrize(
    ("kind", "rows", "fill", "expected"),
    [
        (pa.int32(), [1, None], -1, [1, -1]),
        (pa.float32(), [1.5, None], 0, [1.5, 0.0]),
        (pa.bool_(), [True, None], False, [True, False]),
        (pa.string(), ["a", None], "", ["a", ""]),
        (pa.binary(), [b"a", None], "z", [b"a", b"z"]),
        (pa.list_(pa.int32()), [[1, None], None], 7, [[1, 7], []]),
        (pa.list_(pa.string()), [["a", None], None], "n", [["a", "n"], []]),
        (pa.list_(pa.int16(), 2), [[1, None], None], 7, [[1, 7], [7, 7]]),
        (pa.struct({"x": pa.int8()}), [{"x": None}, None], 3, [3, 3]),
    ],
)
def test_a_fill_stands_for_null(kind, rows, fill, expected):
    name = "x.x" if pa.types.is_struct(kind) else "x"
    into, bad = taken(pa.array(rows, kind), nulls={name: fill})
    assert not bad
    assert [plain(value) for value in into] == expected


def test_nan_may_stand_for_null():
    into, bad = taken(pa.array([1.5, None], pa.float32()), nulls={"x": float("nan")})
    assert not bad
    assert np.isnan(into[1])


@pytest.mark.parametrize(
    ("kind", "fill"), [(pa.int8(), 300), (pa.int32(), 1.5), (pa.string(), 1), (pa.bool_(), 2),
                       (pa.int32(), "x"), (pa.float32(), 1e300)],
)  # fmt: skip
def test_a_fill_that_the_column_cannot_hold_is_an_error(kind, fill):
    with pytest.raises(ConfigError, match=r"nulls\.x"):
        fields_of(pa.array([], kind), nulls={"x": fill})


def test_lists_of_lists_are_arrays_if_they_have_one_length():
    kind = pa.list_(pa.list_(pa.int32()))
    into, bad = taken(pa.array([[[1, 2], [3, 4]], [], [[1], [2, 3]], [[5]]], kind))
    assert list(bad) == [2]
    assert "several lengths" in bad[2]
    assert into[0].tolist() == [[1, 2], [3, 4]]
    assert into[1].shape == (0, 0)
    assert into[3].shape == (1, 1)


def test_shapes_make_arrays_of_lists_and_bad_records_of_others():
    rows = [[1, 2], [3], [4, 5], None]
    column = pa.array(rows, pa.list_(pa.int32()))
    (field,) = fields_of(column, shapes={"x": [2]})
    assert field.leaf.shape == (2,)
    into, bad = taken(column, shapes={"x": [2]})
    assert sorted(bad) == [1, 3]
    assert "another shape than [2]" in bad[1]
    assert into[[0, 2]].tolist() == [[1, 2], [4, 5]]
    into, bad = taken(column, shapes={"x": [2]}, nulls={"x": 9})
    assert list(bad) == [1]
    assert into[[0, 2, 3]].tolist() == [[1, 2], [4, 5], [9, 9]]


@pytest.mark.parametrize("shape", [[2, 2], [3], [None, None]])
def test_a_shape_that_the_column_does_not_have_is_an_error(shape):
    with pytest.raises(ConfigError, match=r"shapes\.x"):
        fields_of(pa.array([], pa.list_(pa.int8(), 2)), shapes={"x": shape})


def test_structs_are_nested_records_and_lists_of_structs_records_of_lists():
    inner = pa.struct({"a": pa.int32(), "b": pa.list_(pa.struct({"c": pa.string()}))})
    schema = pa.schema([pa.field("s", inner), pa.field("n", pa.int8())])
    fields = plan(schema, Choices(columns=("n", "s.b")), "the test", categories={})
    assert [field.leaf.name for field in fields] == [("n",), ("s", "b", "c")]
    column = pa.array([{"a": 1, "b": [{"c": "x"}, {"c": "y"}]}, {"a": 2, "b": []}], inner)
    made = converted(column, fields[1])
    into = np.empty(2, object)
    made.values.put(np.array([1, 0]), into, np.array([0, 1]))
    assert [row.tolist() for row in into] == [[], ["x", "y"]]
    assert fields[1].path == "s.b"


def test_tensors_keep_their_shape():
    kind = pa.fixed_shape_tensor(pa.float32(), (2, 3))
    storage = pa.array(np.arange(12, dtype=np.float32).reshape(2, 6).tolist(), kind.storage_type)
    into, bad = taken(pa.ExtensionArray.from_storage(kind, storage))
    assert not bad
    assert into.tolist() == np.arange(12).reshape(2, 2, 3).tolist()


def test_codes_are_those_of_the_categories_whatever_a_dictionary_holds():
    (field,) = plan(
        pa.schema([pa.field("x", pa.dictionary(pa.int8(), pa.string()))]), Choices(), "the test",
        categories={"x": ("a", "b", "c")},
    )  # fmt: skip
    for values in (["c", "a"], ["b", "b"]):
        made = converted(pa.array(values).dictionary_encode(), field)
        into = field.leaf.allocate(2)
        made.values.put(np.arange(2), into, np.arange(2))
        assert into.tolist() == ["abc".index(value) for value in values]
    strange = converted(pa.array(["a", "z", None]).dictionary_encode(), field)
    assert bad_rows([strange], np.arange(3)).keys() == {1, 2}


@pytest.mark.parametrize(
    ("value", "kind", "number", "note"),
    [
        (datetime.date(1970, 1, 3), pa.date32(), 2, "days since 1970-01-01"),
        (datetime.date(1970, 1, 3), pa.date64(), 172800000, "milliseconds since 1970-01-01"),
        (datetime.datetime(1970, 1, 1, 0, 1), pa.timestamp("s"), 60, "seconds since 1970-01-01"),
        (datetime.datetime(1970, 1, 1, 0, 1), pa.timestamp("us", "UTC"), 60_000_000,
         "microseconds since 1970-01-01 (UTC)"),
        (datetime.timedelta(seconds=2), pa.duration("ms"), 2000, "milliseconds"),
        (datetime.time(0, 0, 5), pa.time32("s"), 5, "seconds since midnight"),
        (datetime.time(0, 0, 5), pa.time64("ns"), 5_000_000_000, "nanoseconds since midnight"),
    ],
)  # fmt: skip
def test_times_are_integers_and_say_their_unit(value, kind, number, note):
    column = pa.array([value], kind)
    (field,) = fields_of(column)
    assert field.note == note
    assert field.leaf.dtype == (np.int32 if kind.bit_width == 32 else np.int64)
    into, bad = taken(column)
    assert (into.tolist(), bad) == ([number], {})


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        (pa.decimal128(5, 2), "float64"),
        (pa.map_(pa.string(), pa.int8()), "leave it out"),
        (pa.null(), "types = { x ="),
        (pa.month_day_nano_interval(), "leave it out"),
        (pa.dense_union([pa.field("a", pa.int8())]), "leave it out"),
    ],
)
def test_types_that_no_array_holds_are_an_error_unless_they_are_left_out(kind, hint):
    schema = pa.schema([pa.field("x", kind), pa.field("y", pa.int8())])
    with pytest.raises(DataError, match="column 'x' of the test") as caught:
        plan(schema, Choices(), "the test", categories={})
    assert hint in str(caught.value)
    assert len(plan(schema, Choices(columns=("y",)), "the test", categories={})) == 1


def test_text_that_is_no_utf8_is_a_bad_record_of_its_own():
    raw = pa.array([b"good", b"\xff\xfe", b"fine"])
    column = pa.StringArray.from_buffers(3, *raw.buffers()[1:])
    into, bad = taken(column)
    assert list(bad) == [1]
    assert "UTF-8" in bad[1]
    assert [into[0], into[2]] == ["good", "fine"]


@pytest.mark.parametrize("name", ["", "int", "list<int32", "list<int32>[x]", "list<" * 50, 3])
def test_names_that_are_no_types_are_an_error(name):
    schema = pa.schema([pa.field("x", pa.int8())])
    with pytest.raises(ConfigError, match=r"types\.x"):
        plan(schema, Choices(types={"x": name}), "the test", categories={})


@pytest.mark.parametrize("key", ["types", "shapes", "nulls"])
def test_choices_for_columns_that_are_not_there_are_an_error(key):
    schema = pa.schema([pa.field("label", pa.int8())])
    value = {"types": "int8", "shapes": [1], "nulls": 0}[key]
    with pytest.raises(ConfigError, match="did you mean 'label'"):
        plan(schema, Choices(**{key: {"labl": value}}), "the test", categories={})


def test_columns_of_one_name_are_an_error():
    schema = pa.schema([pa.field("x", pa.int8()), pa.field("x", pa.int16())])
    with pytest.raises(DataError, match="several columns of one name"):
        plan(schema, Choices(), "the test", categories={})
