"""Photographs that feed a training step on a GPU: ResNet-50 in bfloat16."""

import functools
import itertools
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from measure import take_turns

DEPTHS, CLASSES = (3, 4, 6, 3), 1000
_conv = functools.partial(nnx.Conv, use_bias=False, dtype=jnp.bfloat16)
_norm = functools.partial(nnx.BatchNorm, dtype=jnp.bfloat16)


class Bottleneck(nnx.Module):
    def __init__(self, before, width, stride, *, rngs):
        self.convs = nnx.List([
            _conv(before, width, (1, 1), rngs=rngs),
            _conv(width, width, (3, 3), strides=stride, rngs=rngs),
            _conv(width, 4 * width, (1, 1), rngs=rngs),
        ])  # fmt: skip
        self.norms = nnx.List([_norm(n, rngs=rngs) for n in (width, width, 4 * width)])
        short = [_conv(before, 4 * width, (1, 1), strides=stride, rngs=rngs),
                 _norm(4 * width, rngs=rngs)]  # fmt: skip
        self.short = nnx.List(short if before != 4 * width else [])

    def __call__(self, x):
        made = x
        for k, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            made = norm(conv(made if k == 0 else nnx.relu(made)))
        for layer in self.short:
            x = layer(x)
        return nnx.relu(made + x)


class ResNet50(nnx.Module):
    def __init__(self, *, rngs):
        self.stem = _conv(3, 64, (7, 7), strides=2, rngs=rngs)
        self.norm = _norm(64, rngs=rngs)
        blocks, before = [], 64
        for stage, depth in enumerate(DEPTHS):
            for k in range(depth):
                stride = 2 if stage > 0 and k == 0 else 1
                blocks.append(Bottleneck(before, 64 << stage, stride, rngs=rngs))
                before = 256 << stage
        self.blocks = nnx.List(blocks)
        self.head = nnx.Linear(before, CLASSES, rngs=rngs)

    def __call__(self, image):
        x = (image.astype(jnp.bfloat16) - 128) / 64
        x = nnx.relu(self.norm(self.stem(x)))
        x = nnx.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((1, 2)).astype(jnp.float32))


@nnx.jit
def train(model, optimizer, image, label):
    def loss(model):
        return optax.softmax_cross_entropy_with_integer_labels(model(image), label).mean()

    value, gradients = nnx.value_and_grad(loss)(model)
    optimizer.update(model, gradients)
    return value


def waiting(batches, steps, skip=10):
    """Print the share of time that the device waits for batches, while it trains on them.

    Against the same step on one batch that is there. The records' numbers stand in as labels.
    """
    model = ResNet50(rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.sgd(1e-3, momentum=0.9), wrt=nnx.Param)

    def seconds(batches):
        value = None
        for k, batch in enumerate(itertools.islice(batches, skip + steps)):
            value = train(model, optimizer, batch["image"], batch["id"] % CLASSES)
            if k == skip - 1:
                jax.block_until_ready(value)
                began = time.perf_counter()
        jax.block_until_ready(value)
        return (time.perf_counter() - began) / steps

    resident = next(batches)
    there, fed = seconds(itertools.repeat(resident)), seconds(batches)
    size = len(resident["id"])
    print(f"ResNet-50 in bfloat16, batches of {size}: the device waits {1 - there / fed:.1%} of "
          f"the time; {1e3 * fed:.1f} ms a step, {1e3 * there:.1f} with a batch that is there",
          flush=True)  # fmt: skip


def scaling(contenders, counts, rate, rounds):
    """Print records/s of each contender with each number of workers.

    contenders: by name, a function from a number of workers to an iterator over record numbers.
    """
    functions = {
        (name, count): functools.partial(lambda start, count: rate(start(count))[0], start, count)
        for count in counts for name, start in contenders.items()
    }  # fmt: skip
    found = take_turns(functions, rounds)
    for name in contenders:
        rates = ", ".join(f"{c}: {np.median(found[name, c]):,.0f}" for c in counts)
        print(f"photographs/s by number of workers, {name}: {rates}", flush=True)
