"""A keyed bijection on [0, n): a shuffle computed position by position, in O(1) memory.

A Feistel network (Luby & Rackoff, 1988) on pairs (high, low), with high in [0, a) and low in
[0, 2**k): a round adds to one half, or xors it with, a hash of the other half. a and k are such
that a * 2**k exceeds n by a share of less than about 1 / sqrt(n); positions that land outside
[0, n) walk on along their cycle until they land inside (Black & Rogaway, 2002). Arithmetic is on
uint32 as long as n < 2**32, written once over an array namespace: numpy and `jax.numpy` give the
same numbers.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

_MASK32 = 0xFFFFFFFF
_GOLDEN = 0x9E3779B9
_MURMUR = (0x85EBCA6B, 0xC2B2AE35, _MASK32)


def rounds(n: int) -> int:
    """Return the number of rounds for [0, n): more where the halves are small."""
    return 16 if n < 2**12 else 8 if n < 2**16 else 6


def round_keys(n: int, seed: Any, epoch: Any, stream: Any = 0, *, xp: Any = np) -> tuple[Any, ...]:
    """Return a 32-bit key for each round of a permutation of [0, n).

    Each of `seed`, `epoch` and `stream` is an int below 2**64 or an integer scalar array, which may
    be traced. A hash mixes them word by word into 64 bits with MurmurHash3's finaliser.
    """
    word: Any = xp.uint32
    if all(isinstance(part, int | np.integer) for part in (seed, epoch, stream)):
        word = int  # Python ints are fastest for the few numbers of one key
    golden, mask, constants = word(_GOLDEN), word(_MASK32), tuple(map(word, _MURMUR))
    left, right = word(0x243F6A88), word(0x85A308D3)
    for part in (seed, epoch, stream):
        for half in _halves(part, word):
            left = _mix(((left ^ half) + golden) & mask, constants)
            right = (_mix(((right + half) & mask) ^ left, constants) * golden) & mask
    return tuple(
        _mix((left + word(r * _GOLDEN & _MASK32)) & mask, constants)
        ^ ((right * word(2 * r + 1)) & mask)
        for r in range(rounds(n))
    )


def _halves(part: Any, word: Any) -> tuple[Any, Any]:
    """Return the low and high 32 bits."""
    if isinstance(part, int | np.integer):
        return word(int(part) & _MASK32), word(int(part) >> 32 & _MASK32)
    high = part >> 32 if part.dtype.itemsize == 8 else part & 0
    return (part & _MASK32 if part.dtype.itemsize == 8 else part).astype(word), high.astype(word)


def _mix(x: Any, constants: Any) -> Any:
    """Finish a 32-bit hash: the finaliser of MurmurHash3 (Appleby, public domain)."""
    first, second, mask = constants
    x = x ^ (x >> 16)
    x = (x * first) & mask
    x = x ^ (x >> 13)
    x = (x * second) & mask
    return x ^ (x >> 16)


def shape(n: int) -> tuple[int, int]:
    """Return (a, k): the halves of the domain a * 2**k, the smallest of its kind that holds n."""
    k = (n - 1).bit_length() // 2
    return -(-n >> k), k


def network(x: Any, a: Any, k: Any, keys: Any, *, xp: Any = np, inverse: bool = False) -> Any:
    """Permute [0, a * 2**k): the bijection before any walking.

    x: uint32 array, or uint64 where the domain exceeds 2**32. a, k: ints, or scalars of x's dtype.
    """
    word = x.dtype.type
    a, k = (part if hasattr(part, "dtype") else word(part) for part in (a, k))
    low_mask = (word(1) << k) - word(1)
    high, low = x >> k, x & low_mask
    for r in reversed(range(len(keys))) if inverse else range(len(keys)):
        key = xp.uint32(keys[r])
        if r % 2:
            low = low ^ (_hash(high, key, xp).astype(word) & low_mask)
        else:
            added = _scaled(_hash(low, key, xp), a, word)
            high = high + (a - added if inverse else added)
            high = xp.where(high >= a, high - a, high)
    return (high << k) | low


def _hash(x: Any, key: Any, xp: Any) -> Any:
    """Return 32 well-mixed bits of a half; half-words above 32 bits are folded in."""
    x = (x ^ (x >> 32)).astype(xp.uint32) if x.dtype.itemsize == 8 else x
    x = (x ^ key) * xp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 15)) * xp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def _scaled(hashed: Any, a: Any, word: Any) -> Any:
    """Return floor(hashed * a / 2**32), in [0, a); without 64-bit products where a < 2**16."""
    if np.dtype(word).itemsize == 8:
        return (hashed.astype(word) * a) >> word(32)
    high, low = hashed >> 16, hashed & 0xFFFF
    return (high * a + (low * a >> 16)) >> 16


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
    a, k = shape(n)
    word = xp.uint32 if a << k <= 2**32 else xp.uint64

    def once(x: Any) -> Any:
        return network(x, a, k, keys, xp=xp, inverse=inverse)

    x = once(positions.astype(word))
    if n == a << k:
        return x.astype(positions.dtype)  # nothing lies outside
    if while_loop is not None:
        x = while_loop(lambda y: (y >= n).any(), lambda y: xp.where(y >= n, once(y), y), x)
        return x.astype(positions.dtype)
    return walk(x, n, once).astype(positions.dtype)


def walk(x: Any, n: int, once: Callable[[Any], Any]) -> Any:
    """Send each element of the numpy array `x` through `once` until it is less than n."""
    flat = x.reshape(-1) if x.flags.writeable else x.flatten()
    outside = np.flatnonzero(flat >= n)
    while outside.size:
        walked = once(flat[outside])
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
    if n < 1:
        raise ValueError(f"n is {n!r}; a permutation needs at least 1 element")
    parts = [np.empty(0, np.int64)]
    for epoch, offset, count in epoch_spans(start, stop, n):
        positions = np.arange(offset, offset + count, dtype=np.int64)
        parts.append(permute(positions, n, round_keys(n, seed, epoch, stream)))
    return np.concatenate(parts)


def epoch_spans(start: int, stop: int, n: int) -> Iterator[tuple[int, int, int]]:
    """Yield (epoch, first position in it, number of positions) of each epoch in [start, stop)."""
    while start < stop:
        epoch, offset = divmod(start, n)
        count = min(stop - start, n - offset)
        yield epoch, offset, count
        start += count


def position_of(index: Any, n: int, *, seed: int, epoch: int, stream: int = 0) -> Any:
    """Return the position, within an epoch, of each record index: the inverse of the shuffle."""
    indices = np.asarray(index, np.int64)
    if indices.size and not (indices.min() >= 0 and indices.max() < n):
        raise ValueError(f"index {index!r} is not from 0 to {n - 1}")
    if indices.ndim == 0:
        return position_of(indices[None], n, seed=seed, epoch=epoch, stream=stream)[0]
    return permute(indices, n, round_keys(n, seed, epoch, stream), inverse=True)
