"""A keyed bijection on [0, n): a shuffle computed position by position, in O(1) memory.

A Feistel network (Luby & Rackoff, 1988) permutes the smallest power of two that holds n; positions
that land outside [0, n) walk on along their cycle until they land inside (Black & Rogaway, 2002,
"cycle walking"), fewer than one extra step on average. Halves may differ by one bit, so the domain
is never twice n or more. All arithmetic is on uint32, written once over an array namespace: numpy
and `jax.numpy` give the same numbers.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

ROUNDS = 8
SEED_BITS = 64

_GOLDEN = 0x9E3779B9
_MASK32 = 0xFFFFFFFF


def _mix(x: Any, xp: Any) -> Any:
    """Finish a 32-bit hash: the finaliser of MurmurHash3 (Appleby, public domain)."""
    x = x ^ (x >> xp.uint32(16))
    x = x * xp.uint32(0x85EBCA6B)
    x = x ^ (x >> xp.uint32(13))
    x = x * xp.uint32(0xC2B2AE35)
    return x ^ (x >> xp.uint32(16))


def _words(value: Any, xp: Any) -> tuple[Any, Any]:
    """Return the low and high 32 bits of an int or an integer array, as arrays of shape (1,)."""
    if isinstance(value, int | np.integer):
        number = int(value)
        low, high = number & _MASK32, (number >> 32) & _MASK32
        return xp.full((1,), low, xp.uint32), xp.full((1,), high, xp.uint32)
    low = value.astype(xp.uint32).reshape(1)
    if value.dtype.itemsize < 8:
        return low, xp.zeros((1,), xp.uint32)
    return low, (value >> 32).astype(xp.uint32).reshape(1)


def round_keys(seed: Any, epoch: Any, stream: Any = 0, *, xp: Any = np) -> tuple[Any, ...]:
    """Return the keys of all rounds: a 64-bit hash of seed, epoch and stream, spread out.

    Each of `seed`, `epoch` and `stream` is an int below 2**64 or an integer array of one element,
    which may be traced.
    """
    left = xp.full((1,), 0x243F6A88, xp.uint32)
    right = xp.full((1,), 0x85A308D3, xp.uint32)
    for part in (seed, epoch, stream):
        for word in _words(part, xp):
            left = _mix((left ^ word) + xp.uint32(_GOLDEN), xp)
            right = _mix((right + word) ^ left, xp) * xp.uint32(0x9E3779B1)
    return tuple(
        _mix(left + xp.uint32((r * _GOLDEN) & _MASK32), xp) ^ _mix(right ^ xp.uint32(r + 1), xp)
        for r in range(ROUNDS)
    )


def _halves(n: int) -> tuple[int, int]:
    bits = (n - 1).bit_length()
    return bits // 2, bits - bits // 2


def _encrypt(x: Any, n: int, keys: tuple[Any, ...], xp: Any, *, inverse: bool = False) -> Any:
    """Permute [0, 2**bits), the smallest such domain with n <= 2**bits."""
    high_bits, low_bits = _halves(n)
    masks = (xp.uint32((1 << high_bits) - 1), xp.uint32((1 << low_bits) - 1))
    low_mask = x.dtype.type((1 << low_bits) - 1)
    halves = [(x >> low_bits).astype(xp.uint32), (x & low_mask).astype(xp.uint32)]
    order = range(ROUNDS - 1, -1, -1) if inverse else range(ROUNDS)
    for r in order:
        changed, other = r % 2, 1 - r % 2
        halves[changed] = halves[changed] ^ (_mix(halves[other] ^ keys[r], xp) & masks[changed])
    return (halves[0].astype(x.dtype) << low_bits) | halves[1].astype(x.dtype)


def permute(
    positions: Any,
    n: int,
    keys: tuple[Any, ...],
    *,
    xp: Any = np,
    while_loop: Callable[..., Any] | None = None,
    inverse: bool = False,
) -> Any:
    """Return where the permutation of [0, n) that `keys` choose sends each position.

    positions: integer array of values in [0, n), any shape; int32 is wide enough for n < 2**31.
    xp, while_loop: `jax.numpy` and `jax.lax.while_loop` inside `jax.jit`; numpy by default.
    inverse: go from index to position instead.

    Returns an array of the same shape and dtype. Raises `ValueError` for n below 1.
    """
    if n < 1:
        raise ValueError(f"n is {n!r}; a permutation needs at least 1 element")
    x = _encrypt(positions, n, keys, xp, inverse=inverse)
    if while_loop is not None:
        return while_loop(
            lambda y: (y >= n).any(),
            lambda y: xp.where(y >= n, _encrypt(y, n, keys, xp, inverse=inverse), y),
            x,
        )
    flat = x.reshape(-1)
    outside = np.flatnonzero(flat >= n)
    while outside.size:
        walked = _encrypt(flat[outside], n, keys, xp, inverse=inverse)
        flat[outside] = walked
        outside = outside[walked >= n]
    return flat.reshape(x.shape)


def epoch_indices(
    start: int, stop: int, n: int, *, seed: int, stream: int = 0
) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """Return the records at absolute positions [start, stop): epoch after epoch, each shuffled.

    Position p lies in epoch p // n. Returns int64 of shape (stop - start,); the n positions of an
    epoch cover 0 to n - 1 exactly once.
    """
    parts = []
    while start < stop:
        epoch, offset = divmod(start, n)
        count = min(stop - start, n - offset)
        positions = np.arange(offset, offset + count, dtype=np.int64)
        parts.append(permute(positions, n, round_keys(seed, epoch, stream)))
        start += count
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def position_of(index: Any, n: int, *, seed: int, epoch: int, stream: int = 0) -> Any:
    """Return the position, within an epoch, of each record index: the inverse of the shuffle."""
    indices = np.asarray(index, np.int64)
    return permute(indices.copy(), n, round_keys(seed, epoch, stream), inverse=True)
