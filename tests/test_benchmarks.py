"""What the runner of the benchmarks makes of the lines that they print."""

import importlib
import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

FOLDER = Path(__file__).parent / "benchmarks"


@pytest.fixture
def imported(monkeypatch):
    """Import programs of the benchmarks, for one test."""
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if (FOLDER / f"{name}.py").exists():
            del sys.modules[name]


@pytest.fixture
def runner(imported):
    return imported("run")


def result(figures, **others):
    return {"commit": "abc", "cpus": 2, "libraries": {"numpy": "2"}, "figures": figures, **others}


def test_lines_with_targets_are_figures(runner):
    lines = [
        "photographs against the best peer: 1.11x (target 1.3); ours 3,065 records/s",
        "a worker's memory beyond its reader: 20.00 MiB (at most 120)",
        "bucket, compilations of a step: 8 (at most 8)",
        "  ours: 3,065 records/s (2,900 to 3,100), 7 us of CPU a record",
        "(import feedrace: 140 ms)",
        "(grain is not installed and not measured)",
    ]
    assert runner.left_out(lines) == ["grain is not installed and not measured"]
    assert runner.figures_in(lines) == {
        "photographs against the best peer": (1.11, "x", "1.3"),
        "a worker's memory beyond its reader": (20.0, "MiB", "at most 120"),
        "bucket, compilations of a step": (8.0, "", "at most 8"),
    }


@pytest.mark.parametrize(
    ("value", "before", "target", "findings"),
    [
        (1.4, 1.4, "1.3", []),
        (1.2, 1.4, "1.3", ["short"]),
        (1.4, 1.8, "1.3", ["worse"]),
        (2.0, 2.4, "at most 1.5", ["short"]),
        (1.4, 1.0, "at most 1.5", ["worse"]),
        (1.0, 1.4, "at most 1.5", []),
        (1.4, 1.0, "about 1", ["worse"]),
        (0.7, 0.7, "none", []),
    ],
)
def test_misses_and_what_got_worse_are_named(runner, value, before, target, findings):
    now, old = runner.Figure(value, "x", target), runner.Figure(before, "x", target)
    shown = runner.findings({"what": now}, {"what": old})
    assert [line.partition(" ")[0] for line in shown] == findings


def test_every_program_takes_part(runner):
    """By itself, or called by the program that its name begins with."""
    texts = {file.stem: file.read_text() for file in FOLDER.glob("*.py")}
    for name in [name for name, text in texts.items() if '__name__ == "__main__"' in text]:
        begin, _, rest = name.partition("_")
        if rest and begin != "serve":  # what serves is called by its file's name
            assert f"import {name}" in texts[begin] or f"from {name} import" in texts[begin]
        elif not rest:
            assert name in {*runner.PROGRAMS, "run"}


@pytest.mark.parametrize(
    ("program", "wrong"),
    [
        ("print('a: 1.00x (target 1)')", ""),
        ("print('a: 1.00x (target 1)'); raise SystemExit(3)", "ended with status 3"),
        ("import time; print('a: 1.00x (target 1)', flush=True); time.sleep(600)",
         "took more than 2 s"),
    ],
)  # fmt: skip
def test_what_goes_wrong_with_a_program_is_reported(runner, program, wrong):
    limit = 2 if "time" in program else 250
    assert runner.ran([sys.executable, "-c", program], limit)[0] == wrong


@pytest.fixture
def programs(runner, tmp_path, monkeypatch):
    """A runner of two made-up programs, of which one fails; it keeps figures in `tmp_path`."""
    (tmp_path / "bad.py").write_text("raise SystemExit(1)")
    (tmp_path / "good.py").write_text(
        "print('a: 2.00x (target 1)\\n(b is not measured: why)\\nc: 0.50x (target 1)')\n"
        "print('row (load 0.1)\\n  us: 1,200 records/s\\n  memory, us: 12 MiB at 1,000 records')"
    )
    monkeypatch.setattr(runner, "FOLDER", tmp_path)
    monkeypatch.setattr(runner, "KEPT", tmp_path / "kept" / "figures.json")
    monkeypatch.setattr(runner, "PROGRAMS", ("bad", "good"))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
        return runner.main()

    return run


def test_a_program_that_fails_stops_no_other_and_figures_are_kept(programs, tmp_path):
    assert programs("--keep") == 1
    kept = json.loads((tmp_path / "kept" / "figures.json").read_text())
    assert list(kept) == ["good"]
    assert kept["good"]["figures"] == {"a": [2.0, "x", "1"], "c": [0.5, "x", "1"]}
    assert kept["good"]["rates"] == {"row": {"us": 1200.0}}
    assert kept["good"]["charts"]["memory"]["lines"] == {"us": [[1000, 12.0]]}
    assert {"commit", "cpus", "libraries", "python", "load"} < kept["good"].keys()
    page = (tmp_path / "kept" / "index.md").read_text()
    assert "1 of 2 targets are missed" in page and "- good: b is not measured: why" in page


def test_a_run_of_all_programs_keeps_its_figures_and_others_do_not(programs, tmp_path):
    assert programs("good") == programs("good", "--quick") == programs("good", "--quick") == 0
    assert not (tmp_path / "kept").exists()
    assert programs("good", "--quick", "--out", str(tmp_path / "out")) == 0
    assert {f.name for f in (tmp_path / "out").iterdir()} == {
        "figures.json", "index.md", "memory.svg"
    }  # fmt: skip
    assert programs() == 1
    assert (tmp_path / "kept" / "figures.json").exists()


@pytest.mark.parametrize("options", [["--quick"], ["--out", "x"]])
def test_only_figures_of_whole_runs_are_kept(programs, options, capsys):
    with pytest.raises(SystemExit):
        programs("good", "--keep", *options)
    assert options[0] in capsys.readouterr().err


def test_a_run_is_worse_than_the_kept_figures_but_a_quick_one_is_not_compared(
    programs, tmp_path, capsys
):
    programs("good", "--keep")
    kept = tmp_path / "kept" / "figures.json"
    results = json.loads(kept.read_text())
    results["good"]["figures"]["a"][0] = 3.0
    kept.write_text(json.dumps(results))
    assert programs("good", "--quick") == 0
    assert "worse than" not in capsys.readouterr().out
    assert programs("good") == 1
    assert "worse than it was: a: 2x, was 3" in capsys.readouterr().out


def test_what_misses_its_target_most_comes_first_in_red(imported):
    page = imported("page")
    results = {
        "one": result({"fine": (3, "x", "2"), "a little": (1.9, "x", "2"), "no": (1, "x", "none")}),
        "two": result(
            {"a cost": (9.0, "ms", "at most 3"), "nothing": (0.0, "x", "1")},
            peers={"torch": "torch 2.13.0"},
        ),
    }
    lines = list(page.table(page.ranked(results), page.in_terminal))[2:]
    assert [line.split(" | ")[1] for line in lines] == [
        "nothing", "a cost", "a little", "fine", "no"
    ]  # fmt: skip
    assert ["\33[31m" in line for line in lines] == [True, True, True, False, False]
    assert "| two | a cost | \33[31m9 ms, short\33[0m | at most 3 |" in lines
    assert list(page.table(page.ranked(results)))[4] == "| one | a little | 1.9x, short | 2 |"
    document = page.document(results, {"a.svg": ("A picture", "What it shows.")})
    assert "3 of 4 targets are missed" in document
    assert document.count("color: var(--color-problematic") == 3
    places = [
        document.index(word) for word in ("nothing", "a little", "A picture", "| fine", "| no ")
    ]
    assert places == sorted(places)
    assert "| numpy 2; torch: torch 2.13.0 |" in document
    assert "![A picture](a.svg)\n\nWhat it shows." in document


def test_rates_are_those_of_the_row_above_and_points_those_of_their_chart(imported):
    results = imported("results")
    lines = [
        "first (load 0.5 on 2 cores)",
        "  tf.data: 1,234 records/s (1,200 to 1,300), 7 us of CPU a record",
        "second (load 0.5 on 2 cores)",
        "  tf.data: 99 records/s",
        "  index cost, Feedrace, pipeline: 1.2e+04 ns a record at 1,000,000 records",
        "  index cost, Feedrace, pipeline: 3 ns a record at 10 records",
    ]
    assert results.rates_in(lines) == {"first": {"tf.data": 1234.0}, "second": {"tf.data": 99.0}}
    points = {"Feedrace, pipeline": [[1_000_000, 12_000.0], [10, 3.0]]}
    assert results.charts_in(lines) == {
        "index cost": {"unit": "ns a record", "of": "records", "lines": points}
    }


def test_what_the_programs_print_is_what_the_runner_reads(imported, capsys):
    results, measure = imported("results"), imported("measure")
    measure.begin("row")
    measure.rate_of("Feedrace", 1234.4)
    measure.point("resume", "tf.data, skip", 12.345, "ms", 20_000, "records served")
    measure.report("a ratio", 1.5, "at most 2", "3 against 2")
    measure.figure("a size", 1234.0, "bytes", "2048")
    measure.ran_with("torch", {"torch": "2.13.0+cpu", "numpy": "2"})
    lines = capsys.readouterr().out.splitlines()
    assert results.peers_in(lines) == {"torch": "torch 2.13.0+cpu, numpy 2"}
    assert results.rates_in(lines) == {"row": {"Feedrace": 1234.0}}
    assert results.charts_in(lines)["resume"] == {
        "unit": "ms", "of": "records served", "lines": {"tf.data, skip": [[20_000, 12.35]]}
    }  # fmt: skip
    assert results.figures_in(lines) == {
        "a ratio": (1.5, "x", "at most 2"), "a size": (1234.0, "bytes", "at most 2048")
    }  # fmt: skip


def test_a_picture_is_drawn_of_each_row_and_chart_that_is_there(imported, tmp_path):
    pytest.importorskip("matplotlib")
    plots = imported("plots")
    lines = {"Feedrace": [[1000, 2.0], [10**9, 3.0]], "numpy permutation": [[1000, 5.0]]}
    results = {
        "host": result({}, rates={"photographs": {"fused, process": 20.0, "grain": 10.0}}),
        "curves": result({}, charts={
            "memory": {"unit": "MiB", "of": "records", "lines": lines},
            "unknown": {"unit": "MiB", "of": "records", "lines": lines},
        }),
    }  # fmt: skip
    made = plots.draw(results, tmp_path)
    assert (
        list(made)
        == ["photographs.svg", "memory.svg"]
        == sorted((f.name for f in tmp_path.iterdir()), reverse=True)
    )
    for file in made:
        before = (tmp_path / file).read_bytes()
        root = ElementTree.fromstring(before)
        assert not root.findall(".//{*}rect[@style]")  # nothing hides the page behind it
        plots.draw(results, tmp_path)
        assert (tmp_path / file).read_bytes() == before


def test_hosts_that_read_a_record_twice_or_leave_one_out_are_found(imported):
    scale = imported("scale")
    numbers = np.array([7, 3, 9, 0])
    assert [part.tolist() for part in scale.shares(numbers, [(0, 2), (2, 4)], 10)] == [
        [7, 3], [9, 0]
    ]  # fmt: skip
    for rows in ([(0, 2), (1, 3)], [(0, 2), (2, 3)], [(0, 2), (0, 2)]):
        with pytest.raises(RuntimeError):
            scale.shares(numbers, rows, 10)
    with pytest.raises(RuntimeError):
        scale.shares(numbers, [(0, 4)], 9)


def test_the_blocks_of_a_store_that_hosts_fetch_are_counted(imported):
    scale = imported("scale")
    whole, half = scale.STORE_BLOCK, scale.STORE_BLOCK // 2
    parts = [np.array([0, 1, 5]), np.array([7, 6, 4])]
    assert scale.requests(parts, whole) == 3
    assert scale.requests(parts, half) == 2  # 0 and 1 lie in one, 6 and 7 too
    assert scale.requests([np.array([0, 3])], whole + 1) == 4  # each lies in two
    assert scale.requests([np.array([0])], 3 * whole) == 3


def test_the_page_of_scale_takes_what_a_filter_keeps_from_the_kept_figures(
    imported, tmp_path, monkeypatch
):
    scale = imported("scale")
    kept = {
        "compose": {"figures": {"what is kept of a filter for each record": [1.5, "bits", "2"]}}
    }
    monkeypatch.setattr(scale, "KEPT", tmp_path / "figures.json")
    scale.KEPT.write_text(json.dumps(kept))
    monkeypatch.setattr(scale.os, "sched_getaffinity", lambda _: range(7))
    costs = dict.fromkeys(("numbers", "fewer", "small", "large", "start", "late", "table"), 1.0)
    checked = {"steps": 1, "crowded": 1, "per_epoch": 1}
    page = scale.document({**costs, "state": 1}, checked, 1, [])
    assert "keep 1.5 bits a record ([`compose`](index.md)), 188 GB" in page
    assert page.count("7 cores") == 2


def test_the_kept_figures_have_what_a_filter_keeps(imported):
    assert 1 <= imported("scale").kept_bits() <= 2


def test_the_plan_serves_all_records_of_a_very_large_set_once(imported):
    scale = imported("scale")
    assert scale.turned_back(1000) == 3000
    rows = [(k, k + 64) for k in range(0, scale.BATCH, 64)]
    assert scale.simulated(1, rows)["per_epoch"] == scale.RECORDS // scale.BATCH
