"""Workers: the same batches from any number of either kind, and nothing lost or left."""

import contextlib
import functools
import gc
import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest

import feedrace
from feedrace.errors import ConfigError, DataError, FeedraceError, WorkerWarning, class_name
from feedrace_testing.processes import worker_processes

PROCESSES = {"kind": "process", "count": 2}


@pytest.fixture(autouse=True)
def parts(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import worker_parts

    return worker_parts


@pytest.fixture(autouse=True)
def nothing_left():
    """No test leaves a worker's thread, a process or shared memory behind."""
    before = worker_threads()  # that tests of another file keep
    yield
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and (worker_processes() or worker_threads() - before):
        gc.collect()
        time.sleep(0.02)
    assert not worker_processes()
    assert not worker_threads() - before


def worker_threads():
    return {t for t in threading.enumerate() if t.name.startswith("feedrace-worker")}


def ran(script, text):
    """Write a program and run it."""
    script.write_text(text)
    command = [sys.executable, script]
    return subprocess.run(command, capture_output=True, text=True, timeout=200)


def digest(batches):
    whole = hashlib.blake2b(digest_size=8)
    for batch in batches:
        for name, value in sorted(batch.items()):
            array = np.asarray(value)
            is_text = array.dtype.hasobject
            whole.update(name.encode())
            whole.update(repr(array.tolist()).encode() if is_text else array.tobytes())
    return whole.hexdigest()


def make(parts, workers, stages=None, *, length=203, **options):
    options = {"batch_size": 10, "seed": 3, **options}
    stages = [parts.drawn] if stages is None else stages
    return feedrace.Pipeline(
        source=parts.Readable(length), stages=stages, workers=workers, **options
    )


@pytest.mark.parametrize("prefetch", [0, 3])
@pytest.mark.parametrize("workers", [None, 1, 5, PROCESSES])
def test_any_workers_give_the_same_batches(parts, workers, prefetch):
    expected = [digest(make(parts, 0)), digest(make(parts, 0, [parts.imports]))]
    made = make(parts, workers, prefetch=prefetch)
    assert digest(made) == expected[0]
    assert digest(make(parts, None, [parts.imports])) == expected[1]


def test_a_resumed_run_with_other_workers_goes_on_with_the_same_batches(parts):
    whole = list(make(parts, 0))
    first = make(parts, 3)
    with iter(first) as batches:
        head = [next(batches) for _ in range(8)]
    second = make(parts, PROCESSES)
    second.set_state(first.get_state())
    assert digest([*head, *second]) == digest(whole)


def test_processes_import_no_jax(parts):
    batch = next(iter(make(parts, PROCESSES, [parts.imports], length=4)))
    assert not np.asarray(batch["seen"]).any()


@pytest.mark.together
def test_text_objects_and_ragged_fields_cross_process_borders(parts):
    pytest.importorskip("feedrace_batchers")
    batcher = {"use": "bucket", "fields": ["tokens"], "boundaries": [3, 6], "window": 4}
    by_threads, by_processes = (
        digest(make(parts, workers, [parts.worded], batcher=batcher)) for workers in (2, PROCESSES)
    )
    assert by_threads == by_processes


@pytest.mark.together
def test_ragged_fields_cross_process_borders_if_records_are_left_out(parts):
    pytest.importorskip("feedrace_batchers")
    batcher = {"use": "bucket", "fields": ["tokens"], "boundaries": [8], "window": 2}
    found = [
        digest(
            feedrace.Pipeline(
                source=parts.Holed(40),
                batch_size=4,
                workers=workers,
                stages=[parts.counted],
                batcher=batcher,
            )
        )
        for workers in (0, PROCESSES)
    ]
    assert found[0] == found[1]


@pytest.mark.together
def test_memory_that_is_too_small_grows(parts):
    """An axis that varies counts 256 entries at first; these records have 4,096."""
    pytest.importorskip("feedrace_batchers")
    batcher = {"use": "bucket", "fields": ["big"], "boundaries": [4096], "window": 2}
    pipeline = make(parts, PROCESSES, [parts.enlarged], batcher=batcher, length=45)
    seen = [b["big"][np.asarray(b["valid_mask"]), 0].tolist() for b in pipeline]
    assert sorted(itertools.chain(*seen)) == list(range(45))


@pytest.mark.together
def test_records_beyond_the_limit_of_the_memory_are_an_error_that_says_it(parts, monkeypatch):
    pytest.importorskip("feedrace_batchers")
    monkeypatch.setattr("feedrace.host.workers.usable_memory", lambda: 1 << 21)
    batcher = {"use": "bucket", "fields": ["big"], "boundaries": [4096], "window": 2}
    pipeline = make(parts, PROCESSES, [parts.enlarged], batcher=batcher)
    with pytest.raises(DataError, match="worker processes pass on 0 MiB at most"):
        list(pipeline)


def test_batches_that_the_loop_keeps_are_never_written_again(parts):
    kept = list(make(parts, PROCESSES, length=400))
    assert digest(kept) == digest(make(parts, 0, length=400))


@pytest.mark.together
def test_text_in_windows_keeps_its_shape_if_many_batches_are_kept(parts):
    """Beyond a number of batches each is copied out of the memory that processes share."""
    pytest.importorskip("feedrace_samplers")
    sampler = {"use": "sliding-window", "window_size": 4}
    stages = [parts.worded, feedrace.record(parts.without_tokens, spec={"tokens": None})]
    kept = list(make(parts, PROCESSES, stages, sampler=sampler, prefetch=0))
    assert {batch["words"].shape for batch in kept} == {(10, 4)}
    assert digest(kept) == digest(make(parts, 0, stages, sampler=sampler))


def test_a_worker_that_dies_loses_nothing_and_is_counted(parts, tmp_path):
    stages = [parts.DiesOnce(str(tmp_path)), parts.drawn]
    with pytest.warns(
        WorkerWarning, match=r"killed by SIGKILL while it made .*\(1 so far\)"
    ) as met:
        got = digest(make(parts, PROCESSES, stages))
    assert len(met) == 1
    assert got == digest(make(parts, 0))


@pytest.mark.slow
def test_workers_that_are_killed_at_any_time_are_replaced(parts):
    expected = digest(make(parts, 0, [parts.drawn], length=600))
    killed = []
    stages = [parts.drawn, feedrace.record(parts.pause)]
    with warnings.catch_warnings(), make(parts, PROCESSES, stages, length=600).steps() as steps:
        warnings.simplefilter("ignore", WorkerWarning)
        batches = []
        for number, step in enumerate(steps):
            batches.append(step.batch)
            if number % 10 == 3:
                for pid in worker_processes()[:1]:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
    assert killed
    assert digest(batches) == expected


def test_three_deaths_at_one_step_are_an_error_that_names_it(parts):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WorkerWarning)
        with pytest.raises(FeedraceError, match="3 worker processes died") as caught:
            list(make(parts, PROCESSES, [parts.dies_at_57]))
    assert "update 6, records [50, 51" in str(caught.value)


def test_an_error_comes_at_its_step_with_the_workers_traceback(parts):
    seen = []
    with pytest.raises(ValueError, match="a stage that fails") as caught:
        seen.extend(step.update for step in make(parts, PROCESSES, [parts.fails_at_57]).steps())
    assert seen == [1, 2, 3, 4, 5]
    notes = "\n".join(caught.value.__notes__)
    assert "in record stage worker_parts:fails_at_57, record 57" in notes
    assert "in fails_at_57" in notes  # a frame of the traceback
    assert "in worker process" in notes


def test_stages_and_sources_that_processes_cannot_hold_are_named(parts):
    local = feedrace.record(lambda record: record)
    with pytest.raises(ConfigError, match=r"workers: record stage .*<lambda> cannot be pickled"):
        make(parts, PROCESSES, [local])
    with pytest.raises(ConfigError, match=r"workers: source .*Serial has no reader\(\)"):
        feedrace.Pipeline(source=parts.Serial(9), batch_size=3, workers=PROCESSES)
    assert digest(make(parts, 2, [local])) == digest(make(parts, 0, []))


def test_a_source_may_be_its_own_reader(parts):
    pipeline = feedrace.Pipeline(source=parts.OwnReader(9), batch_size=3, workers=PROCESSES)
    assert digest(pipeline) == digest(
        feedrace.Pipeline(source=parts.Readable(9), batch_size=3, workers=0)
    )
    assert set(pipeline.stats()["workers"]) == {"batches", "process 0", "process 1"}


def test_processes_call_objects_that_are_no_functions(parts):
    calls = [parts.Scaled(np.float32(3)), functools.partial(parts.scaled, np.float32(2))]
    stages = [feedrace.record(call) for call in calls]
    assert digest(make(parts, PROCESSES, stages, length=40)) == digest(
        make(parts, 0, stages, length=40)
    )


def test_a_source_without_a_reader_is_read_in_order_by_one_thread(parts):
    source = parts.Serial(40)
    pipeline = feedrace.Pipeline(
        source=source, batch_size=4, workers=3, stages=[parts.drawn], seed=3
    )
    expected = feedrace.Pipeline(
        source=parts.Readable(40), batch_size=4, workers=0, stages=[parts.drawn], seed=3
    )
    assert digest(pipeline) == digest(expected)
    assert list(itertools.chain(*source.fetched)) == list(range(40))


@pytest.mark.parametrize("workers", [2, PROCESSES])
def test_what_readers_note_comes_in_the_order_of_the_steps(parts, workers):
    source = parts.Holed(40)
    masks = [
        batch["valid_mask"].tolist()
        for batch in feedrace.Pipeline(source=source, batch_size=10, workers=workers)
    ]
    assert masks == [[False, True, True, True, True] * 2] * 4
    if workers is PROCESSES:  # threads share a reader that is not made for them
        assert source.notes == [[0, 5], [10, 15], [20, 25], [30, 35]]


@pytest.mark.parametrize("workers", [2, PROCESSES])
@pytest.mark.parametrize("end", ["close", "drop", "error"])
def test_an_iteration_that_ends_early_leaves_nothing(parts, workers, end):
    iterator = iter(make(parts, workers, [parts.slow_with_pid], length=2000))
    next(iterator)
    assert worker_threads()
    if end == "close":
        iterator.close()
        assert not worker_processes()
        assert not worker_threads()
    elif end == "error":
        with pytest.raises(RuntimeError), iterator:
            raise RuntimeError
    del iterator  # the fixture waits until nothing is left


@pytest.mark.parametrize("workers", [2, PROCESSES])
def test_a_newer_iteration_runs_beside_an_older_one_that_is_not_closed(parts, workers):
    pipeline = make(parts, workers, [parts.slow_with_pid], length=400)
    older = iter(pipeline)
    next(older)
    newer = pipeline.steps()
    assert [step.update for step in newer] == list(range(2, 41))
    with pytest.raises(FeedraceError, match="out of date"):
        next(older)
    newer.close()


def test_the_notes_of_an_error_that_cannot_be_pickled_come_along(parts):
    with pytest.raises(FeedraceError, match="OddError: 57 is odd") as caught:
        list(make(parts, PROCESSES, [parts.odd_at_57]))
    assert "in record stage worker_parts:odd_at_57, record 57" in caught.value.__notes__


def test_workers_whose_threads_all_died_are_an_error(parts, monkeypatch):
    monkeypatch.setattr("feedrace.host.workers._work", lambda *args: None)
    with pytest.raises(FeedraceError, match="threads of all workers died"):
        list(make(parts, 2))


@pytest.mark.slow
def test_a_killed_parent_leaves_no_worker(parts, tmp_path):
    program = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import feedrace, numpy as np, worker_parts as parts\n"
        "pipeline = feedrace.Pipeline(source=parts.Readable(10**6), batch_size=10,\n"
        "    stages=[parts.slow_with_pid], workers={'kind': 'process', 'count': 2})\n"
        "for batch in pipeline:\n"
        "    print(*np.unique(np.asarray(batch['pid'])), flush=True)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    )
    pids = {int(child.stdout.readline()) for _ in range(3)}
    child.kill()
    child.communicate()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any(Path(f"/proc/{pid}").exists() for pid in pids):
        time.sleep(0.02)
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """The lines of a program whose functions and error class processes need."""
    done = ran(
        tmp_path_factory.mktemp("program") / "script.py",
        "import sys, pathlib; sys.path.insert(0, pathlib.Path('nowhere'))  # import skips it\n"
        "import numpy as np, feedrace\n"
        "class Odd(Exception):\n"
        "    pass\n"
        "def doubled(record):\n"
        "    return {'x': record['x'] * 2}\n"
        "def fails(record):\n"
        "    raise Odd('it is odd')\n"
        "def made(function):\n"
        "    return feedrace.Pipeline(\n"
        "        source={'use': 'memory', 'data': {'x': np.arange(6)}}, batch_size=3,\n"
        "        stages=[feedrace.record(function)], workers={'kind': 'process', 'count': 1})\n"
        "if __name__ == '__main__':\n"
        "    print([batch['x'].tolist() for batch in made(doubled)])\n"
        "    try:\n"
        "        next(iter(made(fails)))\n"
        "    except Odd as error:\n"
        "        print(error)\n",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_functions_of_the_program_itself_reach_processes(printed):
    assert printed[0] == "[[0, 2, 4], [6, 8, 10]]"


@pytest.mark.slow
def test_modules_that_import_multiprocessing_hide_no_function_of_the_program(parts, tmp_path):
    done = ran(
        tmp_path / "script.py",
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import multiprocessing, feedrace, worker_parts as parts\n"
        "class Number:\n"
        "    pass\n"
        "@feedrace.record(spec={'o': parts.leaf((), object)})\n"
        "def classed(record):\n"
        "    return {**record, 'o': Number()}\n"
        "if __name__ == '__main__':\n"
        "    pipeline = feedrace.Pipeline(source=parts.ImportsMultiprocessing(2), batch_size=2,\n"
        "        stages=[classed], workers={'kind': 'process', 'count': 1})\n"
        "    print([isinstance(o, Number) for batch in pipeline for o in batch['o']])\n",
    )
    assert done.stdout == "[True, True]\n", done.stderr


@pytest.mark.slow
def test_files_in_the_working_directory_hide_no_module_from_workers(parts, tmp_path):
    (tmp_path / "json.py").write_text("raise SystemExit('not the json of Python')\n")
    script = tmp_path / "elsewhere" / "script.py"
    script.parent.mkdir()
    script.write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import feedrace, worker_parts as parts\n"
        "for batch in feedrace.Pipeline(source=parts.Readable(2), batch_size=2,\n"
        "    workers={'kind': 'process', 'count': 1}):\n"
        "    print(batch['i'].tolist())\n"
    )
    path = os.environ.get("PYTHONPATH", "").strip(os.pathsep)  # an empty entry is this directory
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.stdout == "[0, 1]\n", done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("started", [["-c", "PROGRAM"], ["-"]])
def test_stages_of_a_session_are_refused_before_processes_start(parts, started):
    program = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import feedrace, worker_parts as parts\n"
        "@feedrace.record\n"
        "def same(record):\n"
        "    return record\n"
        "feedrace.Pipeline(source=parts.Readable(2), batch_size=2, stages=[same],\n"
        "    workers={'kind': 'process', 'count': 1})\n"
    )
    arguments = [program if one == "PROGRAM" else one for one in started]
    done = subprocess.run(
        [sys.executable, *arguments], input=program, capture_output=True, text=True
    )
    expected = "ConfigError: workers: record stage __main__:same is defined in an interactive"
    assert expected in done.stderr


def test_lines_that_a_stage_prints_in_a_process_are_shown_on_standard_error(
    parts, capfd, monkeypatch
):
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    list(make(parts, {"kind": "process", "count": 1}, [parts.prints]))
    shown = capfd.readouterr()
    assert "three was here\n" in shown.err
    assert not shown.out


def test_a_stage_that_asks_for_input_in_a_process_finds_none(parts):
    with pytest.raises(EOFError):
        list(make(parts, {"kind": "process", "count": 1}, [parts.asks]))


@pytest.mark.parametrize(
    "stage",
    [
        lambda p: feedrace.record(functools.partial(p.shifted, amount=2)),
        lambda p: feedrace.record(p.Shift(2)),
        lambda p: feedrace.record(p.Shift(2).__call__),
    ],
    ids=["partial", "object", "method"],
)
def test_any_function_that_can_be_pickled_reaches_processes(parts, stage):
    stage = stage(parts)
    assert digest(make(parts, PROCESSES, [stage])) == digest(make(parts, 0, [stage]))
    assert class_name(stage).startswith("worker_parts:")


def test_objects_that_cannot_be_pickled_are_an_error_that_names_their_field(parts):
    with pytest.raises(DataError, match=r"field 'o' holds objects that cannot be pickled"):
        list(make(parts, PROCESSES, [parts.with_lambda]))
    assert len(list(make(parts, 2, [parts.with_lambda], length=20))) == 2


def test_an_error_class_of_the_program_itself_comes_back_from_processes(printed):
    assert printed[1] == "it is odd"


def test_a_worker_that_cannot_be_started_is_an_error(parts, monkeypatch):
    def refused(*args, **kwargs):
        raise ValueError("no process today")

    monkeypatch.setattr("feedrace.host.worker_process.subprocess.Popen", refused)
    with pytest.warns(WorkerWarning), pytest.raises(ValueError, match="no process today"):
        list(make(parts, {"kind": "process", "count": 1}))


@pytest.mark.parametrize("workers", [0, 4, PROCESSES])
def test_batches_that_the_loop_lets_go_are_freed(parts, workers, tmp_path):
    pipeline = make(parts, workers, length=400)
    for traced in (contextlib.nullcontext(), pipeline.traced(tmp_path / "trace.json")):
        gc.collect()
        before = len(jax.live_arrays())
        with traced:
            for step in pipeline.steps():  # noqa: B007
                pass
            del step
            gc.collect()
            assert len(jax.live_arrays()) <= before


def test_shared_memory_is_freed_at_the_end_of_an_iteration_without_garbage_collection(parts):
    """Each iteration has 10 blocks; JAX may hold those of the last batches for a while."""
    gc.collect()
    before = shared_files()
    pipeline = make(parts, PROCESSES, length=40)
    gc.disable()
    try:
        for _ in range(3):
            assert len(list(pipeline)) == 4
        assert shared_files() < before + 10
    finally:
        gc.enable()


def test_a_batch_that_is_kept_keeps_no_memory_of_the_others(parts):
    """One block stays, of those that the iteration had; each is a file."""
    gc.collect()
    before = shared_files()
    kept = next(iterator := iter(make(parts, PROCESSES, [parts.slow_with_pid])))
    assert shared_files() > before + 4
    iterator.close()
    del iterator
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and shared_files() > before + 1:
        gc.collect()
        time.sleep(0.02)
    assert shared_files() <= before + 1
    assert kept["i"].shape == (10,)


def shared_files():
    """Return how many files of shared memory this process has open."""
    names = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            names.append(os.readlink(entry))
    return sum("memfd:feedrace" in name for name in names)


@pytest.mark.slow
def test_a_program_without_a_main_guard_learns_of_it(parts, tmp_path):
    done = ran(
        tmp_path / "script.py",
        "import numpy as np, feedrace\n"
        "def doubled(record):\n"
        "    return {'x': record['x'] * 2}\n"
        "pipeline = feedrace.Pipeline(\n"
        "    source={'use': 'memory', 'data': {'x': np.arange(6)}}, batch_size=3,\n"
        "    stages=[feedrace.record(doubled)], workers={'kind': 'process', 'count': 1})\n"
        "print([batch['x'].tolist() for batch in pipeline])\n",
    )
    assert done.returncode
    assert "if __name__ == '__main__':" in done.stderr


@pytest.mark.parametrize(
    ("workers", "message"),
    [
        (-1, "workers: -1 is not an int from 0"),
        ({"kind": "fork"}, "workers.kind: 'fork' is none of thread, process"),
        ({"kind": "process", "cuont": 2}, r"workers.cuont: no such key; did you mean 'count'\?"),
        ({"kind": "process", "count": 10**9}, "workers.count: 1000000000 is not"),
        ("two", "workers: "),
    ],
)
def test_wrong_workers_are_refused(parts, workers, message):
    with pytest.raises(ConfigError, match=message):
        make(parts, workers)
    with pytest.raises(ConfigError, match=message):
        feedrace.build({
            "source": {"use": "memory", "data": {"x": [1]}}, "batch_size": 1, "workers": workers
        })  # fmt: skip


def test_more_processes_than_cpus_are_warned_of(parts):
    with pytest.warns(WorkerWarning, match="1024 worker processes share"):
        make(parts, {"kind": "process", "count": 1024})


def test_workers_are_in_the_config_and_not_in_the_state(parts):
    source = {"use": "memory", "data": {"x": np.arange(9)}}
    two, none = (
        feedrace.Pipeline(source=source, batch_size=3, workers=workers) for workers in (2, 0)
    )
    assert two.config["workers"] == 2
    assert two.get_state() == none.get_state()


def test_stats_show_what_each_worker_does(parts):
    pipeline = make(parts, 2, [parts.slow_with_pid])
    list(pipeline)
    stats = pipeline.stats()
    assert stats["seconds"]["record stages"] > 0.2
    assert {"batches", "thread 0", "thread 1"} == set(stats["workers"])
    assert sum(stats["workers"][f"thread {i}"]["steps"] for i in range(2)) == 21
    for worker in stats["workers"].values():
        assert worker["work"] + worker["input"] + worker["room"] == pytest.approx(1)


@pytest.mark.parametrize("workers", [2, PROCESSES])
def test_a_trace_shows_what_each_worker_did_for_each_step(parts, workers, tmp_path):
    pipeline = make(parts, workers, [parts.slow_with_pid], length=40)
    with pipeline.traced(tmp_path / "trace.json"):
        list(pipeline)
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    names = {e["tid"]: e["args"]["name"] for e in events if e["ph"] == "M"}
    kind = "thread" if workers == 2 else "process"
    assert set(names.values()) == {"loop", "batches", f"{kind} 0", f"{kind} 1"}
    worked = [e for e in events if e["name"] == "record stages"]
    assert {e["args"]["update"] for e in worked} == {1, 2, 3, 4}
    assert all(names[e["tid"]].startswith(kind) and e["dur"] > 0 for e in worked)
    loop = [e for e in events if names[e["tid"]] == "loop" and e["ph"] == "X"]
    assert {e["name"] for e in loop} >= {"waiting", "training"}
    with pytest.raises(OSError), pipeline.traced(tmp_path / "nowhere" / "trace.json"):
        raise AssertionError


def test_an_interrupt_in_the_loop_leaves_nothing(parts, tmp_path):
    program = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import feedrace, signal, numpy as np, worker_parts as parts\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "pipeline = feedrace.Pipeline(source=parts.Readable(10**6), batch_size=10,\n"
        "    stages=[parts.slow_with_pid], workers={'kind': 'process', 'count': 2})\n"
        "for batch in pipeline:\n"
        "    print(*np.unique(np.asarray(batch['pid'])), flush=True)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        start_new_session=True,
    )
    pids = {int(child.stdout.readline()) for _ in range(3)}
    os.killpg(child.pid, signal.SIGINT)  # as a terminal does
    _, errors = child.communicate(timeout=100)
    assert child.returncode
    assert errors.strip().endswith("KeyboardInterrupt")
    assert errors.count("Traceback") == 1
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any(Path(f"/proc/{pid}").exists() for pid in pids):
        time.sleep(0.02)
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_threads_that_cannot_start_leave_none_behind(parts, monkeypatch):
    started = []
    begin = threading.Thread.start

    def start(thread):
        if thread.name == "feedrace-worker-2":
            raise RuntimeError("can't start new thread")
        started.append(thread)
        begin(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        list(make(parts, 4, prefetch=0))
    assert len(started) == 2
