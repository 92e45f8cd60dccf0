"""A keyed bijection on [0, n): a shuffle computed position by position, in O(1) memory.

A Feistel network (Luby & Rackoff, 1988) on pairs (high, low), with high in [0, a) and low in
[0, 2**k): each round adds to one half, or xors it with, a hash of the other half. a and k are such
that a * 2**k exceeds n by a share of less than about 1 / sqrt(n); positions that land outside
[0, n) walk on along their cycle until they land inside (Black & Rogaway, 2002).

Arithmetic is on uint32 as long as n < 2**32, and written once over an array namespace: numpy and
`jax.numpy` give the same numbers. JAX is imported only inside functions that JAX traces.
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import jax


def permute(
    positions: Any, n: int, keys: tuple[Any, ...], *, xp: Any = np, inverse: bool = False
) -> Any:
    """Return where the permutation of [0, n) that `keys` choose sends each position.

    positions: integer array of values in [0, n), any shape; int32 is wide enough for n < 2**31.
    xp: numpy, or `jax.numpy` inside a function that JAX traces.
    inverse: go from record to position instead.

    Returns an array of the same shape and dtype. Raises `ValueError` for n below 1.
    """
    if n < 1:
        raise ValueError(f"n is {n!r}; a permutation needs at least 1 element")
    a, k = _domain(n)
    word = xp.uint32 if a << k <= 2**32 else xp.uint64
    x = _network(positions.astype(word), a, k, keys, xp=xp, inverse=inverse)
    if n < a << k:  # else nothing lies outside
        if xp is np:
            x = walk(x, n, keys, inverse=inverse)
        else:
            x = _walk_traced(x, n, a, k, keys, inverse=inverse)
    return x.astype(positions.dtype)


def walk(x: Any, n: int, keys: tuple[Any, ...], *, inverse: bool = False) -> Any:
    """Send each element of a numpy array on along its cycle until it is less than n."""
    a, k = _domain(n)
    flat = x.reshape(-1) if x.flags.writeable else x.flatten()
    outside = np.flatnonzero(flat >= n)
    while outside.size:
        walked = _network(flat[outside], a, k, keys, inverse=inverse)
        flat[outside] = walked
        outside = outside[walked >= n]
    return flat.reshape(x.shape)


def _walk_traced(x: Any, n: Any, a: Any, k: Any, keys: Any, *, inverse: bool = False) -> Any:
    """Do as `walk` does, in a function that JAX traces; n may be traced too."""
    import jax
    import jax.numpy as jnp

    def step(y: Any) -> Any:
        return jnp.where(y >= n, _network(y, a, k, keys, xp=jnp, inverse=inverse), y)

    return jax.lax.while_loop(lambda y: (y >= n).any(), step, x)


@functools.cache
def jitted_block(size: int, *, walks: bool) -> "Callable[..., jax.Array]":
    """Return a jitted function of ([first position, n], keys), both uint32, for all n below 2**31.

    It permutes `size` positions; without `walks` some may land outside.
    """
    import jax
    import jax.numpy as jnp

    @jax.jit
    def block(place: jax.Array, keys: jax.Array) -> jax.Array:
        first, n = place
        k = (32 - jax.lax.clz(n - 1)) // 2
        a = (n + (1 << k) - 1) >> k
        # Positions beyond the end of an epoch are cut off later, but must not walk for ever.
        positions = jnp.minimum(first + jnp.arange(size, dtype=jnp.uint32), n - 1)
        x: jax.Array = _network(positions, a, k, keys, xp=jnp)
        return _walk_traced(x, n, a, k, keys) if walks else x

    return block


def _domain(n: int) -> tuple[int, int]:
    """Return (a, k): the halves of the domain a * 2**k, the smallest of its kind that holds n."""
    k = (n - 1).bit_length() // 2
    return -(-n >> k), k


def _network(x: Any, a: Any, k: Any, keys: Any, *, xp: Any = np, inverse: bool = False) -> Any:
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
