"""What arrives on a device: the specs of elements and batches."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from feedrace.host import records as host


def arriving_dtype(dtype: Any) -> Any:
    """Return the dtype that arrives on a device for `dtype`: int64 as int32 unless x64 is on."""
    return host.arriving_dtype(dtype, wide=is_wide())


def canonical(name: str, array: Any) -> Any:
    """Return `array` with the dtype that arrives on a device, its values unchanged.

    Raises as `feedrace.host.records.canonical` does.
    """
    return host.canonical(name, array, wide=is_wide())


def arrive(records: Any) -> Any:
    """Return the pytree as JAX arrays of the dtypes that its spec promises; strings stay numpy's.

    Raises `DataError` for an integer or a float that does not fit.
    """

    def leaf(path: Any, value: Any) -> Any:
        value = canonical(jax.tree_util.keystr(path, simple=True, separator="."), value)
        return value if host.is_host_dtype(value.dtype) else jnp.asarray(value)

    return jax.tree_util.tree_map_with_path(leaf, records)


def spec_of(records: Any) -> Any:
    """Return the element spec of a pytree of arrays that share their leading axis.

    None stands in a shape for a dimension in which records differ.
    """
    return jax.tree.map(_leaf_spec, records)


def _leaf_spec(leaf: Any) -> jax.ShapeDtypeStruct:
    if not host.is_ragged(leaf):
        dtype = leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype
        return jax.ShapeDtypeStruct(np.shape(leaf)[1:], arriving_dtype(dtype))
    sizes = [{entry.shape[axis] for entry in leaf} for axis in range(leaf[0].ndim)]
    shape: Any = tuple(size.pop() if len(size) == 1 else None for size in sizes)
    return jax.ShapeDtypeStruct(shape, arriving_dtype(leaf[0].dtype))


def batch_spec(element_spec: Any, *, batch_size: int) -> dict[str, Any]:
    """Return the spec of a batch of `batch_size` elements.

    Every leaf gets a leading axis `(batch_size,)`, and a bool leaf `valid_mask` of shape
    `(batch_size,)` is added. An element that is not a dict stands under the key "data". Raises
    `ConfigError` for a batch size below 1; `DataError` for an element with a `valid_mask`, and for
    one whose shape varies.
    """
    host.check_batch_size(batch_size)
    fields = element_spec if isinstance(element_spec, dict) else {"data": element_spec}
    host.check_no_mask(fields)
    for name, leaf in host.leaves(fields):
        if None in leaf.shape:
            raise host.ragged_error(name)
    batched = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((batch_size, *leaf.shape), arriving_dtype(leaf.dtype)),
        fields,
    )
    return {**batched, host.VALID_MASK: jax.ShapeDtypeStruct((batch_size,), np.dtype(bool))}


def window_spec(element_spec: Any, window: tuple[int, ...]) -> Any:
    """Return the spec of a window of records: `window` goes before the shape of each leaf."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((*window, *leaf.shape), leaf.dtype), element_spec
    )


def is_wide() -> bool:
    """Return whether JAX's x64 mode is on, so that 64-bit numbers arrive as they are."""
    config: Any = jax.config
    return bool(config.jax_enable_x64)
