"""Records and batches on the host: dicts of arrays that share their leading axis, numpy alone.

A dict may be nested, and an element may be any nest of dicts, lists and tuples. Arrays of JAX's may
stand among the leaves (a source that holds PRNG keys gives them); they are left as they are.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from feedrace.config.fields import MAX_SIZE, check_integer
from feedrace.errors import DataError

VALID_MASK = "valid_mask"
ALIGNMENT = 64  # bytes: what XLA's CPU needs to take memory over
_NARROW = {"int64": "int32", "uint64": "uint32", "float64": "float32", "complex128": "complex64"}


def leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted name, leaf) of a nest of dicts, lists and tuples; None holds no leaf."""
    if isinstance(tree, dict | list | tuple):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        for key, value in items:
            yield from leaves(value, f"{name}.{key}" if name else str(key))
    elif tree is not None:
        yield name, tree


def map_leaves(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """Return a nest like `tree` of what `function` makes of its leaves and those of `others`."""
    if isinstance(tree, dict):
        return {
            key: map_leaves(function, value, *(other[key] for other in others))
            for key, value in tree.items()
        }
    if isinstance(tree, list | tuple):
        made = [
            map_leaves(function, value, *(other[i] for other in others))
            for i, value in enumerate(tree)
        ]
        return type(tree)(*made) if hasattr(tree, "_fields") else type(tree)(made)
    return None if tree is None else function(tree, *others)


def split_records(records: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the records of a dict of arrays one by one."""
    for row in range(count_records(records)):
        yield map_leaves(lambda leaf, row=row: leaf[row], records)


def count_records(records: Any) -> int:
    """Return the length of the leading axis that all leaves share; raise `DataError` if none."""
    lengths = {name: (np.shape(leaf) or (None,))[0] for name, leaf in leaves(records)}
    if len(set(lengths.values())) != 1 or None in lengths.values():
        raise DataError(f"the fields of a batch need one leading axis length; they have {lengths}")
    return int(next(iter(lengths.values())) or 0)


def check_batch_size(batch_size: Any) -> None:
    """Raise `ConfigError` if `batch_size` is not an int from 1 to 2**31 - 1."""
    check_integer("batch_size", batch_size, 1, MAX_SIZE)


def check_numbers(numbers: "np.ndarray[Any, np.dtype[np.int64]]", length: int) -> None:
    """Raise `DataError` if one of the record numbers is not that of one of `length` records."""
    if numbers.size and not (numbers.min() >= 0 and numbers.max() < length):
        wrong = numbers[(numbers < 0) | (numbers >= length)][0]
        raise DataError(f"there is no record {wrong}; records go from 0 to {length - 1}")


def check_no_mask(fields: Any) -> None:
    """Raise `DataError` if a field is called `valid_mask`."""
    if VALID_MASK in fields:
        raise DataError(
            f"a field is called {VALID_MASK!r}, the name of the batch's own mask; rename the field"
        )


def is_host_dtype(dtype: Any) -> bool:
    """Return whether values of `dtype` stay on the host: strings, bytes and other objects."""
    plain = _plain(dtype)
    return plain is not None and plain.kind in "OSU"


def is_ragged(leaf: Any) -> bool:
    """Return whether a leaf holds one array a record: a 1-D array of objects that are arrays."""
    return (
        isinstance(leaf, np.ndarray)
        and leaf.dtype == np.dtype(object)
        and leaf.ndim == 1
        and len(leaf) > 0
        and isinstance(leaf[0], np.ndarray)
    )


def arriving_dtype(dtype: Any, *, wide: bool) -> Any:
    """Return the dtype that arrives on a device for `dtype`: int64 as int32, unless `wide`.

    wide: whether JAX's x64 mode is on. Dtypes of JAX's own and those of the host stay as they are.
    """
    plain = _plain(dtype)
    if plain is None or plain.kind in "OSU":
        return dtype
    plain = plain.newbyteorder("=")
    return plain if wide else np.dtype(_NARROW.get(plain.name, plain))


_AS_IT_IS = "?bBhHiIefF"  # numpy's letters for dtypes that arrive as they are; for speed


def canonical(name: str, array: Any, *, wide: bool) -> Any:
    """Return `array` with the dtype that arrives on a device, its values unchanged.

    Strings, objects and JAX's own arrays come back as they are. Raises `DataError` for an integer
    or a float beyond the dtype that arrives, and for dtypes that JAX lacks; floats are rounded.
    """
    if type(array) is np.ndarray and array.dtype.char in _AS_IT_IS and array.dtype.isnative:
        return array
    if not hasattr(array, "dtype"):
        array = np.asarray(array)
    dtype = _plain(array.dtype)
    if dtype is None or not isinstance(array, np.ndarray | np.generic):
        return array
    array = np.asarray(array)
    if dtype.type in (np.void, np.longdouble, np.clongdouble) or dtype.kind not in "biufcOSUV":
        raise DataError(
            f"field {name!r} has dtype {dtype}, which JAX lacks; convert it, or leave it out"
        )
    wanted = arriving_dtype(dtype, wide=wide)
    if wanted == dtype:
        return array
    if dtype.kind in "iu" and array.size:
        low, high, limits = int(array.min()), int(array.max()), np.iinfo(wanted)
        if low < limits.min or high > limits.max:
            raise _too_large(name, high if high > limits.max else low, wanted)
    try:
        with np.errstate(over="raise"):
            return np.asarray(array, wanted)
    except FloatingPointError:
        raise _too_large(name, np.abs(array[np.isfinite(array)]).max(), wanted) from None


def pad_batch(records: dict[str, Any], *, batch_size: int) -> dict[str, Any]:
    """Return a batch of static shape from 1 to `batch_size` records.

    Every leaf comes back with leading axis `batch_size`, padded with zeros (objects with None), and
    `valid_mask`, bool, is True for records and False for padding. Raises `DataError` if leading
    axes differ, if the records of a field differ in shape, or if a field is called `valid_mask`.
    """
    check_batch_size(batch_size)
    check_no_mask(records)
    for name, leaf in leaves(records):
        if is_ragged(leaf):
            raise ragged_error(name)
    count = count_records(records)
    if not 1 <= count <= batch_size:
        raise DataError(f"{count} records do not make a batch of {batch_size}")
    if count < batch_size:
        records = map_leaves(lambda leaf: _padded(leaf, batch_size - count), records)
    return {**records, VALID_MASK: np.arange(batch_size) < count}


def ragged_error(name: str) -> DataError:
    """Return the error for a field whose records differ in shape, in a batch that needs one."""
    return DataError(
        f"the records of field {name!r} differ in shape; use a batcher that pads them (`bucket`, "
        f"`pack` or `multi-rate`), or give them one shape in a record "
        f"stage, as `resize` and `random-resized-crop` do images"
    )


def blank(leaf: Any) -> Any:
    """Return padding like a leaf: zeros, or None for objects."""
    if is_host_dtype(leaf.dtype):
        return np.full(np.shape(leaf), None, object)
    return _namespace(leaf).zeros_like(leaf)


def aligned(shape: tuple[int, ...], dtype: Any) -> Any:
    """Return an empty array whose memory XLA's CPU takes over without a copy."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    offset = -memory.ctypes.data % ALIGNMENT
    return memory[offset : offset + size].view(dtype).reshape(shape)


def _padded(leaf: Any, missing: int) -> Any:
    padding = blank(leaf[:1])
    xp = _namespace(padding)
    return xp.concat([leaf, xp.broadcast_to(padding, (missing, *leaf.shape[1:]))])


def _namespace(leaf: Any) -> Any:
    """Return numpy, or `jax.numpy` for JAX's arrays: if there is one, it is imported."""
    return np if isinstance(leaf, np.ndarray) else sys.modules["jax.numpy"]


def _plain(dtype: Any) -> "np.dtype[Any] | None":
    """Return a numpy dtype, or None for JAX's own, such as that of PRNG keys."""
    try:
        plain: np.dtype[Any] = np.dtype(dtype)
        return plain
    except TypeError:
        return None


def _too_large(name: str, value: Any, dtype: Any) -> DataError:
    return DataError(
        f"field {name!r} holds {value}, which does not fit {dtype}; enable jax_enable_x64, or "
        f"leave the field out"
    )
