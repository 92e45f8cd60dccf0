"""ResNet-50 in bfloat16 on a GPU, fed by Feedrace.

usage: python resnet.py FOLDER CORES STEPS; prints what was seen as JSON, or null without a GPU.
"""

import functools
import itertools
import json
import sys
import time

import jax
import jax.numpy as jnp
import optax
from feedrace_feeder import photographs
from flax import nnx

BATCH, CLASSES, DEPTHS = 400, 1000, (3, 4, 6, 3)
_conv = functools.partial(nnx.Conv, use_bias=False, dtype=jnp.bfloat16)
_norm = functools.partial(nnx.BatchNorm, dtype=jnp.bfloat16)


class Bottleneck(nnx.Module):
    def __init__(self, before, width, stride, rngs):
        self.body = nnx.Sequential(
            _conv(before, width, (1, 1), rngs=rngs), _norm(width, rngs=rngs), nnx.relu,
            _conv(width, width, (3, 3), strides=stride, rngs=rngs), _norm(width, rngs=rngs),
            nnx.relu,
            _conv(width, 4 * width, (1, 1), rngs=rngs), _norm(4 * width, rngs=rngs),
        )  # fmt: skip
        short = [_conv(before, 4 * width, (1, 1), strides=stride, rngs=rngs),
                 _norm(4 * width, rngs=rngs)]  # fmt: skip
        self.short = nnx.List(short if before != 4 * width else [])

    def __call__(self, x):
        made = self.body(x)
        for layer in self.short:
            x = layer(x)
        return nnx.relu(made + x)


class ResNet(nnx.Module):
    """ResNet-50 (He et al. 2015), for images of uint8; `depths` and `width` make a smaller one."""

    def __init__(self, rngs, depths=DEPTHS, width=64):
        self.stem, self.norm = (
            _conv(3, width, (7, 7), strides=2, rngs=rngs),
            _norm(width, rngs=rngs),
        )
        blocks, before = [], width
        for stage, depth in enumerate(depths):
            for k in range(depth):
                stride = 2 if stage and k == 0 else 1
                blocks.append(Bottleneck(before, width << stage, stride, rngs))
                before = 4 * width << stage
        self.blocks = nnx.List(blocks)
        self.head = nnx.Linear(before, CLASSES, rngs=rngs)

    def __call__(self, image):
        x = nnx.relu(self.norm(self.stem((image.astype(jnp.bfloat16) - 128) / 64)))
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


def fed(model, batches, steps, skip=5):
    """Return photographs/s of training on batches, and on one of them again and again.

    model: a network to train. The photographs' numbers stand in for labels.
    """
    optimizer = nnx.Optimizer(model, optax.sgd(1e-3, momentum=0.9), wrt=nnx.Param)

    def rate(batches):
        for k, batch in enumerate(itertools.islice(batches, skip + steps)):
            value = train(model, optimizer, batch["image"], batch["label"] % CLASSES)
            if k == skip - 1:
                jax.block_until_ready(value)
                began = time.perf_counter()
        jax.block_until_ready(value)
        return steps * len(batch["label"]) / (time.perf_counter() - began)

    there = next(batches)
    return {"alone": rate(itertools.repeat(there)), "fed": rate(batches)}


def main():
    folder, cores, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    seen = None
    if jax.default_backend() == "gpu":
        batches = iter(photographs(folder, cores, "process", BATCH))
        seen = fed(ResNet(nnx.Rngs(0)), batches, steps)
        seen |= {"device": jax.devices()[0].device_kind, "batch": BATCH}
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
