"""The order of records, stored or shuffled anew each epoch, computed position by position.

A shuffle is a keyed bijection on [0, n): a Feistel network (Luby & Rackoff, 1988) on pairs
(high, low), with high in [0, a) and low in [0, 2**k). Each round adds to one half, or xors it with,
a hash of the other half. a and k are such that a * 2**k exceeds n by a share of less than about
1 / sqrt(n); positions that land outside [0, n) walk on along their cycle until they land inside
(Black & Rogaway, 2002). No permutation is ever held in memory.

Arithmetic is on uint32 as long as n < 2**32, and written once over an array namespace: numpy and
`jax.numpy` give the same numbers. This module imports JAX only once a program uses it there.
"""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import jax

_MASK32 = 0xFFFFFFFF
_GOLDEN = 0x9E3779B9
_MURMUR = (0x85EBCA6B, 0xC2B2AE35, _MASK32)
_WALKING = (64, 512, 8192)
_BLOCKS = (*_WALKING, 65536, 262144)


@attrs.frozen
class Order:
    """The order of n records, epoch after epoch; position p lies in epoch p // n.

    n: records in an epoch, 1 or more.
    seed: None for the stored order; else an int below 2**64 (or an integer scalar, which may be
        traced) that chooses a permutation for each epoch.
    stream: an int below 2**64; orders of one seed and different streams have nothing in common.

    Raises `ValueError` for n below 1.
    """

    n: int = attrs.field(validator=attrs.validators.ge(1))
    seed: Any = None
    stream: int = 0

    def indices(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the records at absolute positions [start, stop), of shape (stop - start,).

        If the program has imported JAX, XLA computes long stretches at memory speed, on the CPU;
        otherwise numpy computes the same numbers.
        """
        if self.seed is None:
            return np.arange(start, stop, dtype=np.int64) % self.n
        indices = np.empty(stop - start, np.int64)
        fill = _fill_by_xla if "jax" in sys.modules and self.n < 2**31 else _fill
        done = 0
        for epoch, offset, count in epoch_spans(start, stop, self.n):
            keys = round_keys(self.n, self.seed, epoch, self.stream)
            fill(indices[done : done + count], offset, self.n, keys)
            done += count
        return indices

    def traced(self, epoch: Any, positions: "jax.Array") -> "jax.Array":
        """Return the records at int32 positions of an epoch (uint32), in a function JAX traces."""
        if self.seed is None:
            return positions
        import jax

        keys = round_keys(self.n, self.seed, epoch, self.stream, xp=jax.numpy)
        traced: jax.Array = permute(positions, self.n, keys, xp=jax.numpy)
        return traced

    def positions(self, epoch: int, records: Any) -> NDArray[np.int64]:
        """Return where in an epoch each record stands: the inverse of `indices`.

        records: an int or an int64 array. Raises `ValueError` for one that does not exist.
        """
        records = np.asarray(records, np.int64)
        outside = records[(records < 0) | (records >= self.n)]
        if outside.size:
            raise ValueError(f"record {outside[0]} does not exist; they go from 0 to {self.n - 1}")
        if self.seed is None:
            return records
        keys = round_keys(self.n, self.seed, epoch, self.stream)
        flat: NDArray[np.int64] = records.reshape(-1)
        places: NDArray[np.int64] = permute(flat, self.n, keys, inverse=True)
        return places.reshape(records.shape)


def epoch_spans(start: int, stop: int, n: int) -> Iterator[tuple[int, int, int]]:
    """Yield (epoch, first position in it, number of positions) of each epoch in [start, stop)."""
    while start < stop:
        epoch, offset = divmod(start, n)
        count = min(stop - start, n - offset)
        yield epoch, offset, count
        start += count


def _fill(indices: NDArray[np.int64], offset: int, n: int, keys: tuple[int, ...]) -> None:
    """Write into `indices` the records at positions offset, offset + 1, ... of one epoch."""
    positions = np.arange(offset, offset + len(indices), dtype=np.int64)
    indices[:] = permute(positions, n, keys)


def _fill_by_xla(indices: NDArray[np.int64], offset: int, n: int, keys: tuple[int, ...]) -> None:
    """Do as `_fill` does, through jitted blocks of a few sizes, each compiled once for all n.

    In small blocks XLA walks the few positions that land outside. In large ones, where another pass
    over the whole block would cost more, numpy does.
    """
    a, k = _domain(n)
    words = np.array(keys, np.uint32)

    def begin(done: int) -> tuple[Any, int, int]:
        left = len(indices) - done
        size = next((block for block in _BLOCKS if block >= left), _BLOCKS[-1])
        with _on_cpu():
            block = _compiled(size)(np.array([offset + done, a, k, n], np.uint32), words)
        return block, done, min(done + size, len(indices))

    end = 0
    running = begin(0)
    while end < len(indices):
        block, start, end = running
        if end < len(indices):
            running = begin(end)  # XLA computes it while this one is copied
        values = np.asarray(block)[: end - start]
        indices[start:end] = values
        if len(block) not in _WALKING:
            outside = np.flatnonzero(values >= n)
            indices[start + outside] = _walk(values[outside], n, lambda x: _network(x, a, k, keys))


@functools.cache
def _cpu() -> "jax.Device | None":
    """Return the CPU that JAX has beside an accelerator, else None."""
    import jax

    if jax.default_backend() == "cpu":
        return None
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS leaves it out
        return None


def _on_cpu() -> contextlib.AbstractContextManager[Any]:
    """Have the CPU compute a block: on an accelerator it would wait for the training step."""
    import jax

    device = _cpu()
    return contextlib.nullcontext() if device is None else jax.default_device(device)


@functools.cache
def _compiled(size: int) -> Callable[..., "jax.Array"]:
    """Return the jitted function of ([start, a, k, n], keys) that permutes `size` positions."""
    import jax
    import jax.numpy as jnp

    @jax.jit
    def block(place: jax.Array, keys: jax.Array) -> jax.Array:
        start, a, k, n = place
        # Positions beyond the end of an epoch are cut off later, but must not walk for ever.
        positions = jnp.minimum(start + jnp.arange(size, dtype=jnp.uint32), n - 1)

        def once(x: jax.Array) -> Any:
            return _network(x, a, k, keys, xp=jnp)

        x: jax.Array = once(positions)
        return _walk_traced(x, n, once) if size in _WALKING else x

    return block


def round_keys(n: int, seed: Any, epoch: Any, stream: Any = 0, *, xp: Any = np) -> tuple[Any, ...]:
    """Return a 32-bit key for each round of a permutation of [0, n).

    Each of `seed`, `epoch` and `stream` is an int below 2**64 or an integer scalar array, which may
    be traced. They are mixed word by word into 64 bits with MurmurHash3's finaliser.
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
    rounds = 16 if n < 2**12 else 8 if n < 2**16 else 6  # more where the halves are small
    return tuple(
        _mix((left + word(r * _GOLDEN & _MASK32)) & mask, constants)
        ^ ((right * word(2 * r + 1)) & mask)
        for r in range(rounds)
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

    def once(x: Any) -> Any:
        return _network(x, a, k, keys, xp=xp, inverse=inverse)

    x = once(positions.astype(word))
    if n < a << k:  # else nothing lies outside
        x = _walk(x, n, once) if xp is np else _walk_traced(x, n, once)
    return x.astype(positions.dtype)


def _walk(x: Any, n: int, once: Callable[[Any], Any]) -> Any:
    """Send each element of the numpy array `x` through `once` until it is less than n."""
    flat = x.reshape(-1) if x.flags.writeable else x.flatten()
    outside = np.flatnonzero(flat >= n)
    while outside.size:
        walked = once(flat[outside])
        flat[outside] = walked
        outside = outside[walked >= n]
    return flat.reshape(x.shape)


def _walk_traced(x: Any, n: Any, once: Callable[[Any], Any]) -> Any:
    """Do as `walk` does, in a function that JAX traces."""
    import jax

    where = jax.numpy.where
    return jax.lax.while_loop(lambda y: (y >= n).any(), lambda y: where(y >= n, once(y), y), x)
