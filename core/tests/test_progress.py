"""Progress bars: in a terminal and in a notebook, and nothing anywhere else."""

import io
import json
import os
import subprocess
import sys
import threading

import pytest
from click.testing import CliRunner

from feedrace.cli import main
from feedrace.host import progress as bars
from feedrace.host.progress import progress
from feedrace.pipeline.statistics import statistics
from feedrace.storage.files import Storage
from feedrace.storage.lines import scan_lines
from feedrace.storage.tables import TableCache


class Terminal(io.StringIO):
    def isatty(self):
        return True


Cell = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Even the shortest work has a bar."""
    monkeypatch.setattr(bars, "DELAY", 0)


def work():
    with progress("count", 3, "things") as advance:
        advance(2, "two of them")
        advance()


@pytest.mark.parametrize("stream", [Terminal, Cell])
def test_a_bar_is_shown_in_a_terminal_and_in_a_notebook(stream, monkeypatch, capsys):
    shown = stream()
    monkeypatch.setattr("sys.stderr", shown)
    work()
    text = shown.getvalue()
    assert "count: 100%" in text
    assert "3/3" in text
    assert "two of them" in text
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("stream", [io.StringIO, lambda: None])
def test_off_a_terminal_nothing_is_shown(stream, monkeypatch, capsys):
    shown = stream()
    monkeypatch.setattr("sys.stderr", shown)
    work()
    assert shown is None or shown.getvalue() == ""
    assert capsys.readouterr().out == ""


def test_short_work_shows_nothing(monkeypatch):
    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setattr(bars, "DELAY", 1e9)
    work()
    assert bars.sys.stderr.getvalue() == ""


def test_a_bar_ends_with_the_work_that_raises(monkeypatch):
    monkeypatch.setattr("sys.stderr", Terminal())
    with pytest.raises(OSError), progress("count", 3, "things") as advance:
        advance()
        raise OSError
    assert bars.sys.stderr.getvalue().endswith("\n")


def test_any_thread_may_report(monkeypatch):
    monkeypatch.setattr("sys.stderr", Terminal())
    with progress("count", 400, "things") as advance:
        threads = [
            threading.Thread(target=lambda: [advance() for _ in range(100)]) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert "400/400" in bars.sys.stderr.getvalue()


def test_an_environment_variable_silences_bars():
    """It is tqdm's own, which is read when that is imported."""
    code = (
        "import io, sys\n"
        "from feedrace.host import progress as bars\n"
        "class Terminal(io.StringIO):\n"
        "    isatty = lambda self: True\n"
        "bars.DELAY, sys.stderr = 0, Terminal()\n"
        "with bars.progress('count', 3, 'things') as advance:\n"
        "    advance(3)\n"
        "print(repr(sys.stderr.getvalue()))\n"
    )
    command = [sys.executable, "-c", code]
    silent, loud = (
        subprocess.run(
            command, env={**os.environ, **extra}, capture_output=True, text=True, check=True
        ).stdout
        for extra in ({"TQDM_DISABLE": "1"}, {})
    )
    assert silent == "''\n"
    assert "3/3" in loud


def test_an_index_is_counted_in_bytes_while_a_file_is_read(tmp_path, monkeypatch):
    storage = Storage(cache_dir=str(tmp_path / "kept"))
    (tmp_path / "lines.txt").write_bytes(b"a line\n" * 1_500_000)  # more than it reads at once
    files = storage.find(str(tmp_path / "lines.txt"))
    calls: list[int] = []
    monkeypatch.setattr(bars, "bars_are_shown", lambda: False)
    monkeypatch.setattr(bars, "_nothing", lambda amount=1, note="": calls.append(amount))
    (table,) = TableCache(storage).tables("lines", files, scan_lines)
    assert len(table.arrays["starts"]) == 1_500_000
    assert sum(calls) == files[0].size
    assert len(calls) > 2


CONFIG = {"source": {"use": "memory", "data": {"x": list(range(3000))}}, "batch_size": 1500}


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("FEEDRACE_CACHE_DIR", str(tmp_path / "kept"))
    path = tmp_path / "c.json"
    path.write_text(json.dumps(CONFIG))
    return str(path)


@pytest.mark.parametrize("terminal", [True, False])
def test_jobs_over_all_records_have_a_bar(config, terminal, monkeypatch, capsys):
    shown = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr("sys.stderr", shown)
    statistics(config)
    assert ("statistics: 100%" in shown.getvalue()) == terminal
    assert ("3000/3000" in shown.getvalue()) == terminal
    assert terminal or not shown.getvalue()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("terminal", [True, False])
def test_a_run_has_a_bar(config, terminal, monkeypatch):
    monkeypatch.setattr(bars, "bars_are_shown", lambda: terminal)
    done = CliRunner().invoke(main, ["run", config])
    assert done.exit_code == 0, done.output
    assert ("2/2" in done.stderr and "train update 2" in done.stderr) == terminal
    assert terminal or not done.stderr
    assert "train: 2 steps" in done.stdout


@pytest.mark.parametrize("terminal", [True, False])
def test_verify_resume_has_a_bar(config, terminal, monkeypatch):
    parts = iter([[["train", 0, 1, 1, [0], ""]] * 2, *[[["train", 0, 1, 1, [0], ""]]] * 2])
    monkeypatch.setattr("feedrace.pipeline.verify._part", lambda *arguments: next(parts))
    monkeypatch.setattr(bars, "bars_are_shown", lambda: terminal)
    done = CliRunner().invoke(main, ["verify-resume", config, "--stops", "1"])
    assert done.exit_code == 0, done.output
    assert ("3/3" in done.stderr) == terminal
    assert terminal or not done.stderr
