"""Interleaved schedules: indices per second, far starts, and the switch to an evaluation.

1,000,000 train records in batches of 128, an evaluation of 10,000 every 1,000 updates.
"""

import time

import numpy as np
from measure import alternate, report

import feedrace
from feedrace.plugin import plan_stream
from feedrace_interleave import (
    CallbackConfig,
    InterleavedSampler,
    InterleavedSamplerConfig,
    InterleavedScheduler,
    InterleavedSchedulerConfig,
    SamplerIntervalConfig,
)

TRAIN, TEST, BATCH, EVERY, UPDATES = 1_000_000, 10_000, 128, 1_000, 4_000


def pair_by_pair(train, test):
    """The design of the interface's reference: counters and checks in one loop over indices."""
    epoch = update = sample = in_update = at_last_update = 0
    per_epoch = TRAIN // BATCH * BATCH
    callbacks = [(test, {"epochs": None, "updates": EVERY, "samples": None}, BATCH)]
    while True:
        in_epoch = 0
        for index in train:
            sample += 1
            in_epoch += 1
            in_update += 1
            ends_update = in_update == BATCH or in_epoch == per_epoch
            yield ends_update, index
            if not ends_update:
                continue
            in_update = 0
            update += 1
            epoch += in_epoch == per_epoch
            for other, every, size in callbacks:
                due = every["epochs"] and in_epoch == per_epoch and epoch % every["epochs"] == 0
                due = due or (every["updates"] and update % every["updates"] == 0)
                due = due or (
                    every["samples"]
                    and at_last_update // every["samples"] < sample // every["samples"]
                )
                if due:
                    for number, extra in enumerate(other, 1):
                        yield number % size == 0 or number == len(other), TRAIN + extra
            at_last_update = sample
            if update == UPDATES:
                return
            if in_epoch == per_epoch:
                break


def samplers():
    try:
        from torch.utils.data import RandomSampler, SequentialSampler
    except ImportError:
        order = np.random.default_rng(0).permutation(TRAIN).tolist()
        return "lists", order, range(TEST)
    return "torch samplers", RandomSampler(range(TRAIN)), SequentialSampler(range(TEST))


def drain(iterator):
    for _ in iterator:
        pass


def scheduler(name, updates=UPDATES):
    def plan(stream, kind, n, **fields):
        made = feedrace.create("sampler", kind, num_records=n, **fields)
        return plan_stream(stream, made, batch_size=BATCH, drop_remainder=stream == "train")

    plans = {"train": plan("train", name, TRAIN), "test": plan("test", "sequential", TEST)}
    callback = CallbackConfig(stream="test", source=None, every_n_updates=EVERY)
    config = InterleavedSchedulerConfig(callbacks=(callback,), max_updates=updates)
    return InterleavedScheduler(config), plans


def pairs(train, test, **config):
    return InterleavedSampler(
        train,
        InterleavedSamplerConfig(**{"batch_size": BATCH, "max_updates": UPDATES, **config}),
        callback_samplers=[SamplerIntervalConfig(sampler=test, every_n_updates=EVERY)],
    )


def indices_per_second():
    what, train, test = samplers()
    total = UPDATES * BATCH + UPDATES // EVERY * TEST
    shuffled, sequential = scheduler("epoch-aware"), scheduler("sequential")
    functions = {
        "reference": lambda: drain(pair_by_pair(train, test)),
        "shuffled": lambda: drain(shuffled[0].steps({"pass": 0}, shuffled[1])),
        "sequential": lambda: drain(sequential[0].steps({"pass": 0}, sequential[1])),
        "pairs": lambda: drain(pairs(train, test)),
    }
    seconds = alternate(functions, rounds=5)
    rates = {name: total / s / 1e6 for name, s in seconds.items()}
    for name, target in (("shuffled", "10"), ("sequential", "10"), ("pairs", "1")):
        report(
            f"{name} steps" if name != "pairs" else "pair iterator",
            rates[name] / rates["reference"],
            target,
            f"{rates[name]:.1f} against {rates['reference']:.2f} million indices/s on {what}",
        )


def far_start():
    scheduled, plans = scheduler("epoch-aware", updates=10_000_000)

    def first(update):
        return next(scheduled.steps({"pass": 0, "update": update}, plans))

    seconds = alternate({"near": lambda: first(1), "far": lambda: first(7_000_001)}, rounds=101)
    detail = f"{seconds['far'] * 1e6:.0f} us at update 7,000,000, {seconds['near'] * 1e6:.0f} at 0"
    report("start far into a run", seconds["far"] / seconds["near"], "at most 2", detail)
    train = feedrace.create("sampler", "sequential", num_records=TRAIN)
    seconds = alternate(
        {
            "near": lambda: next(iter(pairs(train, range(TEST), max_updates=10**7))),
            "far": lambda: next(
                iter(pairs(train, range(TEST), max_updates=10**7, start_update=7_000_000))
            ),
        },
        rounds=101,
    )
    detail = f"{seconds['far'] * 1e6:.0f} us against {seconds['near'] * 1e6:.0f}"
    report("the same, pair iterator", seconds["far"] / seconds["near"], "at most 2", detail)


def first_evaluation_batch():
    def source(n):
        images = np.zeros((n, 32, 32, 3), np.uint8)
        return {"use": "memory", "data": {"x": images}}

    pipeline = feedrace.build(
        {
            "batch_size": BATCH,
            "source": source(20_000),
            "sampler": {"use": "epoch-aware", "num_epochs": 8},
            "scheduler": {
                "use": "interleaved",
                "callbacks": [{"stream": "test", "every_n_updates": 50, "source": source(1_000)}],
            },
        }
    )
    waits = {"train": [], "first of test": []}
    asked = time.perf_counter()
    for step in pipeline.steps():
        waited = time.perf_counter() - asked
        kind = "train" if step.stream == "train" else "first of test" if step.first else "rest"
        if step.update > 100:  # both batch shapes are compiled by then
            waits.setdefault(kind, []).append(waited)
        time.sleep(0.002)  # stands for the training step
        asked = time.perf_counter()
    medians = {kind: float(np.median(times)) for kind, times in waits.items()}
    ratio = medians["first of test"] / medians["train"]
    detail = ", ".join(f"{kind} {m * 1e6:.0f} us" for kind, m in medians.items())
    report("wait for the first evaluation batch, against a train batch", ratio, "about 1", detail)


if __name__ == "__main__":
    indices_per_second()
    far_start()
    first_evaluation_batch()
