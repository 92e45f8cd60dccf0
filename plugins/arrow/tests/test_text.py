"""JSON Lines and CSV."""

import csv
import io
import json

import numpy as np
import pytest
from conftest_files import everything, table, write_csv, write_json
from hypothesis import given, settings
from hypothesis import strategies as st
from test_parquet import plain

from feedrace.errors import ConfigError, DataError


def test_json_objects_are_records(tmp_path, make):
    write_json(tmp_path / "b.jsonl", table(10, start=30))
    write_json(tmp_path / "a.jsonl", table(30))
    source = make("json-lines", tmp_path)
    assert plain(everything(source)) == table(40).to_pydict()
    assert plain(source.fetch(np.array([35, 2, 35])))["id"] == [35, 2, 35]
    assert source.element_spec()["tokens"].shape == (None,)


def test_csv_records_are_records(tmp_path, make):
    made = table().drop_columns(["tokens"])
    source = make("csv", write_csv(tmp_path / "a.csv", made))
    assert plain(everything(source)) == made.to_pydict()


@settings(max_examples=60)
@given(st.lists(st.fixed_dictionaries({"a": st.integers(-(2**31), 2**31 - 1), "b": st.text()}),
                min_size=1, max_size=20))  # fmt: skip
def test_any_json_comes_back(tmp_path_factory, rows):
    import feedrace

    path = tmp_path_factory.mktemp("json") / "a.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=len(rows) % 2 == 0) for row in rows),
                    encoding="utf-8", newline="\n", errors="surrogatepass")  # fmt: skip
    records = everything(feedrace.create("source", "json-lines", path=str(path)))
    assert records["a"].tolist() == [row["a"] for row in rows]
    assert records["b"].tolist() == [row["b"] for row in rows]


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 99), TEXT), min_size=1, max_size=20),
       st.sampled_from(",;\t|"), st.sampled_from(["\n", "\r\n"]))  # fmt: skip
def test_any_csv_comes_back_quoted_newlines_among_it(tmp_path_factory, rows, delimiter, end):
    import feedrace

    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator=end).writerows([("n", "t"), *rows])
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_text(out.getvalue(), encoding="utf-8", newline="")
    source = feedrace.create(
        "source", "csv", path=str(path), delimiter=delimiter, types={"t": "string"}
    )
    order = np.random.default_rng(0).permutation(len(rows))
    records = source.fetch(order)
    assert records["n"].tolist() == [rows[i][0] for i in order]
    assert records["t"].tolist() == [rows[i][1] for i in order]


def test_quotes_are_counted_across_the_windows_of_the_scan(tmp_path, make, monkeypatch):
    from feedrace_arrow import csv_lines

    rows = [(n, f'say "{n}",\n{"," * n}' if n % 3 else "plain") for n in range(200)]
    out = io.StringIO()
    csv.writer(out).writerows([("n", "t"), *rows])
    path = tmp_path / "a.csv"
    path.write_text(out.getvalue(), newline="")
    for window in (2, 5, 64):
        monkeypatch.setattr(csv_lines, "_WINDOW", window)
        source = make("csv", path, cache_dir=str(tmp_path / f"kept{window}"))
        records = everything(source)
        assert list(zip(records["n"].tolist(), records["t"].tolist(), strict=True)) == rows


def test_a_quote_within_a_value_is_an_error_unless_quotes_mean_nothing(tmp_path, make):
    path = tmp_path / "a.tsv"
    path.write_text('size\tname\n5"\tdisk\n6\t"x\n')
    with pytest.raises(DataError, match=r"quote at byte 11 is within a value.*quoted = false"):
        make("csv", path, delimiter="\t")
    records = everything(make("csv", path, delimiter="\t", quoted=False))
    assert records["size"].tolist() == ['5"', "6"]
    assert records["name"].tolist() == ["disk", '"x']


def test_a_quoted_value_that_never_ends_is_an_error(tmp_path, make):
    path = tmp_path / "a.csv"
    path.write_text('a,b\n1,"x\n2,y\n')
    with pytest.raises(DataError, match=r"after byte 4 does not end"):
        make("csv", path)


def test_names_of_columns_may_be_given(tmp_path, make):
    path = tmp_path / "a.csv"
    path.write_text("1,2\n3,4")
    source = make("csv", path, column_names=["x", "y"], columns=["y"])
    assert plain(everything(source)) == {"y": [2, 4]}


def test_files_with_other_headers_are_an_error(tmp_path, make):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    (tmp_path / "b.csv").write_text("x,z\n1,2\n")
    with pytest.raises(DataError, match=r"b\.csv has the columns .*'z'.*a\.csv has .*'y'"):
        make("csv", tmp_path)


@pytest.mark.parametrize("header", ["x,x", "x,"])
def test_columns_without_names_of_their_own_are_an_error(tmp_path, make, header):
    (tmp_path / "a.csv").write_text(f"{header}\n1,2\n")
    with pytest.raises(DataError, match="needs a name of its own"):
        make("csv", tmp_path / "a.csv")


def test_types_are_those_of_the_sample_unless_they_are_given(tmp_path, make):
    path = tmp_path / "a.csv"
    path.write_text("zip,day,x\n01234,2020-01-02,1\n99999,2020-01-03,2.5\n")
    source = make("csv", path)
    assert plain(everything(source)) == {
        "zip": [1234, 99999], "day": ["2020-01-02", "2020-01-03"], "x": [1.0, 2.5]
    }  # fmt: skip
    source = make("csv", path, types={"zip": "string", "day": "date32"})
    records = everything(source)
    assert records["zip"].tolist() == ["01234", "99999"]
    assert records["day"].tolist() == [18263, 18264]
    assert "day: days since 1970-01-01" in source.details()


def test_the_sample_reaches_the_end_of_the_data(tmp_path, make):
    path = tmp_path / "a.jsonl"
    rows = [{"x": n} for n in range(5000)] + [{"x": 0.5}]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert make("json-lines", path).element_spec()["x"].dtype == np.float32


def test_values_of_several_types_name_the_file_the_record_and_the_column(tmp_path, make):
    (tmp_path / "a.jsonl").write_text('{"x": 1}\n{"x": 2}\n')
    (tmp_path / "b.jsonl").write_text('{"x": 3}\n{"x": {"y": 4}}\n{"x": 5}\n')
    with pytest.raises(DataError) as caught:
        make("json-lines", tmp_path)
    text = str(caught.value)
    assert "record 1 of" in text
    assert "b.jsonl" in text
    assert "column 'x' is number elsewhere, and object here" in text
    config = {"types": {"x": "int32"}, "on_error": "skip", "error_budget": 3}
    source = make("json-lines", tmp_path, **config)
    assert everything(source)["x"].tolist() == [1, 2, 3, 0, 5]
    assert [bad.number for bad in source.bad_records] == [3]


@pytest.mark.parametrize("line", ["{", "[1]", "3", "null", '{"x": 1} {"x": 2}', '{"x": 1, "x": 2}',
                                  " ", '{"x": "\\ud800"', '{"x": 1}}'])  # fmt: skip
def test_lines_that_are_no_json_object_are_bad_records(tmp_path, make, line):
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"x": 1}}\n{line}\n{{"x": 3}}\n')
    with pytest.raises(DataError, match=r"record 1 of .*a\.jsonl"):
        make("json-lines", path)
    source = make("json-lines", path, on_error="skip", error_budget=2)
    assert everything(source)["x"].tolist() == [1, 0, 3]
    assert source.invalid_rows(np.arange(3)).tolist() == [False, True, False]


def test_text_that_is_no_utf8_is_a_bad_record(tmp_path, make):
    (tmp_path / "a.jsonl").write_bytes(b'{"x": "a"}\n{"x": "\xff"}\n{"x": "c"}\n')
    (tmp_path / "a.csv").write_bytes(b"x,y\na,1\n\xff,2\nc,3\n")
    for name in ("json-lines", "csv"):
        path = tmp_path / ("a.csv" if name == "csv" else "a.jsonl")
        source = make(name, path, types={"x": "string"}, on_error="substitute", error_budget=2)
        assert everything(source)["x"].tolist() == ["a", "c", "c"]


def test_a_csv_record_with_too_few_values_is_a_bad_record(tmp_path, make):
    path = tmp_path / "a.csv"
    path.write_text("x,y\n1,2\n3\n4,5\n")
    source = make("csv", path, on_error="skip", error_budget=2)
    assert everything(source)["x"].tolist() == [1, 0, 4]
    with pytest.raises(DataError, match="record 1 of"):
        make("csv", path)


def test_a_csv_record_of_another_type_after_the_sample_is_a_bad_record(tmp_path, make):
    lines = [str(n) for n in range(9000)]
    lines[1501] = "one"  # between two that the sample has
    path = tmp_path / "a.csv"
    path.write_text("x\n" + "\n".join(lines))
    source = make("csv", path)
    with pytest.raises(DataError, match=r"record 1501 .*'one'"):
        everything(source)
    source = make("csv", path, on_error="skip", error_budget=2)
    assert everything(source)["x"].tolist() == [0 if n == 1501 else n for n in range(9000)]


def test_missing_keys_are_null_and_others_an_error_unless_columns_are_chosen(tmp_path, make):
    rows = [{"x": n} for n in range(9000)]
    rows[1501] = {"x": 7, "strange": 1}
    rows[1701] = {}
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    source = make("json-lines", path)
    with pytest.raises(DataError, match=r"record 1501 .*unexpected field.*`columns`"):
        source.fetch(np.array([1500, 1501]))
    with pytest.raises(DataError, match=r"record 1701 .*x is null"):
        source.fetch(np.array([1701]))
    source = make("json-lines", path, columns=["x"], nulls={"x": -1})
    assert source.fetch(np.array([1501, 1701]))["x"].tolist() == [7, -1]


def test_a_key_that_the_sample_lacks_can_be_given_by_its_type(tmp_path, make):
    path = write_json(tmp_path / "a.jsonl", table(3))
    source = make("json-lines", path, types={"rare": "int16"}, nulls={"rare": 0})
    assert everything(source)["rare"].tolist() == [0, 0, 0]


def test_shapes_make_arrays_of_lists(tmp_path, make):
    path = tmp_path / "a.jsonl"
    path.write_text('{"grid": [[1, 2], [3, 4]]}\n{"grid": [[5, 6], [7, 8]]}\n')
    source = make("json-lines", path, shapes={"grid": [2, 2]})
    assert everything(source)["grid"].tolist() == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]
    source = make("json-lines", path, shapes={"grid": [-1, 2]})
    assert source.element_spec()["grid"].shape == (None, 2)
    with pytest.raises(ConfigError, match="give the length in `shapes`"):
        make("json-lines", path, types={"grid": "list<int32>[2]"})


@pytest.mark.parametrize(
    ("name", "content"),
    [("json-lines", ""), ("json-lines", "\n\n"), ("csv", ""), ("csv", "x,y\n")],
)
def test_files_without_records_are_an_error(tmp_path, make, name, content):
    path = tmp_path / "a.txt"
    path.write_text(content)
    with pytest.raises(DataError, match=r"a\.txt.*(has no|is empty)"):
        make(name, path)


@pytest.mark.parametrize("name", ["json-lines", "csv"])
def test_a_missing_file_and_a_missing_column_name_what_may_be_meant(tmp_path, make, name):
    made = table(3).drop_columns(["tokens"])
    path = (write_csv if name == "csv" else write_json)(tmp_path / "records.txt", made)
    with pytest.raises(DataError, match=r"did you mean 'records\.txt'"):
        make(name, tmp_path / "record.txt")
    with pytest.raises(ConfigError, match="did you mean 'score'"):
        make(name, path, columns=["scores"])


@pytest.mark.parametrize("name", ["json-lines", "csv"])
def test_identity_changes_with_a_file(tmp_path, make, name):
    write = write_csv if name == "csv" else write_json
    path = write(tmp_path / "a.txt", table(5).drop_columns(["tokens"]))
    before = make(name, path).identity()
    write(path, table(5, start=1).drop_columns(["tokens"]))
    assert make(name, path).identity() != before


def test_lines_are_not_parsed_to_find_them(tmp_path, make, monkeypatch):
    path = write_json(tmp_path / "a.jsonl", table())
    make("json-lines", path)
    from feedrace_arrow import json_lines

    def scan_lines(opened):
        raise AssertionError("scanned again")

    monkeypatch.setattr(json_lines, "scan_lines", scan_lines)
    assert len(make("json-lines", path)) == 40


def test_a_type_of_a_column_that_a_csv_file_lacks_is_an_error(tmp_path, make):
    (tmp_path / "a.csv").write_text("label,text\n1,a\n")
    with pytest.raises(ConfigError, match=r"types\.lable: there is no .* did you mean 'label'"):
        make("csv", tmp_path / "a.csv", types={"lable": "int8"})


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"a": 1}', '{"a": null}'], r"record 1 of .*a\.jsonl: a is null; .* 'skip'"),
        (['{"a": 1, "b": 2}', '{"a": 3}'], r"record 1 of .*a\.jsonl: b is null; .* 'skip'"),
    ],
)
def test_a_bad_record_of_the_sample_is_an_error_before_training(tmp_path, make, lines, message):
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=message):
        make("json-lines", path)
    assert len(make("json-lines", path, on_error="skip")) == 2
