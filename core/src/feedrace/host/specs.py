"""What arrives: specs of elements and batches, and the batch layout that they promise."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from feedrace.config.fields import check_integer
from feedrace.errors import DataError

VALID_MASK = "valid_mask"


def check_batch_size(batch_size: Any) -> None:
    """Raise `ConfigError` where `batch_size` is not an int of 1 or more."""
    check_integer("batch_size", batch_size, 1)


def is_host_dtype(dtype: Any) -> bool:
    """Return whether values of `dtype` stay on the host: strings, bytes and other objects."""
    return not _is_extended(dtype) and np.dtype(dtype).kind in "OSU"


def arriving_dtype(dtype: Any) -> Any:
    """Return the dtype that arrives on a device for `dtype`: int64 as int32 unless x64 is on."""
    if _is_extended(dtype) or is_host_dtype(dtype):
        return dtype
    return jax.dtypes.canonicalize_dtype(np.dtype(dtype).newbyteorder("="))


def is_ragged(leaf: Any) -> bool:
    """Return whether a leaf holds one array a record: a 1-D array of objects that are arrays."""
    return (
        not isinstance(leaf, jax.Array)
        and getattr(leaf, "dtype", None) == np.dtype(object)
        and leaf.ndim == 1
        and len(leaf) > 0
        and isinstance(leaf[0], np.ndarray)
    )


def spec_of(records: Any) -> Any:
    """Return the element spec of a pytree of arrays that share their leading axis.

    A dimension in which records differ is None in the shape.
    """
    return jax.tree.map(_leaf_spec, records)


def _leaf_spec(leaf: Any) -> jax.ShapeDtypeStruct:
    if not is_ragged(leaf):
        return jax.ShapeDtypeStruct(np.shape(leaf)[1:], arriving_dtype(_dtype(leaf)))
    sizes = [{entry.shape[axis] for entry in leaf} for axis in range(leaf[0].ndim)]
    shape = tuple(size.pop() if len(size) == 1 else None for size in sizes)
    return jax.ShapeDtypeStruct(shape, arriving_dtype(leaf[0].dtype))


def batch_spec(element_spec: Any, *, batch_size: int) -> dict[str, Any]:
    """Return the spec of a batch of `batch_size` elements.

    Every leaf gets a leading axis `(batch_size,)`, and a bool leaf `valid_mask` of shape
    `(batch_size,)` is added. An element that is not a dict stands under the key "data".
    Raises `ConfigError` for a batch size below 1, `DataError` for an element with a `valid_mask`
    and for one whose shape varies.
    """
    check_batch_size(batch_size)
    fields = element_spec if isinstance(element_spec, dict) else {"data": element_spec}
    check_no_mask(fields)
    for path, leaf in jax.tree_util.tree_leaves_with_path(fields):
        if None in leaf.shape:
            raise _ragged_error(path)
    batched = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((batch_size, *leaf.shape), arriving_dtype(leaf.dtype)),
        fields,
    )
    return {**batched, VALID_MASK: jax.ShapeDtypeStruct((batch_size,), np.dtype(bool))}


def pad_batch(records: dict[str, Any], *, batch_size: int) -> dict[str, Any]:
    """Return a batch of static shape from up to `batch_size` records.

    records: dict (leaves may be nested) of arrays with one leading axis, 1 to `batch_size` long.

    Every leaf comes back with leading axis `batch_size`, padded with zeros (objects: None), and
    `valid_mask` tells records (True) from padding. Raises `DataError` where leading axes differ,
    where the records of a field differ in shape, or where a field is called `valid_mask`.
    """
    check_batch_size(batch_size)
    check_no_mask(records)
    for path, leaf in jax.tree_util.tree_leaves_with_path(records):
        if is_ragged(leaf):
            raise _ragged_error(path)
    count = count_records(records)
    if not 1 <= count <= batch_size:
        raise DataError(f"{count} records do not make a batch of {batch_size}")
    mask = np.arange(batch_size) < count
    if count == batch_size:
        return {**records, VALID_MASK: mask}
    padded = jax.tree.map(lambda leaf: _pad(leaf, batch_size - count), records)
    return {**padded, VALID_MASK: mask}


def count_records(records: Any) -> int:
    """Return the length of the leading axis that all leaves share; raises `DataError` if none."""
    lengths = {
        jax.tree_util.keystr(path): (np.shape(leaf) or (None,))[0]
        for path, leaf in jax.tree_util.tree_leaves_with_path(records)
    }
    if len(set(lengths.values())) != 1 or None in lengths.values():
        raise DataError(f"the fields of a batch need one leading axis length; they have {lengths}")
    return int(next(iter(lengths.values())) or 0)


def check_numbers(numbers: Any, length: int) -> None:
    """Raise `DataError` where one of an array of record numbers is none of `length` records."""
    if numbers.size and not (numbers.min() >= 0 and numbers.max() < length):
        wrong = numbers[(numbers < 0) | (numbers >= length)][0]
        raise DataError(f"there is no record {wrong}; records go from 0 to {length - 1}")


def canonical(name: str, array: Any) -> Any:
    """Return `array` with the dtype that arrives on a device, its values unchanged.

    Strings and objects come back as they are. Raises `DataError` where an integer does not fit.
    """
    array = array if hasattr(array, "dtype") else np.asarray(array)
    dtype = array.dtype
    if not _is_extended(dtype) and dtype.kind not in "biufcOSUV":
        raise DataError(f"field {name!r} is of dtype {dtype}, which JAX has not; convert it")
    wanted = arriving_dtype(dtype)
    if wanted == dtype or isinstance(array, jax.Array):
        return array
    if np.dtype(dtype).kind in "iu" and array.size:
        low, high, limits = int(array.min()), int(array.max()), np.iinfo(wanted)
        if low < limits.min or high > limits.max:
            worst = high if high > limits.max else low
            raise DataError(
                f"field {name!r} holds {worst}, which does not fit {wanted}; "
                f"enable jax_enable_x64, or leave the field out"
            )
    return np.asarray(array, wanted)


def arrive(records: Any) -> Any:
    """Return the pytree as JAX arrays of the dtypes that its spec promises; strings stay numpy's.

    Raises `DataError` where an integer does not fit.
    """

    def leaf(path: Any, value: Any) -> Any:
        value = canonical(jax.tree_util.keystr(path, simple=True, separator="."), value)
        return value if is_host_dtype(value.dtype) else jnp.asarray(value)

    return jax.tree_util.tree_map_with_path(leaf, records)


def _dtype(x: Any) -> Any:
    return x.dtype if hasattr(x, "dtype") else np.asarray(x).dtype


def _is_extended(dtype: Any) -> bool:
    """Return whether `dtype` is one of JAX's own, such as that of PRNG keys."""
    return bool(jnp.issubdtype(dtype, jax.dtypes.extended))


def _pad(leaf: Any, missing: int) -> Any:
    if isinstance(leaf, jax.Array):
        padding = jnp.broadcast_to(jnp.zeros_like(leaf[:1]), (missing, *leaf.shape[1:]))
        return jnp.concatenate([leaf, padding])
    if leaf.dtype == object:
        return np.concatenate([leaf, np.full((missing, *leaf.shape[1:]), None)])
    return np.concatenate([leaf, np.zeros((missing, *leaf.shape[1:]), leaf.dtype)])


def _ragged_error(path: Any) -> DataError:
    name = jax.tree_util.keystr(path, simple=True, separator=".")
    return DataError(
        f"the records of field {name!r} differ in shape; take a batcher that pads them "
        f"(`bucket`, `pack` or `multi-rate`), or give them one shape"
    )


def check_no_mask(fields: Any) -> None:
    """Raise `DataError` where a field is called `valid_mask`."""
    if VALID_MASK in fields:
        raise DataError(
            f"a field is called {VALID_MASK!r}, the name of the batch's own mask; rename the field"
        )
