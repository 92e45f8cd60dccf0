"""Run a program in one or more processes, kill it at given batches, and read what it logged."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import report

PATIENCE = 300


def attempt(python, program, given, processes=1, until=None, **variables):
    """Run a program in this many processes; SIGKILL them all once batch `until` is logged.

    Returns (the logs of the processes, whether the program ended by itself). Raises `RuntimeError`
    with the first error on standard error if a process fails, or logs nothing for five minutes.
    """
    folder = Path(given["folder"])
    number = len(list(folder.glob("log-*-0")))
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    logs, errors, started = [], [], []
    for process in range(processes):
        logs.append(folder / f"log-{number}-{process}")
        errors.append(folder / f"errors-{number}-{process}")
        own = {**given, "log": logs[-1].name, "processes": processes, "process": process}
        with open(errors[-1], "w") as error:
            started.append(
                subprocess.Popen(
                    [python, program, json.dumps({**own, "port": port})],
                    env={**os.environ, **report.QUIET, **variables},
                    stdout=subprocess.DEVNULL,
                    stderr=error,
                    start_new_session=True,  # so that its worker processes are killed with it
                )
            )
    try:
        ended = watch(started, logs[0], until)
    except RuntimeError as problem:
        texts = "".join(error.read_text(errors="replace") for error in errors)
        first = re.search(r"^[\w.]*(?:Error|Exception)\b.*", texts, re.MULTILINE)
        raise RuntimeError(first[0] if first else f"{problem}: {texts[-400:]}") from None
    finally:
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return logs, ended


def watch(started, log, until):
    """Return True when all processes have ended well, False once batch `until` is in the log."""
    at, rest, news = 0, "", time.monotonic()
    log.touch()
    with open(log) as file:
        while True:
            codes = [process.poll() for process in started]
            *lines, rest = (rest + file.read()).split("\n")
            for line in lines:
                at = json.loads(line)["begin"] if line.startswith('{"begin"') else at + 1
            if until is not None and at >= until:
                return False
            if any(codes):
                raise RuntimeError(f"a process ended with {codes}")
            if all(code == 0 for code in codes):
                return True
            if lines:
                news = time.monotonic()
            if time.monotonic() - news > PATIENCE:
                raise RuntimeError(f"nothing was logged for {PATIENCE} s")
            time.sleep(0.002)


def read(logs):
    """Return (the first line, batches) of one run, those of all its processes joined.

    A line that was being written when the process died is left out, and so is a batch that not
    all processes have logged.
    """
    parts = []
    for log in logs:
        *lines, _ = log.read_text().split("\n")
        parts.append([json.loads(line) for line in lines])
    begun = parts[0][0] if parts[0] else None
    batches = [part[1:] for part in parts]
    batches = [[batch for batch in part if "end" not in batch] for part in batches]
    return begun, [joined(batch) for batch in zip(*batches, strict=False)]


def joined(parts):
    """Return a batch from the rows of several processes."""
    parts = sorted(parts, key=lambda part: part.get("first", 0))
    whole = dict(parts[0])
    for part in parts[1:]:
        for name in ("ids", "rows", "tokens", "room"):
            whole[name] = whole[name] + part[name]
    return whole


def lived(runs):
    """Return (the batches that count, how many were made again, how many of these alike).

    `runs` are (batches served before, batches) in order. What a run made after its last saved
    state died with it: the next run, which went on from that state, made it again.
    """
    stream, again, alike = [], 0, 0
    for begin, batches in runs:
        if begin > len(stream):
            raise RuntimeError(f"a run went on at batch {begin}, but {len(stream)} were logged")
        for old, new in zip(stream[begin:], batches, strict=False):
            again += 1
            alike += old["rows"] == new["rows"]
        rest = stream[begin + len(batches) :]  # a run that was killed before it came as far
        stream = stream[:begin] + batches + rest
    return stream, again, alike


def times(batches, records, epochs):
    """Return (records lost, records repeated) over all epochs.

    If the batches say their epoch, each record counts once in each; otherwise as often as there
    are epochs, in all.
    """
    lost = repeated = 0
    joins = {batch["epoch"] for batch in batches} == {None}
    due = epochs if joins else 1
    for epoch in [None] if joins else range(epochs):
        came = [0] * records
        for batch in batches:
            if batch["epoch"] == epoch:
                for i in batch["ids"]:
                    came[i] += 1
        lost += sum(max(due - n, 0) for n in came)
        repeated += sum(max(n - due, 0) for n in came)
    return lost, repeated


def equal(batches, others):
    """Return how many batches have the same bytes as the one in the same place of another run."""
    return sum(one["rows"] == other["rows"] for one, other in zip(batches, others, strict=False))
