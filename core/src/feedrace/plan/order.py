"""The shuffled order of epochs at memory speed: the bijection of `shuffle`, through XLA.

Stretches go through jitted blocks of a few fixed sizes, each compiled once a process for all
lengths below 2**31. In small blocks XLA walks the few positions that land outside; in large ones,
where another pass over the whole block would cost more, numpy does.
"""

import contextlib
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from feedrace.plan import shuffle

_WALKING = (64, 512, 8192)
_BLOCKS = (*_WALKING, 65536, 262144)
_MOST = 2**31


def epoch_indices(
    start: int, stop: int, n: int, *, seed: int, stream: int = 0
) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """Return what `feedrace.plan.shuffle.epoch_indices` returns, faster."""
    if n >= _MOST or n < 1:
        return shuffle.epoch_indices(start, stop, n, seed=seed, stream=stream)
    indices = np.empty(stop - start, np.int64)
    done = 0
    for epoch, offset, count in shuffle.epoch_spans(start, stop, n):
        keys = shuffle.round_keys(n, seed, epoch, stream)
        _fill(indices[done : done + count], offset, n, keys)
        done += count
    return indices


def traced_indices(epoch: Any, positions: Any, n: int, *, seed: Any, stream: int = 0) -> Any:
    """Return where int32 `positions` of an epoch (uint32) go, inside a function that JAX traces."""
    keys = shuffle.round_keys(n, seed, epoch, stream, xp=jnp)
    return shuffle.permute(positions, n, keys, xp=jnp, while_loop=jax.lax.while_loop)


def _fill(indices: Any, offset: int, n: int, keys: tuple[int, ...]) -> None:
    """Write into `indices` where positions offset, offset + 1, ... of one epoch go."""
    a, k = shuffle.shape(n)
    words = np.array(keys, np.uint32)

    def once(x: Any) -> Any:
        return shuffle.network(x, a, k, keys)

    def begin(done: int) -> tuple[Any, int, int]:
        left = len(indices) - done
        size = next((block for block in _BLOCKS if block >= left), _BLOCKS[-1])
        place = np.array([offset + done, a, k, n], np.uint32)
        with _on_cpu():
            return _block(place, words, size=size), size, done

    running: tuple[Any, int, int] | None = begin(0)
    while running is not None:
        block, size, done = running
        end = min(done + size, len(indices))
        # XLA computes the next block while this one is copied.
        running = begin(end) if end < len(indices) else None
        values = np.asarray(block)[: end - done]
        indices[done:end] = values
        if size not in _WALKING:
            outside = np.flatnonzero(values >= n)
            indices[done + outside] = shuffle.walk(values[outside], n, once)


@functools.cache
def _cpu() -> Any:
    """Return the CPU that JAX has beside an accelerator, else None."""
    if jax.default_backend() == "cpu":
        return None
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX was told to leave it alone
        return None


def _on_cpu() -> Any:
    """Let a block be computed by the CPU: on an accelerator it would wait for the training step."""
    device = _cpu()
    return contextlib.nullcontext() if device is None else jax.default_device(device)


@functools.partial(jax.jit, static_argnames="size")
def _block(place: Any, keys: Any, *, size: int) -> Any:
    start, a, k, n = place
    # What stands beyond the end of an epoch is cut off later, but must not walk for ever.
    positions = jnp.minimum(start + jnp.arange(size, dtype=jnp.uint32), n - 1)

    def once(x: Any) -> Any:
        return shuffle.network(x, a, k, keys, xp=jnp)

    x = once(positions)
    if size not in _WALKING:
        return x
    return jax.lax.while_loop(lambda y: (y >= n).any(), lambda y: jnp.where(y >= n, once(y), y), x)
