import contextlib
import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from feedrace import Pipeline, create
from feedrace.errors import ConfigError, DataError, StateError


def lines_of(path, **fields):
    return create("source", "text-lines", path=str(path), **fields)


def texts(source):
    return source.fetch(np.arange(len(source)))["text"].tolist()


def written(folder, name, content):
    path = folder / name
    path.write_bytes(content)
    return path


def test_a_line_is_a_record_and_the_last_newline_makes_none(tmp_path):
    path = written(tmp_path, "a.txt", b"\xef\xbb\xbfone\r\n\nthree \n\xc3\xa9")
    assert texts(lines_of(path)) == ["one", "", "three ", "\u00e9"]


def test_files_of_a_folder_follow_each_other_by_name(tmp_path):
    for name in ("b.txt", "a.TXT", "c.text"):
        written(tmp_path, name, name.encode())
    written(tmp_path, "notes.md", b"not this")
    written(tmp_path, "empty.txt", b"")
    assert texts(lines_of(tmp_path)) == ["a.TXT", "b.txt", "c.text"]


def test_a_line_that_is_not_utf8_names_file_line_and_byte(tmp_path):
    path = written(tmp_path, "a.txt", b"good\nb\xffd\nfine\n")
    with pytest.raises(DataError, match=r"a\.txt\): line 2, byte 2: 0xff is not UTF-8"):
        lines_of(path).fetch(np.array([0, 1]))
    source = lines_of(path, on_error="skip", error_budget=1)
    assert source.fetch(np.array([0, 1, 2]))["text"].tolist() == ["good", None, "fine"]
    assert source.invalid_rows(np.array([0, 1, 2])).tolist() == [False, True, False]
    [bad] = source.bad_records
    assert (bad.number, bad.file, bad.record) == (1, str(path), 1)
    source = lines_of(path, on_error="substitute", error_budget=1)
    assert source.fetch(np.array([1]))["text"].tolist() == ["fine"]


def test_columns_know_one_name(tmp_path):
    path = written(tmp_path, "a.txt", b"one")
    assert texts(lines_of(path, columns=["text"])) == ["one"]
    with pytest.raises(ConfigError, match=r"columns\[0\]: 'texts' .*did you mean 'text'"):
        lines_of(path, columns=["texts"])


def test_compressed_text_is_refused_before_training(tmp_path):
    path = written(tmp_path, "a.txt", b"\x1f\x8b\x08rest")
    with pytest.raises(DataError, match=r"compressed with gzip.*gunzip"):
        lines_of(path)


def test_no_records_are_an_error(tmp_path):
    path = written(tmp_path, "a.txt", b"")
    with pytest.raises(DataError, match=r"has no records; it was made of .*a\.txt"):
        lines_of(path)


def test_a_missing_file_names_what_may_be_meant(tmp_path):
    written(tmp_path, "train.txt", b"one")
    with pytest.raises(DataError, match=r"does not exist.*did you mean 'train\.txt'"):
        lines_of(tmp_path / "trian.txt")


def test_a_file_that_is_replaced_is_an_error_and_another_identity(tmp_path):
    path = written(tmp_path, "a.txt", b"one\ntwo\n")
    source = lines_of(path)
    before = source.identity()
    other = written(tmp_path, "new", b"six\nten\n")
    os.replace(other, path)
    with pytest.raises(DataError, match=r"a\.txt changed since it was found"):
        lines_of_again = pickle.loads(pickle.dumps(source.reader()))
        lines_of_again.fetch(np.array([0]))
    assert lines_of(path).identity() != before


def batches_of(pipeline):
    with contextlib.closing(pipeline.steps()) as steps:
        return [step.batch["text"].tolist() for step in steps]


def test_lines_arrive_in_a_pipeline_with_worker_processes(tmp_path):
    path = written(tmp_path, "a.txt", b"".join(b"line %d\n" % i for i in range(10)))
    workers = {"kind": "process", "count": 1}
    pipeline = Pipeline(source=lines_of(path), batch_size=5, workers=workers)
    lines = [f"line {i}" for i in range(10)]
    assert batches_of(pipeline) == [lines[:5], lines[5:]]


def test_the_table_of_lines_is_kept(tmp_path, monkeypatch):
    from feedrace_files import text_lines

    path = written(tmp_path, "a.txt", b"one\ntwo\n")
    cache = str(tmp_path / "cache")
    assert len(lines_of(path, cache_dir=cache)) == 2
    monkeypatch.setattr(text_lines, "scan_lines", None)
    assert texts(lines_of(path, cache_dir=cache)) == ["one", "two"]


def test_a_saved_state_resumes_exactly_and_refuses_another_file(tmp_path):
    path = written(tmp_path, "a.txt", b"".join(b"%d\n" % i for i in range(9)))

    def pipeline():
        return Pipeline(source=lines_of(path, shuffle=True), batch_size=3, workers=0)

    running = pipeline()
    with contextlib.closing(running.steps()) as steps:
        next(steps)
        state = json.loads(json.dumps(running.get_state()))
        rest = [step.batch["text"].tolist() for step in steps]
    resumed = pipeline()
    resumed.set_state(state)
    assert batches_of(resumed) == rest
    path.write_bytes(b"".join(b"%d\n" % (i + 1) for i in range(9)))
    with pytest.raises(StateError):
        pipeline().set_state(state)


def test_a_program_that_ends_with_a_source_says_nothing(tmp_path):
    path = written(tmp_path, "a.txt", b"one\ntwo\n")
    lines_of(path)  # keeps the table, so that the program imports less
    program = (
        "import numpy, feedrace\n"
        f"source = feedrace.create('source', 'text-lines', path={str(path)!r})\n"
        "reader = source.reader()\n"
        "reader.fetch(numpy.arange(2))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
