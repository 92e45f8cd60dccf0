"""Train on handwritten digits: a loop over batches, `scan`, and the step on one batch, in turns.

usage: python digits.py EPOCHS ROUNDS; prints steps/s of each as JSON.
"""

import json
import statistics
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits

import feedrace

BATCH, WIDTH = 128, 128


class Classifier(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(64, WIDTH, rngs=rngs)
        self.out = nnx.Linear(WIDTH, 10, rngs=rngs)

    def __call__(self, images):
        return self.out(nnx.relu(self.hidden(images.reshape(-1, 64) / 16)))


def step(model, optimizer, batch):
    def loss(model):
        one = optax.softmax_cross_entropy_with_integer_labels(model(batch["image"]), batch["label"])
        return jnp.where(batch["valid_mask"], one, 0).sum() / batch["valid_mask"].sum()

    value, gradients = nnx.value_and_grad(loss)(model)
    optimizer.update(model, gradients)
    return value


jitted = nnx.jit(step)


class Training:
    """A model and a pipeline over all digits; each pass is `epochs` epochs."""

    def __init__(self, epochs):
        digits = load_digits()
        self.model = Classifier(nnx.Rngs(0))
        self.optimizer = nnx.Optimizer(self.model, optax.adam(2e-3), wrt=nnx.Param)
        self.pipeline = feedrace.Pipeline(
            source={
                "image": digits.images.astype(np.float32),
                "label": digits.target.astype(np.int32),
            },
            sampler={"use": "epoch-aware", "num_epochs": epochs},
            batch_size=BATCH,
            seed=0,
        )
        self.epochs, self.per_epoch = epochs, self.pipeline.plans["train"].batches_per_epoch
        self.one = None

    def loop(self):
        for batch in self.pipeline:
            loss = jitted(self.model, self.optimizer, batch)
        return loss

    def scan(self):
        for _ in range(self.epochs):
            losses = self.pipeline.scan(
                step, length=self.per_epoch, modules=(self.model, self.optimizer)
            )
        return losses[-1]

    def alone(self):
        """Train on one batch again and again: no pipeline."""
        if self.one is None:
            self.one = next(iter(self.pipeline))
        for _ in range(self.epochs * self.per_epoch):
            loss = jitted(self.model, self.optimizer, self.one)
        return loss


def main():
    epochs, rounds = map(int, sys.argv[1:])
    trained = {name: Training(epochs) for name in ("loop", "scan", "alone")}
    rates, losses = {name: [] for name in trained}, {}
    for k in range(1 + rounds):  # the first round compiles
        for name, training in trained.items():
            began = time.perf_counter()
            losses[name] = float(jax.block_until_ready(getattr(training, name)()))
            if k:
                steps = epochs * training.per_epoch
                rates[name].append(steps / (time.perf_counter() - began))
    rates = {name: statistics.median(some) for name, some in rates.items()}
    print(json.dumps({"rates": rates, "losses": losses, "steps": steps}))


if __name__ == "__main__":
    main()
