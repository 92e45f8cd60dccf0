"""Sources whose records are arrays in memory."""

import hashlib
import os
import threading
import zipfile
import zlib
from typing import Any

import attrs
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from feedrace.builtin.config import MemorySourceConfig
from feedrace.config.fields import StructuralConfig
from feedrace.device import specs
from feedrace.errors import DataError
from feedrace.host.arrays import ArrayReader
from feedrace.host.records import check_numbers, count_records, is_host_dtype, is_ragged
from feedrace.host.values import as_array, as_text, bad_entry, is_rounded
from feedrace.modules.source import SourceModule
from feedrace.storage.paths import missing_file


class ArraySource(SourceModule):
    """A source over a dict of arrays on the device; subclasses give `load`, `length` and a spec.

    The arrays are loaded when they are first needed, once for a source and all its clones.
    """

    def __init__(
        self, config: StructuralConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        super().__init__(config, rngs=rngs, name=name)
        self._data: dict[str, Any] = nnx.data({})  # arguments, if a traced function takes a source
        self._fields: _Fields = nnx.static(_Fields())

    def load(self) -> dict[str, Any]:
        """Return the records as a dict of arrays, numpy or JAX ones, with one leading axis."""
        raise NotImplementedError(f"{type(self).__name__} must define load")

    @property
    def data(self) -> dict[str, Any]:
        """The records: JAX arrays, and numpy arrays of objects for what stays on the host.

        Raises `DataError` if an integer does not fit the dtype that arrives on the device.
        """
        return {**self.device_data, **self._fields.host}

    @property
    def on_device(self) -> bool:
        """Whether all fields are on the device; known without loading in some subclasses."""
        _ = self.device_data
        return not self._fields.host

    @property
    def device_data(self) -> dict[str, Any]:
        """The fields on the device, which are all of them if the source is `on_device`."""
        fields = self._fields
        with fields.lock:
            if fields.device is None:
                with jax.ensure_compile_time_eval():  # the need may arise in a traced function
                    loaded = {key: _as_field(key, value) for key, value in self.load().items()}
                fields.host = {key: value for key, value in loaded.items() if _is_host(value)}
                fields.device = {key: loaded[key] for key in loaded if key not in fields.host}
            if not self._data:
                self._data.update(fields.device)
        return self._data

    def column(self, field: str) -> Any:
        """Return one field of all records."""
        return self.data[field]

    def fetch(self, indices: Any) -> dict[str, Any]:
        numbers = np.asarray(indices, np.int64)
        check_numbers(numbers, self.length)
        gathered = _gather(self.device_data, numbers.astype(np.int32))
        return {**gathered, **jax.tree.map(lambda value: value[numbers], self._fields.host)}

    def reader(self) -> ArrayReader | None:
        """Return a part that holds the records on the host; None if some are PRNG keys."""
        leaves = jax.tree.leaves(self.data)
        if any(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in leaves):
            return None
        return ArrayReader(jax.tree.map(np.asarray, self.data))

    def get_batch_at(self, start: Any, size: int, key: Any | None = None) -> dict[str, Any]:
        """Return `size` records from position `start` on, wrapping around at the end.

        start: int or traced int32 scalar, below 2**31. size: a Python int.
        key: PRNG key that chooses the permutation; required in random order, ignored otherwise.

        Nothing is kept or moved, so that it can be traced under `jax.jit` and `jax.lax.scan`; the
        permutation is computed for these positions alone. Fields that stay on the host are left
        out. Raises `ValueError` if random order has no key.
        """
        if not self.is_random_order:
            order = (start + jnp.arange(size, dtype=jnp.int32)) % self.length
        elif key is None:
            raise ValueError("get_batch_at needs a key while the source is in random order")
        else:
            order = self._keyed_order(start, size, key)
        return dict(_gather(self.device_data, order))


class MemorySource(ArraySource):
    """The records of `config.data` or of the file `config.path`, on the device.

    Strings stay on the host. So do fields whose records differ in shape, given as a list of arrays
    of one rank; a batcher that pads them makes arrays for the device of them.

    Raises `DataError` if there are no records or fields differ in length.
    """

    def __init__(
        self, config: MemorySourceConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        super().__init__(config, rngs=rngs, name=name)
        self._digest = ""
        if config.data is not None and not config.data:
            raise DataError("a memory source has no fields; data needs at least one array")
        self.length = count_records(self.data)
        if self.length < 1:
            raise DataError("a memory source has no records; its arrays need at least 1")

    def load(self) -> dict[str, Any]:
        data: dict[str, Any] = self.config.data
        return _read(self.config.path) if data is None else data

    def element_spec(self) -> Any:
        return specs.spec_of(self.data)

    def identity(self) -> str:
        """Return a digest of the records, for the state's fingerprint."""
        if not self._digest:
            digest = hashlib.blake2b(digest_size=8)
            for path, field in jax.tree_util.tree_leaves_with_path(self.data):
                for value in field if is_ragged(field) else [field]:
                    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
                        value = jax.random.key_data(value)
                    host, key = np.asarray(value), jax.tree_util.keystr(path)
                    strings = host.dtype == object
                    digest.update(f"{key}{host.shape}{host.dtype}".encode())
                    digest.update(repr(host.tolist()).encode() if strings else host.tobytes())
            self._digest = digest.hexdigest()
        return self._digest


def _read(path: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of a .npz file by name; raise `DataError` if it cannot be read as one."""
    how = "numpy.savez(path, image=images, label=labels) writes such a file"
    if not os.path.exists(path):
        raise missing_file(path)
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path} is no .npz file; {how}")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except ValueError as error:
        raise DataError(
            f"{path} holds something other than arrays of numbers or text ({error}); {how}"
        ) from error
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}; write it again") from error


@jax.jit
def _gather(data: dict[str, Any], indices: Any) -> Any:
    return jax.tree.map(lambda value: jnp.take(value, indices, axis=0, mode="clip"), data)


@attrs.define(eq=False)
class _Fields:
    """The fields that a source and its clones load once; `device` is None until then."""

    lock: Any = attrs.field(factory=threading.Lock)
    device: dict[str, Any] | None = None
    host: dict[str, Any] = attrs.field(factory=dict)


def _as_field(name: str, value: Any) -> Any:
    """Return a field, which may be nested: JAX arrays, or all numpy's if it has strings or arrays.

    Raises `DataError` for entries that are neither numbers, strings nor arrays, for strings among
    other entries, and for masked arrays.
    """
    if isinstance(value, dict):
        made = {key: _as_field(f"{name}.{key}", part) for key, part in value.items()}
        return jax.tree.map(np.asarray, made) if _is_host(made) else made
    array: Any = value if isinstance(value, jax.Array) else as_array(name, value)
    if array is None:
        return _as_ragged(name, value)
    if array.ndim == 0:
        raise DataError(f"field {name!r} is a single value; it needs one entry for each record")
    if not is_host_dtype(array.dtype):
        return jnp.asarray(specs.canonical(name, array))
    entries = array.reshape(-1).tolist()
    if array.ndim == 1 and isinstance((entries or [""])[0], np.ndarray | jax.Array | list | tuple):
        return _as_ragged(name, entries)
    return as_text(name, array)  # a copy: the caller may write into its own


def _as_ragged(name: str, entries: Any) -> Any:
    """Return a 1-D array of objects, one array a record, all of one rank, and one dtype or text."""
    arrays: list[Any] = []
    for number, entry in enumerate(entries):
        array = as_array(f"{name}[{number}]", entry)
        if array is None:
            raise bad_entry(name, entry, number, "which is not an array: its parts differ in shape")
        if is_host_dtype(array.dtype):
            array = as_text(f"{name}[{number}]", array)
        arrays.append(specs.canonical(f"{name}[{number}]", array))
        if array.ndim != arrays[0].ndim or array.ndim == 0:
            rule = f"an array of the first one's rank ({arrays[0].ndim}), 1 or more"
            found = f"of {arrays[-1].dtype} and rank {array.ndim}"
            raise bad_entry(name, entry, number, f"{found}; each record needs {rule}")
    # An empty list says nothing of its dtype.
    filled = [(number, array) for number, array in enumerate(arrays) if array.size]
    first = filled[0][1] if filled else arrays[0]
    for number, array in filled:
        if (array.dtype == object) != (first.dtype == object):
            rule = f"of {array.dtype}; those before it are of {first.dtype}"
            raise bad_entry(name, entries[number], number, rule)
    if first.dtype == object:
        dtype = first.dtype
    else:
        dtypes = {array.dtype for _, array in filled} or {first.dtype}
        dtype = specs.arriving_dtype(np.result_type(*dtypes))
    for number, array in filled:
        if is_rounded(array, dtype):
            rule = f"which {dtype} rounds; give all one dtype"
            raise bad_entry(name, entries[number], number, rule)
    made = [array.astype(dtype) for array in arrays]  # copies: the caller may write into its own
    for array in made:
        array.flags.writeable = False
    return np.fromiter(made, object, len(made))


def _is_host(field: Any) -> bool:
    return any(leaf.dtype == object for leaf in jax.tree.leaves(field))
