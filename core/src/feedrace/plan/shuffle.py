"""A keyed bijection on [0, n): a shuffle computed position by position, in O(1) memory.

A Feistel network (Luby & Rackoff, 1988) on pairs (high, low), with high in [0, a) and low in
[0, 2**k): each round adds to one half, or xors it with, a hash of the other half. a and k are such
that a * 2**k exceeds n by a share of less than about 1 / sqrt(n); positions that land outside
[0, n) walk on along their cycle until they land inside (Black & Rogaway, 2002).

Arithmetic is on uint32 as long as n < 2**32, and written once over an array namespace: numpy and
`jax.numpy` give the same numbers.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def permute(
    positions: NDArray[np.int64], n: int, keys: tuple[int, ...], *, inverse: bool = False
) -> NDArray[np.int64]:
    """Return where the permutation of [0, n) that `keys` choose sends each position.

    inverse: go from record to position instead.

    Returns an array of the same shape. Raises `ValueError` for n below 1.
    """
    if n < 1:
        raise ValueError(f"n is {n!r}; a permutation needs at least 1 element")
    a, k = domain(n)
    x = network(positions.astype(word(a, k)), a, k, keys, inverse=inverse)
    return walk(x, n, keys, inverse=inverse).astype(positions.dtype)


def walk(x: NDArray[Any], n: int, keys: tuple[int, ...], *, inverse: bool = False) -> NDArray[Any]:
    """Send each element on along its cycle until it is less than n."""
    a, k = domain(n)
    flat = x.reshape(-1) if x.flags.writeable else x.flatten()
    outside = np.flatnonzero(flat >= n)
    while outside.size:
        walked = network(flat[outside], a, k, keys, inverse=inverse)
        flat[outside] = walked
        outside = outside[walked >= n]
    return flat.reshape(x.shape)


def domain(n: int) -> tuple[int, int]:
    """Return (a, k): the halves of the domain a * 2**k, the smallest of its kind that holds n."""
    k = (n - 1).bit_length() // 2
    return -(-n >> k), k


def word(a: int, k: int) -> Any:
    """Return the dtype that holds the domain: uint32, or uint64 if it exceeds 2**32."""
    return np.uint32 if a << k <= 2**32 else np.uint64


def network(x: Any, a: Any, k: Any, keys: Any, *, xp: Any = np, inverse: bool = False) -> Any:
    """Permute [0, a * 2**k): the bijection before any walking.

    x: uint32 array, or uint64 if the domain exceeds 2**32. a, k: ints, or scalars of x's dtype.
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
    """Return floor(hashed * a / 2**32), in [0, a); without 64-bit products if a < 2**16."""
    if np.dtype(word).itemsize == 8:
        return (hashed.astype(word) * a) >> word(32)
    high, low = hashed >> 16, hashed & 0xFFFF
    return (high * a + (low * a >> 16)) >> 16
