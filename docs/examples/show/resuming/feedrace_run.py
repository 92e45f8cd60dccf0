"""Feedrace: train a small language model, evaluate in between, and save model and place together.

usage: as `logged.py` says; besides, `given` has the number of `processes`, this `process`, their
`port`, the folder `held-out` of the texts to evaluate on, and `evaluate`, the updates between two
evaluations, if they are not 100. Process 0 saves.
"""

import io
import json
import os
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import logged
import numpy as np
import optax
from flax import nnx

import feedrace

NAME = "Feedrace"
PACKAGES = ("feedrace", "jax", "flax")
WORKERS = True
ROWS, LENGTH, SEGMENTS, WINDOW = 8, 2048, 64, 256
EVALUATE = 100
HOW = (
    f'sources "json-lines", sampler "epoch-aware", stage "byte-tokens", batcher "pack" to rows of '
    f"{LENGTH:,} in windows of {WINDOW * ROWS:,} texts, {ROWS} rows a batch, scheduler "
    f'"interleaved" with an evaluation each {EVALUATE} updates'
)


def pipeline(given, sharding=None):
    fields = {"tokens": LENGTH}
    evaluation = {
        "stream": "held-out",
        "every_n_updates": given.get("evaluate", EVALUATE),
        "source": {"use": "json-lines", "path": given["held-out"]},
    }
    return feedrace.build(
        {
            "source": {"use": "json-lines", "path": given["data"]},
            "sampler": {"use": "epoch-aware", "num_epochs": given["epochs"]},
            "stages": [{"use": "byte-tokens", "field": "text", "into": "tokens", "keep": False}],
            "batcher": {
                "use": "pack", "fields": fields, "max_segments": SEGMENTS, "window": WINDOW
            },
            "scheduler": {"use": "interleaved", "callbacks": [evaluation]},
            "batch_size": ROWS,
            "seed": 0,
            "workers": given["workers"],
            "sharding": sharding,
        }
    )  # fmt: skip


class Model(nnx.Module):
    """The next character, from the eight before it; what is not ASCII counts as one character."""

    def __init__(self, rngs):
        self.embed = nnx.Embed(128, 16, rngs=rngs)
        self.mix = nnx.Conv(16, 32, kernel_size=8, padding="CAUSAL", rngs=rngs)
        self.out = nnx.Linear(32, 128, rngs=rngs)

    def __call__(self, tokens):
        return self.out(nnx.gelu(self.mix(self.embed(tokens))))


def loss_of(model, batch):
    segments = batch["tokens_segmentation"]
    counts = (segments[:, 1:] == segments[:, :-1]) & batch["tokens_mask"][:, 1:]
    tokens = jnp.minimum(batch["tokens"], 127)
    losses = optax.softmax_cross_entropy_with_integer_labels(model(tokens[:, :-1]), tokens[:, 1:])
    return losses.mean(where=counts)


@nnx.jit
def train(model, optimizer, batch):
    loss, gradients = nnx.value_and_grad(loss_of)(model, batch)
    optimizer.update(model, gradients)
    return loss


evaluate = nnx.jit(loss_of)


class Trained:
    """The model, its optimizer and the pipeline, saved and restored as one."""

    def __init__(self, given, state):
        mesh = jax.make_mesh(
            (jax.device_count(),), ("data",), axis_types=(jax.sharding.AxisType.Auto,)
        )
        everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
        rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
        self.pipeline = pipeline(given, rows)
        self.model = Model(nnx.Rngs(0))
        self.optimizer = nnx.Optimizer(self.model, optax.adam(3e-3), wrt=nnx.Param)
        self.parts = (self.model, self.optimizer)
        leaves, self.tree = jax.tree.flatten(nnx.state(self.parts))
        if state:
            kept = np.load(io.BytesIO(state))
            leaves = [kept[str(i)] for i in range(len(leaves))]
            self.pipeline.set_state(json.loads(str(kept["pipeline"])))
        leaves = [jax.device_put(np.asarray(leaf), everywhere) for leaf in leaves]
        nnx.update(self.parts, jax.tree.unflatten(self.tree, leaves))

    def state(self):
        file = io.BytesIO()
        leaves = {str(i): leaf for i, leaf in enumerate(jax.tree.leaves(nnx.state(self.parts)))}
        np.savez(file, pipeline=json.dumps(self.pipeline.get_state()), **leaves)
        return file.getvalue()

    def step(self, step):
        if step.stream == "train":
            return train(self.model, self.optimizer, step.batch)
        return evaluate(self.model, step.batch)


def rows_of(batch):
    """Return (number of the first row, rows as bytes, ids, tokens) of what this process has."""
    fields = {name: batch[name].addressable_shards[0] for name in sorted(batch)}
    first = fields["id"].index[0].start or 0
    here = {name: np.asarray(shard.data) for name, shard in fields.items()}
    rows = [b"".join(field[i].tobytes() for field in here.values()) for i in range(len(here["id"]))]
    return first, rows, here["id"][here["segment_mask"]], int(here["tokens_mask"].sum())


def serve(given):
    folder = Path(given["folder"])
    at, state = logged.saved(folder / "state")
    run = Trained(given, state)
    place = run.pipeline.get_state()["counters"]
    saves = given["process"] == 0
    seen, shares = 0, list(logged.SHARES) * (at == 0 and given["processes"] == 1)
    with (
        open(folder / given["log"], "a", buffering=1) as log,
        open(folder / "losses" if saves else os.devnull, "a", buffering=1) as losses,
        run.pipeline.steps() as steps,
    ):
        log.write(json.dumps({"begin": at, "place": place}) + "\n")
        for step in steps:
            at += 1
            first, rows, ids, tokens = rows_of(step.batch)
            made = {
                "epoch": step.epoch, "ids": ids, "rows": rows, "first": first, "tokens": tokens,
                "room": len(rows) * LENGTH, "stream": step.stream,
            }  # fmt: skip
            log.write(json.dumps(logged.entry(made)) + "\n")
            # No process has the loss before all have logged the batch: a saved state is never
            # ahead of a log.
            losses.write(f"{at} {float(run.step(step))}\n")
            if saves and at % given["every"] == 0:
                logged.save(folder / "state", at, run.state())
            seen += len(ids) * (step.stream == "train")
            if shares and seen * 100 >= shares[0] * given["records"]:
                state = json.dumps(run.pipeline.get_state()).encode()
                logged.save(folder / f"state-{shares.pop(0)}", at, state)
        log.write(json.dumps({"end": at}) + "\n")


class Loader:
    """The pipeline alone, to measure how soon its first batch comes."""

    def __init__(self, given, state):
        self.pipeline = pipeline(given)
        if state:
            self.pipeline.set_state(json.loads(state))

    def __iter__(self):
        with self.pipeline.steps() as steps:
            for step in steps:
                jax.block_until_ready(step.batch)
                yield step.batch


def main():
    given = json.loads(sys.argv[1])
    if given["processes"] > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(
            f"localhost:{given['port']}", given["processes"], given["process"]
        )
    serve(given)


if __name__ == "__main__":
    if "first" in json.loads(sys.argv[1]):
        logged.main(sys.modules["__main__"])
    else:
        main()
