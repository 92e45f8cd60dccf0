"""Shards: every record of every dtype and shape comes back as it was, from both formats."""

import contextlib
import json
import os
import tempfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedrace.plugin import DataError
from feedrace_files.encoding import (
    Decoder,
    Document,
    Encoder,
    Field,
    Shard,
    decoder,
    read_document,
    spec_of,
    write_document,
)
from feedrace_files.writers import WriteShard

pa = pytest.importorskip("pyarrow")

DTYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
          "float16", "float32", "float64", "complex64", "complex128", "bfloat16", "float8_e4m3fn",
          "int4", "str", "bytes"]  # fmt: skip
AXES = st.one_of(st.none(), st.integers(0, 3))


@st.composite
def data_sets(draw):
    """Fields, some of them nested, and the values of some records."""
    named = draw(
        st.lists(
            st.tuples(
                st.sampled_from(
                    [("a",), ("b",), ("shape",), ("c", "x"), ("c", "é"), ("c", "d", "e")]
                ),
                st.sampled_from(DTYPES),
                st.lists(AXES, max_size=3),
            ),
            min_size=1,
            max_size=4,
            unique_by=lambda one: one[0],
        )
    )
    fields = tuple(Field(path, dtype, tuple(shape)) for path, dtype, shape in named)
    seed, count = draw(st.integers(0, 2**32)), draw(st.integers(0, 5))
    rng = np.random.default_rng(seed)
    return fields, [{f.name: value(f, rng) for f in fields} for _ in range(count)]


def value(field, rng):
    shape = tuple(int(rng.integers(4)) if axis is None else axis for axis in field.shape)
    if field.is_text:
        texts = ["", "é\0", "long " * 20] if field.dtype == "str" else [b"", b"\xff\0", b"x" * 70]
        array = np.empty(shape, object)
        for place in np.ndindex(shape):
            array[place] = texts[rng.integers(3)]
        return array.item() if not shape else array
    dtype = field.numpy
    size = int(np.prod(shape))
    if dtype.name in ("int4", "bool"):
        return rng.integers(0, 2, size).astype(dtype).reshape(shape)
    raw = rng.integers(0, 256, size * dtype.itemsize, dtype=np.uint8)  # NaNs of all kinds, too
    array = raw.view(dtype).reshape(shape)
    return array[()] if rng.integers(2) else array  # a scalar, or an array without axes


def same(one, other):
    if isinstance(one, str | bytes):
        return type(one) is type(other) and one == other
    one, other = np.asarray(one), np.asarray(other)
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return (
        one.tolist() == other.tolist() if one.dtype == object else one.tobytes() == other.tobytes()
    )


def written(storage, fields, records, folder):
    work = WriteShard(storage, fields, str(folder), 1)
    return Shard(**work(0, iter(enumerate(records))))


@settings(deadline=None, max_examples=60)
@given(data_sets())
def test_every_value_comes_back_from_its_bytes(data):
    fields, records = data
    encode, decode = Encoder(fields), Decoder(fields)
    for values in records:
        found = dict(zip([f.name for f in fields], decode(encode(values)), strict=True))
        assert all(same(found[name], one) for name, one in values.items()), (found, values)


@settings(deadline=None, max_examples=60)
@given(data_sets())
def test_every_value_comes_back_from_parquet(data):
    from feedrace_files.parquet import read_parquet

    fields, records = data
    with tempfile.TemporaryDirectory() as folder:
        shard = written("parquet", fields, records, folder)
        assert shard.records == len(records)
        assert os.listdir(folder) == ([shard.file] if records else [])
        if records:
            found = list(read_parquet(os.path.join(folder, shard.file), fields))
            assert len(found) == len(records)
            for one, values in zip(found, records, strict=True):
                assert all(same(one[name], value) for name, value in values.items()), (one, values)


@settings(deadline=None, max_examples=10)
@given(data_sets())
def test_both_formats_have_one_digest(data):
    fields, records = data
    with tempfile.TemporaryDirectory() as folder:
        made = [
            written(storage, fields, records, folder) for storage in ("array-record", "parquet")
        ]
    assert made[0].digest == made[1].digest


def test_parquet_files_are_what_other_programs_expect(tmp_path):
    import pyarrow.parquet as pq

    fields = (
        Field(("image",), "uint8", (2, 3)),
        Field(("tokens",), "int64", (None,)),
        Field(("in", "text"), "str", ()),
        Field(("score",), "float32", ()),
    )
    record = {
        "image": np.arange(6, dtype=np.uint8).reshape(2, 3),
        "tokens": np.array([1, 2]),
        "in.text": "é",
        "score": np.float32(0.5),
    }
    shard = written("parquet", fields, [record], tmp_path)
    table = pq.read_table(tmp_path / shard.file)
    assert table.to_pylist() == [
        {"image": [0, 1, 2, 3, 4, 5], "tokens": [1, 2], "in": {"text": "é"}, "score": 0.5}
    ]
    assert table.schema.field("image").type == pa.list_(pa.uint8(), 6)
    said = json.loads(table.schema.metadata[b"feedrace"])
    assert said["version"] == 1
    assert said["fields"][0] == {"path": ["image"], "dtype": "uint8", "shape": [2, 3]}


def test_many_records_fall_into_small_row_groups(tmp_path):
    import pyarrow.parquet as pq

    fields = (Field(("x",), "uint8", (1 << 20,)),)
    records = [{"x": np.full(1 << 20, n, np.uint8)} for n in range(9)]
    shard = written("parquet", fields, records, tmp_path)
    file = pq.ParquetFile(tmp_path / shard.file)
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [4, 4, 1]


@pytest.mark.parametrize(
    "dtype, shape, value, message",
    [
        ("int32", (2,), np.zeros(3, np.int32), "field 'a' has shape [3], not [2]"),
        ("int32", (None, 2), np.zeros(2, np.int32), "field 'a' has shape [2], not [any, 2]"),
        ("int32", (), np.int64(2**40), "field 'a' is int64 and has values that int32 does not"),
        ("float32", (), np.float64(0.1), "field 'a' is float64 and has values that float32"),
        ("str", (), b"x", "field 'a' is b'x', not str"),
        ("bytes", (), None, "field 'a' is None, not bytes"),
        ("str", (1,), np.array([3], object), "field 'a' is 3, not str"),
    ],
)
@pytest.mark.parametrize("storage", ["array-record", "parquet"])
def test_a_value_that_does_not_fit_is_an_error_and_leaves_no_file(
    tmp_path, storage, dtype, shape, value, message
):
    with pytest.raises(DataError) as raised:
        written(storage, (Field(("a",), dtype, shape),), [{"a": value}], tmp_path)
    assert str(raised.value).startswith(message)
    assert os.listdir(tmp_path) == []


def test_values_of_other_dtypes_are_taken_if_nothing_is_lost():
    encode = Encoder((Field(("a",), "int64", ()), Field(("b",), "float32", ())))
    plain = encode({"a": np.int64(7), "b": np.float32(0.1)})
    assert encode({"a": np.int8(7), "b": 0.1}) == plain
    assert encode({"a": 7, "b": np.float64(np.float32(0.1))}) == plain


@pytest.mark.parametrize("storage", ["array-record", "parquet"])
def test_numpy_strings_are_texts(tmp_path, storage):
    fields = (Field(("a",), "str", ()), Field(("b",), "bytes", (2,)), Field(("c",), "str", (None,)))
    plain = {"a": "é", "b": np.array([b"x", b"yz"], object), "c": np.array(["q"], object)}
    arrays = {"a": np.array(["é"])[0], "b": np.array([b"x", b"yz"]), "c": np.array(["q"])}
    made = [written(storage, fields, [values], tmp_path) for values in (plain, arrays)]
    assert made[0].digest == made[1].digest


def test_a_shard_that_reads_back_otherwise_is_an_error(tmp_path, monkeypatch):
    from feedrace_files import writers

    def altered(path, fields):
        return [b"x"]

    monkeypatch.setitem(writers._READERS, "array-record", altered)
    fields = (Field(("a",), "int32", ()),)
    with pytest.raises(DataError, match="does not hold what was written"):
        written("array-record", fields, [{"a": np.int32(1)}], tmp_path)
    assert os.listdir(tmp_path) == []


DOCUMENT = Document(
    storage="array-record",
    records=1,
    left_out=0,
    made_from="00",
    bytes=3,
    digest="00",
    fields=(Field(("a", "b"), "bfloat16", (None, 2)), Field(("t",), "str", ())),
    shards=(Shard("f", 1, 3, "00"),),
)


def test_a_document_comes_back_and_says_how_to_read(tmp_path):
    text = write_document(DOCUMENT)
    assert read_document(text, "x") == DOCUMENT
    spec = spec_of(DOCUMENT.fields)
    assert spec["a"]["b"].shape == (None, 2) and spec["a"]["b"].dtype == ml_dtypes.bfloat16
    one = np.ones((3, 2), ml_dtypes.bfloat16)
    raw = Encoder(DOCUMENT.fields)({"a.b": one, "t": "é"})
    assert same(decoder(text, "x")(raw)[0], one)
    chosen = decoder(text, "x", ["t"])
    assert chosen(raw) == ["é"] and [field.name for field in chosen.fields] == ["t"]


@pytest.mark.parametrize(
    "text, message",
    [
        (b"{", "x is damaged"),
        (b"[]", "x has version None; this release reads version 1"),
        (write_document(DOCUMENT).replace(b'"version": 1', b'"version": 2'), "x has version 2"),
        (write_document(DOCUMENT).replace(b"bfloat16", b"nothing"), "'nothing' is no dtype"),
        (write_document(DOCUMENT).replace(b'"shards"', b'"other"'), "x is damaged"),
        (b"\xff\xfe", "x is damaged"),
    ],
)
def test_a_document_that_is_not_one_is_an_error(text, message):
    with pytest.raises(DataError) as raised:
        read_document(text, "x")
    assert message in str(raised.value)


@settings(deadline=None, max_examples=200)
@given(data_sets(), st.randoms())
def test_damaged_bytes_are_an_error_or_a_record(data, random):
    fields, records = data
    encode, decode = Encoder(fields), Decoder(fields)
    for values in records:
        raw = bytearray(encode(values))
        raw[random.randrange(len(raw))] ^= 1 << random.randrange(8)
        for damaged in (bytes(raw), bytes(raw[:-1])):
            with contextlib.suppress(ValueError):
                assert len(decode(damaged)) == len(fields)


def test_nothing_is_written_below_a_folder_that_is_missing(tmp_path):
    for storage in ("array-record", "parquet"):
        with pytest.raises(OSError):
            written(storage, (Field(("a",), "int32", ()),), [{"a": np.int32(1)}], tmp_path / "no")
    assert list(Path(tmp_path).iterdir()) == []
