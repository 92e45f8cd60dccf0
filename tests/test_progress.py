"""Everything that takes long has a progress bar in a terminal, and none off one."""

import io

import numpy as np
import pytest

import feedrace
from feedrace.host import progress as bars


class Terminal(io.StringIO):
    def isatty(self):
        return True


def records():
    return feedrace.create("source", "records", data=[{"x": np.int32(n)} for n in range(3000)])


def prepared(folder):
    pytest.importorskip("tensorflow")
    tfds = pytest.importorskip("tensorflow_datasets")
    tfds.enable_progress_bar()
    digits = {"name": "feedrace_digits", "split": "train", "data_dir": str(folder)}
    return feedrace.create("source", "tfds-eager", **digits)


def load(folder):
    source = prepared(folder)
    bars.sys.stderr.seek(0)
    bars.sys.stderr.truncate()
    assert len(source.data["label"]) == len(source)


def index(folder):
    (folder / "a.txt").write_text("one\ntwo\n")
    assert len(feedrace.create("source", "text-lines", path=str(folder / "a.txt"))) == 2


def filtered(folder):
    assert len(feedrace.create("source", "filter", source=records(), where="x < 10")) == 10


def split(folder):
    shares = {"train": 0.5, "test": 0.5}
    feedrace.create("source", "split", source=records(), by="x", shares=shares, part="train")


def cache(folder):
    feedrace.create("source", "cache", source=records(), directory=str(folder)).precompute()


def converted(folder):
    from feedrace_files.convert import convert

    every = feedrace.plugin.all_records(records())
    assert convert(every, "array-record", folder / "out", workers=0).records == 3000


@pytest.mark.parametrize("is_terminal", [True, False], ids=["terminal", "elsewhere"])
@pytest.mark.parametrize(
    ("work", "shows"),
    [
        pytest.param(prepared, "Generating train examples", marks=pytest.mark.slow),
        pytest.param(load, "load feedrace_digits:train: 100%", marks=pytest.mark.slow),
        (index, "index lines: 100%"),
        (filtered, "filter: 100%"),
        (split, "split by 'x': 100%"),
        (cache, "cache: 100%"),
        (converted, "convert to array-record: 100%"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_long_work_has_a_bar_in_a_terminal_alone(
    work, shows, is_terminal, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("FEEDRACE_CACHE_DIR", str(tmp_path / "kept"))
    monkeypatch.setattr(bars, "DELAY", 0)
    shown = Terminal() if is_terminal else io.StringIO()
    monkeypatch.setattr("sys.stderr", shown)
    work(tmp_path)
    assert (shows in shown.getvalue()) == is_terminal
    if not is_terminal and work is not prepared:  # TFDS says in words what it prepares
        assert shown.getvalue() == ""
    assert "%|" not in shown.getvalue() or is_terminal
    assert capsys.readouterr().out == ""
