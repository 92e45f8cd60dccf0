"""Getting batches onto devices: one device, many, or those of many hosts."""

import math
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any

import attrs
import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec, Sharding
from numpy.typing import NDArray

from feedrace.config.fields import check_integer
from feedrace.device.specs import canonical
from feedrace.errors import ConfigError, DataError, Problem, clipped
from feedrace.host.prefetch import Prefetched
from feedrace.host.records import VALID_MASK, is_host_dtype


def to_device(batch: Any, sharding: Any = None) -> Any:
    """Return the pytree with its arrays on a device; strings and objects stay on the host.

    sharding: a device, a `jax.sharding.Sharding`, or a pytree of them like `batch`; None takes
        JAX's default device.

    Raises `DataError` for a number that does not fit the dtype that arrives, `ConfigError` for a
    pytree of shardings unlike the batch.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(batch)
    values = [leaf for _, leaf in leaves]
    moving = [i for i, leaf in enumerate(values) if not _stays_on_host(leaf)]
    arrays = [canonical(jax.tree_util.keystr(leaves[i][0], simple=True), values[i]) for i in moving]
    if sharding is not None and not isinstance(sharding, Sharding | jax.Device):
        spread = _spread(sharding, batch)
        sharding = [spread[i] for i in moving]
    for i, value in zip(moving, jax.device_put(arrays, sharding), strict=True):
        values[i] = value
    return jax.tree.unflatten(structure, values)


@attrs.frozen(eq=False)
class Placement:
    """Where the batches of a pipeline go.

    sharding: None for JAX's default device, one sharding for all fields, or one for each by name;
        `valid_mask` takes that of another field if it has none. A field of lower rank than its
        `PartitionSpec` takes the first part of it.
    """

    sharding: Any = None

    @property
    def shardings(self) -> list[Any]:
        """All shardings in it; those of all fields lie on one mesh."""
        if self.sharding is None:
            return []
        return list(self.sharding.values()) if self.by_name else [self.sharding]

    @property
    def by_name(self) -> bool:
        """Whether fields have shardings of their own."""
        return isinstance(self.sharding, Mapping)

    @property
    def is_global(self) -> bool:
        """Whether batches lie on the devices of several processes."""
        return any(not sharding.is_fully_addressable for sharding in self.shardings)

    def check(self, batch_size: int, path: str) -> None:
        """Raise `ConfigError` at `path` unless `batch_size` rows divide over the devices."""
        shards = math.lcm(*(_row_shards(sharding) for sharding in self.shardings))
        if batch_size % shards:
            below, above = batch_size // shards * shards, -(-batch_size // shards) * shards
            near = f"{below} or {above}" if below else f"{above}"
            message = f"{batch_size} rows do not divide over {shards} shards; take {near}"
            raise ConfigError([Problem(path, message)])

    def rows(self, batch_size: int) -> NDArray[np.int64] | None:
        """Return the numbers of the rows on this process's devices; None for all."""
        if not self.is_global:
            return None
        mine = np.zeros(batch_size, bool)
        for sharding in self.shardings:
            rows = _of_rank(sharding, 1)
            for (index,) in rows.addressable_devices_indices_map((batch_size,)).values():
                mine[index] = True
        return None if mine.all() else np.flatnonzero(mine)

    def place(self, batch: dict[str, Any], rows: Any = None, batch_size: int = 0) -> dict[str, Any]:
        """Return the batch on its devices; strings stay on the host.

        rows: as `rows(batch_size)` returns; `batch` holds them alone.

        Raises `DataError` for a number that does not fit, and for a field without a sharding.
        """
        if self.sharding is None:
            return to_device(batch)  # type: ignore[no-any-return]
        unknown = sorted(self.sharding.keys() - batch.keys()) if self.by_name else []
        if unknown:
            fields = ", ".join(batch)
            raise DataError(f"there is a sharding for {unknown[0]!r}; the batch has {fields}")
        shardings = {
            name: jax.tree.map(lambda leaf, name=name: self._of_leaf(name, leaf), value)
            for name, value in batch.items()
        }
        if not self.is_global:
            return to_device(batch, shardings)  # type: ignore[no-any-return]
        moved: dict[str, Any] = jax.tree_util.tree_map_with_path(
            lambda path, leaf, sharding: _global(path, leaf, sharding, rows, batch_size),
            batch,
            shardings,
        )
        return moved

    def made(self, function: Callable[..., dict[str, Any]], *arrays: Any) -> dict[str, Any]:
        """Return the batch that a function makes of replicated arrays, traceably.

        It is laid out as the sharding says.
        """
        spec_of = lambda name, rank: self.of(name, rank).spec  # noqa: E731
        batch = with_auto_axes(function, *arrays, spec_of=spec_of)
        if _is_explicit(batch):
            return batch
        return {
            name: jax.tree.map(
                lambda value, name=name: jax.lax.with_sharding_constraint(
                    value, self.of(name, value.ndim)
                ),
                field,
            )
            for name, field in batch.items()
        }

    def replicate(self, data: Any) -> Any:
        """Return a pytree of arrays, whole on every device of the mesh."""
        sharding = self.shardings[0]
        if isinstance(sharding, NamedSharding):
            sharding = NamedSharding(sharding.mesh, PartitionSpec())
        if not self.is_global:
            return jax.device_put(data, sharding)
        return jax.tree.map(
            lambda leaf: jax.make_array_from_callback(
                leaf.shape, sharding, lambda index: np.asarray(leaf)[index], dtype=leaf.dtype
            ),
            data,
        )

    def of(self, field: str, rank: int) -> Any:
        """Return the sharding of a field; raise `DataError` if it has none."""
        sharding = self.sharding
        if self.by_name:
            default = self.shardings[0] if field == VALID_MASK else None
            sharding = self.sharding.get(field, default)
            if sharding is None:
                named = ", ".join(self.sharding)
                raise DataError(f"field {field!r} has no sharding; there are those of {named}")
        return _of_rank(sharding, rank)

    def _of_leaf(self, field: str, leaf: Any) -> Any:
        return _OnHost() if _stays_on_host(leaf) else self.of(field, np.ndim(leaf))


def placement_of(sharding: Any) -> Placement:
    """Return the placement that the option `sharding` of a pipeline asks for.

    sharding: a `Sharding`, the name of a mesh axis (of the mesh that `jax.set_mesh` set or, if that
        has no such axis, of a mesh of all devices), or a dict of these by field.

    Raises `ConfigError` for anything else.
    """
    if not isinstance(sharding, Mapping):
        return Placement(_sharding_of(sharding))
    if not sharding:
        raise ConfigError([Problem("sharding", "is an empty mapping; name each field, or none")])
    return Placement({name: _sharding_of(part) for name, part in sharding.items()})


def _sharding_of(given: Any) -> Any:
    message = f"{clipped(given)} is neither a jax.sharding.Sharding nor the name of a mesh axis"
    if isinstance(given, str):
        if given.isascii() and given.isidentifier():
            mesh = jax.sharding.get_mesh()
            if given not in mesh.axis_names:
                mesh = jax.make_mesh((jax.device_count(),), (given,), (AxisType.Auto,))
            return NamedSharding(mesh, PartitionSpec(given))
        # XLA ends the process for some others.
        message = f"{given!r} is not the name of a mesh axis: ASCII letters, digits and _"
    if isinstance(given, Sharding):
        return given
    raise ConfigError([Problem("sharding", message)])


def _of_rank(sharding: Any, rank: int) -> Any:
    """Return the sharding for an array of that rank."""
    if isinstance(sharding, NamedSharding) and len(sharding.spec) > rank:
        return NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec[:rank]))
    return sharding


def with_auto_axes(
    function: Callable[..., dict[str, Any]],
    batch: dict[str, Any],
    *arrays: Any,
    spec_of: Callable[[str, int], PartitionSpec] | None = None,
) -> dict[str, Any]:
    """Return `function(batch, *arrays)`, traced with XLA laying out all axes of their mesh.

    So functions that know nothing of explicit axes work on arrays that have them; they may use no
    other arrays that were traced. spec_of: the spec of a field of the result, by its name and rank,
    if the mesh is explicit; by default a field is laid out as that of its name in `batch`, others
    by rows as the first is.
    """
    if not _is_explicit(batch):
        return function(batch, *arrays)
    first = jax.typeof(jax.tree.leaves(batch)[0]).sharding

    def laid_out(name: str, leaf: Any) -> NamedSharding:
        if spec_of is not None:
            return NamedSharding(first.mesh, spec_of(name, leaf.ndim))
        same = jax.tree.leaves(batch.get(name))
        if same and same[0].ndim == leaf.ndim:
            return NamedSharding(first.mesh, jax.typeof(same[0]).sharding.spec)
        return NamedSharding(first.mesh, PartitionSpec(*first.spec[: min(1, leaf.ndim)]))

    plain = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), (batch, *arrays)
    )
    made = {
        name: jax.tree.map(lambda leaf, name=name: laid_out(name, leaf), field)
        for name, field in jax.eval_shape(function, *plain).items()
    }
    traced: dict[str, Any] = jax.sharding.auto_axes(function, out_sharding=made)(batch, *arrays)
    return traced


def _is_explicit(arrays: Any) -> bool:
    """Return whether traced arrays lie on a mesh with axes that JAX's types show."""
    first = next(iter(jax.tree.leaves(arrays)), None)
    return first is not None and AxisType.Explicit in jax.typeof(first).sharding.mesh.axis_types


class _OnHost:
    """Stands for the sharding of a field that stays on the host."""


def _stays_on_host(leaf: Any) -> bool:
    return not isinstance(leaf, jax.Array) and is_host_dtype(np.asarray(leaf).dtype)


def _spread(sharding: Any, batch: Any) -> list[Any]:
    """Return a sharding for each leaf of the batch from a pytree that is like it, or a prefix."""

    def is_one(value: Any) -> bool:
        return value is None or isinstance(value, Sharding | jax.Device | _OnHost)

    try:
        whole = jax.tree.broadcast(sharding, batch, is_leaf=is_one)
    except ValueError as error:
        message = f"is a pytree unlike the batch: {error}"
        raise ConfigError([Problem("sharding", message)]) from error
    spread = jax.tree.leaves(whole, is_leaf=is_one)
    wrong = [value for value in spread if not is_one(value)]
    if wrong or len(spread) != len(jax.tree.leaves(batch)):
        shown = wrong[0] if wrong else sharding
        raise ConfigError([Problem("sharding", f"{shown!r} is not a jax.sharding.Sharding")])
    return spread


def _row_shards(sharding: Any) -> int:
    """Return over how many shards the leading axis is divided."""
    if not isinstance(sharding, NamedSharding) or not len(sharding.spec):
        return 1
    names = sharding.spec[0]
    axes = () if names is None else (names,) if isinstance(names, str) else tuple(names)
    return math.prod(sharding.mesh.shape[axis] for axis in axes)


def _global(path: Any, leaf: Any, sharding: Any, rows: Any, batch_size: int) -> Any:
    """Return this process's rows of a field as part of a global array."""
    if _stays_on_host(leaf):
        return leaf
    if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        words = _global(path, jax.random.key_data(leaf), sharding, rows, batch_size)
        return jax.random.wrap_key_data(words, impl=jax.random.key_impl(leaf))
    local = np.asarray(canonical(jax.tree_util.keystr(path, simple=True), leaf))

    def part(index: Any) -> Any:
        start, stop, _ = index[0].indices(batch_size)
        if rows is not None:
            start, stop = np.searchsorted(rows, (start, stop)).tolist()
        return local[(slice(start, stop), *index[1:])]

    shape = (batch_size, *local.shape[1:])
    return jax.make_array_from_callback(shape, sharding, part, dtype=local.dtype)


def prefetch_to_device(iterable: Iterable[Any], size: int = 2, sharding: Any = None) -> Prefetched:
    """Return an iterator of the same pytrees, on the device, up to `size` of them made ahead.

    sharding: as for `to_device`.

    Close it, or use it in a `with` block, to stop early. Raises `ConfigError` for a size below 1.
    """
    check_integer("size", size, 1)
    return Prefetched(as_in_this_thread(_on_device(iterable, sharding)), size)


def as_in_this_thread(items: Generator[Any]) -> Generator[Any]:
    """Return the items, made under this thread's settings of JAX in whatever thread asks for them.

    They are x64 mode and the default device, which `with` statements set for one thread alone.
    """
    config: Any = jax.config
    x64, device = bool(config.jax_enable_x64), config.jax_default_device

    def made() -> Generator[Any]:
        with jax.enable_x64(x64), jax.default_device(device):
            yield from items  # which closes them, too

    return made()


def _on_device(iterable: Iterable[Any], sharding: Any) -> Generator[Any]:
    def kept(leaf: Any) -> Any:  # what gave the item may write the next one over it
        return np.array(leaf) if isinstance(leaf, np.ndarray) and not _stays_on_host(leaf) else leaf

    items = iter(iterable)
    try:
        for item in items:
            yield to_device(jax.tree.map(kept, item), sharding)
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()
