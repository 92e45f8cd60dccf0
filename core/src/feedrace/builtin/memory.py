"""Sources whose records are arrays in memory."""

import hashlib
import threading
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from feedrace.builtin.config import MemorySourceConfig
from feedrace.config.fields import StructuralConfig
from feedrace.device import specs
from feedrace.errors import DataError
from feedrace.host.records import check_numbers, count_records, is_ragged
from feedrace.modules.cache import IdentityDict
from feedrace.modules.source import SourceModule


class ArraySource(SourceModule):
    """A source over a dict of arrays on the device; subclasses give `load`, `length` and a spec.

    The arrays are loaded when they are first needed, once.
    """

    def __init__(
        self, config: StructuralConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        super().__init__(config, rngs=rngs, name=name)
        self._data: dict[str, Any] = nnx.data({})
        self._host: _HostFields = nnx.static(_HostFields())

    def load(self) -> dict[str, Any]:
        """Return the records as a dict of arrays, numpy or JAX ones, with one leading axis."""
        raise NotImplementedError(f"{type(self).__name__} must define load")

    @property
    def data(self) -> dict[str, Any]:
        """The records: JAX arrays, and numpy arrays of objects for what stays on the host.

        Raises `DataError` where an integer does not fit the dtype that arrives on the device.
        """
        with self._host.lock:
            if not self._host.loaded:
                with jax.ensure_compile_time_eval():  # the need may arise in a traced function
                    loaded = {key: _as_field(key, value) for key, value in self.load().items()}
                for key, value in loaded.items():
                    (self._host if _is_host(value) else self._data)[key] = value
                self._host.device = dict(self._data)
                self._host.loaded = True
            elif not self._data:  # a copy that was made before they were loaded
                self._data.update(self._host.device)
        return {**self._data, **self._host}

    @property
    def on_device(self) -> bool:
        """Whether all fields are on the device; known without loading in some subclasses."""
        _ = self.data
        return not self._host

    @property
    def device_data(self) -> dict[str, Any]:
        """The records of a source that is `on_device`."""
        _ = self.data
        return self._data

    def column(self, field: str) -> Any:
        """Return one field of all records."""
        return self.data[field]

    def clone(self) -> Self:
        with self._host.lock:
            twin = super().clone()
            twin._host = nnx.static(_HostFields(self._host))
            twin._host.loaded, twin._host.device = self._host.loaded, self._host.device
        return twin

    def fetch(self, indices: Any) -> dict[str, Any]:
        numbers = np.asarray(indices, np.int64)
        check_numbers(numbers, self.length)
        _ = self.data
        gathered: dict[str, Any] = _gather(self._data, numbers.astype(np.int32))
        host = jax.tree.map(lambda value: value[numbers], dict(self._host))
        return {**gathered, **host}

    def get_batch_at(self, start: Any, size: int, key: Any | None = None) -> dict[str, Any]:
        """Return `size` records from position `start` on, wrapping around at the end.

        start: int or traced int32 scalar, below 2**31. size: a Python int.
        key: PRNG key that chooses the permutation; required in random order, ignored otherwise.

        Nothing is kept or moved, so that it can be traced under `jax.jit` and `jax.lax.scan`; the
        permutation is computed for these positions alone. Fields that stay on the host are left
        out. Raises `ValueError` where random order has no key.
        """
        if self.is_random_order:
            if key is None:
                raise ValueError("get_batch_at needs a key while the source is in random order")
            order = self._keyed_order(start, size, key)
        else:
            order = (start + jnp.arange(size, dtype=jnp.int32)) % self.length
        _ = self.data
        batch: dict[str, Any] = _gather(self._data, order)
        return batch


class MemorySource(ArraySource):
    """The records of `config.data`, held on the device; strings stay on the host.

    So do fields whose records differ in shape, given as a list of arrays of one rank; a batcher
    that pads them makes arrays for the device of them.

    Raises `DataError` where there are no records or fields differ in length.
    """

    def __init__(
        self, config: MemorySourceConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        super().__init__(config, rngs=rngs, name=name)
        self._digest = ""
        if not config.data:
            raise DataError("a memory source has no fields; data needs at least one array")
        self.length = count_records(self.data)
        if self.length < 1:
            raise DataError("a memory source has no records; its arrays need at least 1")

    def load(self) -> dict[str, Any]:
        data: dict[str, Any] = self.config.data
        return data

    def element_spec(self) -> Any:
        return specs.spec_of(self.data)

    def identity(self) -> str:
        """Return a digest of the records, for the state's fingerprint."""
        if not self._digest:
            digest = hashlib.blake2b(digest_size=8)
            for path, value in jax.tree_util.tree_leaves_with_path(self.data):
                if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
                    value = jax.random.key_data(value)
                key, host = jax.tree_util.keystr(path), np.asarray(value)
                digest.update(f"{key}{host.shape}{host.dtype}".encode())
                if is_ragged(host):
                    for entry in host:
                        digest.update(f"{entry.shape}{entry.dtype}".encode() + entry.tobytes())
                else:
                    strings = host.dtype == object
                    digest.update(repr(host.tolist()).encode() if strings else host.tobytes())
            self._digest = digest.hexdigest()
        return self._digest


@jax.jit
def _gather(data: dict[str, Any], indices: Any) -> dict[str, Any]:
    gathered: dict[str, Any] = jax.tree.map(
        lambda value: jnp.take(value, indices, axis=0, mode="clip"), data
    )
    return gathered


class _HostFields(IdentityDict):
    """The fields that stay on the host; `device` has the rest once all are `loaded`."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.loaded = False
        self.device: dict[str, Any] = {}
        self.lock = threading.Lock()


def _as_field(name: str, value: Any) -> Any:
    """Return a field, which may be nested: all JAX arrays, or, with strings in it, all numpy's."""
    if isinstance(value, dict):
        made = {key: _as_field(f"{name}.{key}", part) for key, part in value.items()}
        return jax.tree.map(np.asarray, made) if _is_host(made) else made
    array = _as_array(name, value)
    return array if array.dtype == object else jnp.asarray(specs.canonical(name, array))


def _is_host(value: Any) -> bool:
    return any(leaf.dtype == object for leaf in jax.tree.leaves(value))


def _as_array(name: str, value: Any) -> Any:
    """Return an array of numbers, strings or arrays; raises `DataError` for anything else."""
    try:
        array = value if hasattr(value, "dtype") else np.asarray(value)
    except ValueError:  # lists of different lengths
        return _as_ragged(name, value)
    arrays = array.dtype == object and array.ndim == 1 and len(array) > 0
    if arrays and isinstance(array[0], np.ndarray | jax.Array | list | tuple):
        return _as_ragged(name, array)
    if not isinstance(array, jax.Array) and array.dtype.kind in "US":
        array = array.astype(object)
    if array.ndim == 0:
        raise DataError(f"field {name!r} is a single value; it needs one entry for each record")
    if array.dtype != object:
        return array
    for number, entry in enumerate(array.reshape(-1).tolist()):
        if not isinstance(entry, str | bytes):
            raise DataError(
                f"field {name!r} holds {entry!r} (entry {number}), which is neither a number that "
                f"fits nor a string"
            )
    return array


def _as_ragged(name: str, entries: Any) -> Any:
    """Return a 1-D array of objects, one numpy array a record, all of one rank and dtype."""
    ragged = np.empty(len(entries), object)
    for number, entry in enumerate(entries):
        try:
            array = np.asarray(entry)
        except ValueError as error:
            said = f"field {name!r} holds {entry!r} (entry {number}), which is no array: {error}"
            raise DataError(said) from error
        ragged[number] = specs.canonical(f"{name}[{number}]", array)
        found, first = ragged[number], ragged[0]
        numeric = found.dtype == bool or jnp.issubdtype(found.dtype, np.number)
        if not numeric or found.ndim != first.ndim or found.ndim == 0:
            raise DataError(
                f"field {name!r} holds {entry!r} (entry {number}), of {found.dtype} and rank "
                f"{found.ndim}; each record needs a numeric array of the first one's rank "
                f"({first.ndim}), 1 or more"
            )
    # An empty list says nothing of its dtype.
    dtypes = {entry.dtype for entry in ragged if entry.size} or {ragged[0].dtype}
    dtype = specs.arriving_dtype(np.result_type(*dtypes))
    for number, entry in enumerate(ragged):
        ragged[number] = entry.astype(dtype, copy=False)
    return ragged
