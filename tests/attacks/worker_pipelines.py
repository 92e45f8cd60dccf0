"""Random pipelines by threads and processes, compared with the same one without workers.

They are stopped and resumed with other workers, closed, dropped, and broken by errors; workers are
killed; batches are kept, donated, and made by two pipelines at once. Nothing may be left.
"""

import contextlib
import gc
import hashlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import jax
import numpy as np

import feedrace
from feedrace.errors import ConfigError, WorkerWarning

sys.path.insert(0, str(Path(__file__).parent))
import worker_stages as parts

PATIENCE = 60  # seconds until everything must be gone


def attack(rng):
    """Make one trial; return its outcome."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", WorkerWarning)
        plan = drawn(rng, folder)
        scenario = rng.choice([whole, killed, kept] if "scheduler" in plan else SCENARIOS)
        try:
            expected = run(build(plan, 0))
        except ConfigError as error:
            return f"refused: {str(error)[:40]!r}"
        workers = drawn_workers(rng, plan)
        (Path(folder) / "once").unlink(missing_ok=True)
        outcome = scenario(rng, plan, workers, expected)
        check_nothing_left()
    kind = workers["kind"] if isinstance(workers, dict) else "thread"
    return f"{kind}: {scenario.__name__}{' to an error' * (expected[-1][0] == 'error')}{outcome}"


def drawn(rng, folder):
    """Return a plan of a pipeline: values from which equal ones are made."""
    kind = rng.choice(["plain", "text", "ragged"])
    n = rng.randrange(1, 90)
    batcher = rng.choice([None, {"use": "default"}])
    stages = rng.sample([parts.drawn, parts.jittered, parts.worded], rng.randrange(3))
    if kind == "ragged":
        batcher = rng.choice([
            {"use": "bucket", "fields": ["tokens"], "boundaries": [2, 6]},
            {"use": "pack", "fields": {"tokens": 9}},
        ])  # fmt: skip
        batcher["window"] = rng.randrange(1, 9)
    if rng.random() < 0.4:
        stages += [parts.lengthened, parts.summed]
    if rng.random() < 0.25:
        stages.insert(rng.randrange(len(stages) + 1), parts.Fails(
            rng.randrange(n), rng.choice(["value", "key", "odd", "stop", "exit"])))  # fmt: skip
    if rng.random() < 0.3:
        how = rng.choice(["pickled", 0, 1, 7, 8, 9, 100, 70_000])
        stages.append(parts.Texts(rng.randrange(n), os.path.join(folder, "once"), how))
    if batcher and batcher["use"] == "pack":
        stages.append(parts.only_tokens)
    else:
        stages += [parts.Adds("host")] * (rng.random() < 0.3)
        stages += [parts.Adds("device")] * (rng.random() < 0.3)
    sampler = rng.choice([
        None,
        {"use": "sequential", "num_epochs": rng.randrange(1, 3)},
        {"use": "epoch-aware", "num_epochs": rng.randrange(1, 3)},
        {"use": "shuffle"},
        {"use": "sliding-window", "window_size": rng.randrange(1, min(n, 4) + 1)},
    ])  # fmt: skip
    if kind == "ragged" and sampler and sampler["use"] == "sliding-window":
        sampler = None
    size = rng.randrange(1, 13)
    plan = {
        "source": (rng.choice(["Read", "Read", "Holed", "Serial"]), kind, n),
        "stages": stages,
        "batch_size": size,
        "prefetch": rng.choice([0, 0, 1, 2, 4]),
        "seed": rng.randrange(99),
        "sampler": sampler,
        "batcher": batcher,
        "drop_remainder": kind != "ragged" and n >= size + 4 and rng.random() < 0.3,
    }
    if rng.random() < 0.1:
        plan["scheduler"] = parts.Breaks(rng.randrange(1, 9))
    elif rng.random() < 0.3:
        plan["callback"] = (rng.choice(["Read", "Serial"]), kind, rng.randrange(1, 30))
    return plan


def drawn_workers(rng, plan):
    serial = "Serial" in (plan["source"][0], plan.get("callback", [""])[0])
    if serial or rng.random() < 0.3:
        return rng.randrange(1, 6)
    return {"kind": "process", "count": rng.randrange(1, 4)}


def build(plan, workers):
    options = dict(plan)
    source, *config = options.pop("source")
    callback = options.pop("callback", None)
    if callback is not None:
        name, *other = callback
        options["scheduler"] = {
            "use": "interleaved",
            "callbacks": [{"stream": "test", "every_n_updates": 2,
                           "source": getattr(parts, name)(*other)}],
        }  # fmt: skip
    return feedrace.Pipeline(source=getattr(parts, source)(*config), workers=workers, **options)


def digest(batch):
    whole = hashlib.blake2b(digest_size=8)
    for path, leaf in jax.tree_util.tree_leaves_with_path(batch):
        array = np.asarray(leaf)
        is_text = array.dtype.hasobject
        whole.update(f"{path}{array.dtype}{array.shape}".encode())
        whole.update(repr(array.tolist()).encode() if is_text else array.tobytes())
    return whole.hexdigest()


def shown(pipeline, step, batch=None):
    value = step.stream, step.epoch, step.update, step.sample, step.indices.tolist(), step.start
    made = digest(step.batch if batch is None else batch)
    return "step", value, step.first, step.last, made, json.dumps(pipeline.get_state())


def failure(error):
    """Return what is the same of an error whichever worker raised it."""
    notes = [
        note for note in getattr(error, "__notes__", ()) if not note.startswith("in worker process")
    ]
    text = str(error).removeprefix("OddError: ")  # one that cannot be pickled comes with its name
    return "error", text, notes


def run(pipeline, most=None, each=lambda number: None):
    """Return all steps that are left, each with the state after it, and how they end."""
    found = []
    try:
        with pipeline.steps() as steps:
            for step in steps:
                found.append(shown(pipeline, step))
                each(len(found))
                if len(found) == most:
                    return found
    except (Exception, SystemExit) as error:  # noqa: BLE001
        return [*found, failure(error)]
    return [*found, ("end", json.dumps(pipeline.get_state()))]


def check(found, expected):
    for number, (one, other) in enumerate(zip(found, expected, strict=False)):
        assert one == other, (number, one, other)
    assert len(found) == len(expected), (len(found), len(expected), found[-1], expected[-1])


def whole(rng, plan, workers, expected):
    check(run(build(plan, workers)), expected)
    return ""


def resumed(rng, plan, workers, expected):
    """Stop somewhere, once or twice, and go on with other workers from the state as text."""
    done, state = 0, None
    for count in (workers, drawn_workers(rng, plan), rng.choice([0, 1, workers])):
        pipeline = build(plan, count)
        if state is not None:
            pipeline.set_state(json.loads(state))
        most = rng.randrange(1, len(expected) + 1)
        if count != workers and rng.random() < 0.5:
            most = None
        found = run(pipeline, most)
        check(found, expected[done : done + len(found)])
        done += len(found)
        if found[-1][0] != "step":
            return ""
        state = found[-1][-1]
    return ""


def ended(rng, plan, workers, expected):
    """Leave the loop in some way, and iterate the pipeline again from where it stands."""
    pipeline = build(plan, workers)
    how = rng.choice(["close", "drop", "raise", "anew", "nothing"])
    most = rng.randrange(0, len(expected))
    steps = pipeline.steps()
    found = []
    try:
        for _ in range(most):
            found.append(shown(pipeline, next(steps)))
        if how == "raise":
            with steps:
                raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    if how == "close":
        steps.close()
    if how in ("drop", "anew"):
        steps = iter(pipeline.steps()) if how == "anew" else None
        del steps
    if how == "nothing":
        with contextlib.suppress(Exception, SystemExit):
            for _ in steps:
                pass
        return " (nothing)"
    if found and expected[len(found)][0] == "end":
        return f" ({how})"  # the next pass would begin
    check([*found, *run(pipeline)], expected)
    return f" ({how})"


def killed(rng, plan, workers, expected):
    """Kill workers at random steps, or stop them for a while; three deaths are an error."""
    signals = [rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP]) for _ in range(2)]
    at = {rng.randrange(len(expected)) for _ in signals}
    timers = []

    def each(number):
        if number in at and signals:
            for pid in rng.sample(sorted(children()), min(1, len(children()))):
                sent = signals.pop()
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, sent)
                if sent == signal.SIGSTOP:
                    timers.append(threading.Timer(rng.random() / 5, wake, [pid]))
                    timers[-1].start()

    deadly = any(isinstance(stage, parts.Texts) for stage in plan["stages"])
    found = run(build(plan, workers), each=(lambda number: None) if deadly else each)
    for timer in timers:
        timer.join()
    check(found, expected)
    return ""


def wake(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def kept(rng, plan, workers, expected):
    """Keep batches, all or some, and look at them in the end."""
    pipeline = build(plan, workers)
    share = rng.choice([0.3, 1])
    batches, found = {}, []
    try:
        for number, step in enumerate(pipeline.steps()):
            if rng.random() < share:
                batches[number] = step
            found.append(shown(pipeline, step))
    except (Exception, SystemExit) as error:  # noqa: BLE001
        found.append(failure(error))
    else:
        found.append(("end", json.dumps(pipeline.get_state())))
    del pipeline
    check(found, expected)
    for number, step in batches.items():
        assert digest(step.batch) == expected[number][4], number
    return ""


_donated = jax.jit(lambda x, i: (x + 1, i * 2), donate_argnums=(0, 1))


def donated(rng, plan, workers, expected):
    """Give batches away to a jitted step, and look at what it made in the end."""
    if parts.only_tokens in plan["stages"]:
        return whole(rng, plan, workers, expected)
    made = []
    with contextlib.suppress(Exception, SystemExit), build(plan, workers).steps() as steps:
        for step in steps:
            x, i = np.array(step.batch["x"]), np.array(step.batch["i"])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made.append((x, i, *_donated(step.batch["x"], step.batch["i"])))
    assert len(made) == len(expected) - 1, (len(made), len(expected))
    for x, i, new_x, new_i in made:
        np.testing.assert_array_equal(x + 1, new_x)
        np.testing.assert_array_equal(i * 2, new_i)
    return ""


def mixed(rng, plan, workers, expected):
    """Mix `step()`, loops over batches and loops over steps."""
    pipeline = build(plan, workers)
    total = sum(one[0] == "step" for one in expected)
    done = 0
    try:
        while done < total:
            how = rng.choice(["step", "steps", "batches"])
            for _ in range(rng.randrange(1, 4)) if how == "step" else ():
                if done < total:
                    batch = pipeline.step()
                    assert digest(batch) == expected[done][4], (done, how)
                    assert json.dumps(pipeline.get_state()) == expected[done][5], (done, how)
                    done += 1
            if how != "step" and done < total:
                most = rng.randrange(1, 5)
                items = iter(pipeline) if how == "batches" else pipeline.steps()
                for item in items:
                    batch = item if how == "batches" else item.batch
                    assert digest(batch) == expected[done][4], (done, how)
                    done, most = done + 1, most - 1
                    if not most or done == total:
                        break
                del items
    except AssertionError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001
        assert done == total, (done, total, error)
        assert expected[-1] == failure(error), (expected[-1], failure(error))
    return ""


def together(rng, plan, workers, expected):
    """Iterate two pipelines at once, in turns or in two threads."""
    others = [workers, drawn_workers(rng, plan)]
    if rng.random() < 0.5:
        results = {}

        def work(number):
            with warnings.catch_warnings():
                results[number] = run(build(plan, others[number]))

        threads = [threading.Thread(target=work, args=[number]) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for number in range(2):
            check(results[number], expected)
        return " (threads)"
    pipelines = [build(plan, count) for count in others]
    iterators = [pipeline.steps() for pipeline in pipelines]
    found = [[], []]
    going = [0, 1]
    while going:
        number = rng.choice(going)
        try:
            found[number].append(shown(pipelines[number], next(iterators[number])))
        except StopIteration:
            found[number].append(("end", json.dumps(pipelines[number].get_state())))
            going.remove(number)
        except (Exception, SystemExit) as error:  # noqa: BLE001
            found[number].append(failure(error))
            going.remove(number)
    for one in found:
        check(one, expected)
    return ""


SCENARIOS = [whole, resumed, ended, killed, kept, donated, mixed, together]


def children():
    """Return the ids of this process's worker processes, the dead ones that are there too."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            _, rest = (entry / "stat").read_text().split("(", 1)[1].rsplit(")", 1)
            if int(rest.split()[1]) == os.getpid():
                found.add(int(entry.name))
    return found


def left():
    """Return what is left of pipelines that are gone."""
    threads = [t.name for t in threading.enumerate() if t.name.startswith("feedrace-")]
    files = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            files.append(os.readlink(entry))
    files = [name for name in files if "memfd:feedrace" in name]
    return sorted(children()), threads, files


def check_nothing_left():
    deadline = time.monotonic() + PATIENCE
    while any(left()):
        gc.collect()
        assert time.monotonic() < deadline, left()
        time.sleep(0.01)
