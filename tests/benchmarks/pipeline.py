"""Pipelines: epochs in memory, under scan, overlapped with training, and their state.

usage: pipeline.py [--datarax PYTHON], the Python of an environment that has datarax. Rows
that need torch or grain are left out if they are not installed. On an accelerator the copy to the
device is measured too.
"""

import argparse
import importlib
import itertools
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from measure import Served, alternate, figure, quick_option, report
from serve_datarax_epochs import BATCH, RECORDS, SHARE

import feedrace

HERE = Path(__file__)


def peer(module):
    """Return an installed peer, or print that it is missing and return None."""
    try:
        return importlib.import_module(module)
    except ImportError:
        print(f"({module} is not installed and not measured)")
        return None


def arrays():
    generator = np.random.default_rng(0)
    return {
        "image": generator.integers(0, 256, (RECORDS, 32, 32, 3), dtype=np.uint8),
        "label": generator.integers(0, 10, RECORDS, dtype=np.int32),
    }


def in_memory(data, **options):
    source = feedrace.create("source", "memory", data=data, shuffle=True)
    return feedrace.Pipeline(source=source, batch_size=BATCH, **options)


def drain(pipeline):
    batch = None
    for batch in pipeline:  # noqa: B007 (the last one is waited for)
        pass
    jax.block_until_ready(batch)


def epochs(data, datarax):
    """A shuffled epoch of images in memory."""
    pipeline = in_memory(data)
    device = {name: jnp.asarray(value) for name, value in data.items()}
    generator = np.random.default_rng(1)

    @jax.jit
    def gather(device, rows):
        return jax.tree.map(lambda leaf: leaf[rows], device)

    def bare():
        order = generator.permutation(RECORDS).astype(np.int32)
        for start in range(0, RECORDS, BATCH):
            batch = gather(device, order[start : start + BATCH])
        jax.block_until_ready(batch)

    def against(name, function, target, share=1):
        seconds = alternate({"feedrace": lambda: drain(pipeline), name: function}, rounds=9)
        rates = {"feedrace": RECORDS / seconds["feedrace"], name: RECORDS / share / seconds[name]}
        detail = ", ".join(f"{key} {rate / 1e3:,.1f} thousand/s" for key, rate in rates.items())
        report(f"epoch against {name}", rates["feedrace"] / rates[name], target, detail)

    against("bare gathers", bare, "0.7")
    torch, grain = peer("torch.utils.data"), peer("grain")
    if torch:
        import torch as tensors

        dataset = torch.TensorDataset(*(tensors.from_numpy(data[name]) for name in data))
        sampler = torch.BatchSampler(torch.RandomSampler(dataset), BATCH, drop_last=False)
        loader = torch.DataLoader(dataset, sampler=sampler, batch_size=None)
        slow = torch.DataLoader(dataset, batch_size=BATCH, shuffle=True)
        against(
            "torch DataLoader", lambda: drain(itertools.islice(slow, 40)), "5", RECORDS / 40 / BATCH
        )
        against("torch DataLoader, whole batches at a time", lambda: drain(loader), "-")
    if grain:

        class Source:
            def __len__(self):
                return RECORDS

            def __getitem__(self, i):
                return {name: value[i] for name, value in data.items()}

        made = grain.MapDataset.source(Source()).shuffle(seed=0).batch(BATCH)
        loader = made.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=16))
        against("grain", lambda: drain(itertools.islice(loader, 39)), "20", RECORDS / 39 / BATCH)
    with Served(datarax, HERE.with_name("serve_datarax_epochs.py"), "datarax") as ask:
        if ask:
            against("datarax", ask, "200", SHARE)


class Model(nnx.Module):
    def __init__(self, width, rngs):
        self.first = nnx.Linear(3072, width, rngs=rngs)
        self.second = nnx.Linear(width, 10, rngs=rngs)

    def __call__(self, image):
        x = image.reshape(image.shape[0], -1).astype(jnp.float32) / 255
        return self.second(nnx.relu(self.first(x)))


def train(model, optimizer, batch):
    def loss(model):
        each = optax.softmax_cross_entropy_with_integer_labels(
            model(batch["image"]), batch["label"]
        )
        return (each * batch["valid_mask"]).mean()

    value, gradients = nnx.value_and_grad(loss)(model)
    optimizer.update(model, gradients)
    return value


def scanned(data):
    """An epoch under scan with a small training step, against the step on one resident batch."""
    model = Model(32 if jax.default_backend() == "cpu" else 1024, nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.sgd(1e-3), wrt=nnx.Param)
    pipeline = in_memory(data)
    length = pipeline.plans["train"].batches_per_epoch
    resident = next(iter(pipeline))

    definition, state = nnx.split((model, optimizer))

    @jax.jit
    def alone(state, batch):
        def body(state, _):
            model, optimizer = nnx.merge(definition, state)
            value = train(model, optimizer, batch)
            return nnx.split((model, optimizer))[1], value

        return jax.lax.scan(body, state, length=length)

    def step_alone():
        jax.block_until_ready(alone(state, resident))

    def whole():
        jax.block_until_ready(pipeline.scan(train, length=length, modules=(model, optimizer)))

    seconds = alternate({"scan": whole, "step alone": step_alone}, rounds=9)
    target = "at most 1.25" if jax.default_backend() == "cpu" else "at most 1.1"
    detail = f"{1e3 * seconds['scan']:.1f} ms an epoch against {1e3 * seconds['step alone']:.1f}"
    report("scan against its step alone", seconds["scan"] / seconds["step alone"], target, detail)


class Loading:
    """Records on the host that take a given time to load."""

    def __init__(self, seconds):
        self.seconds = seconds

    def __len__(self):
        return 64 * 40

    def element_spec(self):
        return {"x": jax.ShapeDtypeStruct((64,), np.float32)}

    def fetch(self, indices):
        time.sleep(self.seconds)
        return {"x": np.zeros((len(indices), 64), np.float32)}


def overlapped():
    """The host path with a training step as long as the loading."""
    pause = 0.01

    def loop(prefetch):
        pipeline = feedrace.Pipeline(source=Loading(pause), batch_size=64, prefetch=prefetch)

        def run():
            for batch in pipeline:
                jax.block_until_ready(batch)
                time.sleep(pause)

        return run

    seconds = alternate({"overlapped": loop(2), "in turn": loop(0)}, rounds=5)
    detail = ", ".join(f"{name} {1e3 * s:.0f} ms" for name, s in seconds.items())
    report("overlap", seconds["in turn"] / seconds["overlapped"], "1.7", detail)


def overhead():
    """The cost of a step besides the gather, with small records and no stages."""
    n, size = 50_000, 16
    data = {"x": np.arange(n, dtype=np.int32)}
    device = jnp.asarray(data["x"])
    gather = jax.jit(lambda device, rows: device[rows])
    rows = np.arange(n, dtype=np.int32).reshape(-1, size)

    def bare():
        for row in rows:
            batch = gather(device, row)
        jax.block_until_ready(batch)

    source = feedrace.create("source", "memory", data=data)
    functions = {"bare": bare}
    for prefetch in (0, 2):
        pipeline = feedrace.Pipeline(source=source, batch_size=size, prefetch=prefetch)
        functions[f"prefetch={prefetch}"] = lambda pipeline=pipeline: drain(pipeline)
    seconds = alternate(functions, rounds=7)
    for name in list(functions)[1:]:
        each = 1e6 * (seconds[name] - seconds["bare"]) / len(rows)
        figure(f"a step beyond a bare gather, {name}", each, "us", "30")


def copied():
    """Transfer to the device, against the copy of one pinned or plain buffer."""
    if jax.default_backend() == "cpu":
        print("(the copy to a device is not measured: there is a CPU alone)")
        return
    size, records = 256, 256 * 60
    image = np.random.default_rng(0).integers(0, 256, (records, 224, 224, 3), dtype=np.uint8)

    class Images:
        def __len__(self):
            return records

        def element_spec(self):
            return {"image": jax.ShapeDtypeStruct((224, 224, 3), np.uint8)}

        def fetch(self, indices):
            return {"image": image[indices[0] : indices[0] + len(indices)]}

    pipeline = feedrace.Pipeline(source=Images(), batch_size=size)

    def bare():
        last = None
        for start in range(0, records, size):
            put = jax.device_put(image[start : start + size])
            if last is not None:
                last.block_until_ready()
            last = put
        last.block_until_ready()

    def ours():
        last = None
        for batch in pipeline:
            if last is not None:
                last.block_until_ready()
            last = batch["image"]
        last.block_until_ready()

    seconds = alternate({"feedrace": ours, "bare": bare}, rounds=5)
    rates = {name: image.nbytes / s / 1e9 for name, s in seconds.items()}
    detail = ", ".join(f"{name} {rate:.1f} GB/s" for name, rate in rates.items())
    report("host to device", rates["feedrace"] / rates["bare"], "0.8", detail)


def states(data):
    """Size of the state, and the time to take it and to resume to a first batch."""
    pipeline = in_memory(
        data, sampler={"use": "epoch-aware", "num_epochs": 1000}, rngs=nnx.Rngs(0),
        stages=[feedrace.create("stage", "flip", field="image", axis=1)],
    )  # fmt: skip
    next(iter(pipeline))
    document = pipeline.get_state()
    length = pipeline.plans["train"].batches_per_pass
    far = {**document, "counters": {"pass": 0, "update": int(0.999 * length)}}

    def back(state):
        def run():
            pipeline.set_state(state)
            jax.block_until_ready(next(iter(pipeline)))

        return run

    seconds = alternate(
        {"get_state": pipeline.get_state, "near": back(document), "far": back(far)}, rounds=25
    )
    figure("state with one stage", len(json.dumps(document)), "bytes", "2048")
    figure("get_state", 1e3 * seconds["get_state"], "ms", "1")
    detail = f"{1e3 * seconds['far']:.2f} ms to the first batch against {1e3 * seconds['near']:.2f}"
    report(
        "set_state at 99.9% against the start", seconds["far"] / seconds["near"], "about 1", detail
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    quick_option(parser)
    parser.add_argument("--datarax", help="the Python of an environment that has datarax")
    given = parser.parse_args()
    images = arrays()
    epochs(images, given.datarax)
    scanned(images)
    overlapped()
    overhead()
    copied()
    states(images)
