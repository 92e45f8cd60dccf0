"""Workers of any kind and number, killed, dropped and resumed: the batches of a single thread."""

import json
import os
import signal

import numpy as np
import parts

import feedrace
from feedrace_testing.processes import worker_processes


def built(config, workers):
    return feedrace.Pipeline(
        source=parts.Source(config["records"]),
        stages=[getattr(parts, config["stage"])],
        sampler={"use": "epoch-aware", "num_epochs": 2},
        batch_size=config["batch_size"],
        seed=config["seed"],
        prefetch=config["prefetch"],
        workers=workers,
    )


def digest(step):
    values = {name: np.asarray(value).tobytes() for name, value in step.batch.items()}
    return step.update, sorted(values.items())


def attack(rng):
    config = {
        "records": rng.randrange(1, 80),
        "batch_size": rng.randrange(1, 12),
        "seed": rng.randrange(2**32),
        "stage": rng.choice(["padded", "drawn"]),
        "prefetch": rng.choice([0, 1, 2, 4]),
    }
    expected = [digest(step) for step in built(config, 0).steps()]
    count, kills, parts_of_run = rng.randrange(1, 4), 0, 0
    kind = rng.choice(["thread", "thread", "process"])
    pipeline, got = built(config, {"kind": kind, "count": count}), []
    while len(got) < len(expected):
        stop = rng.choice([rng.randrange(1, 6), 10**9])
        running = pipeline.steps()
        for step in running:
            got.append(digest(step))
            stop -= 1
            if kind == "process" and rng.random() < 0.1 and kills < 2:
                for pid in worker_processes()[:1]:
                    os.kill(pid, signal.SIGKILL)
                    kills += 1
            if not stop or len(got) == len(expected):
                break
        if rng.random() < 0.7:
            running.close()
        state = json.loads(json.dumps(pipeline.get_state()))
        if rng.random() < 0.5:  # on with other workers, which are no part of the state
            kind, count = rng.choice([("thread", 2), ("thread", 3), (kind, count)])
            pipeline = built(config, {"kind": kind, "count": count})
            pipeline.set_state(state)
        parts_of_run += 1
    assert got == expected, config
    running.close()
    return f"{kind}, {'killed' if kills else 'whole' if parts_of_run == 1 else 'resumed'}"
