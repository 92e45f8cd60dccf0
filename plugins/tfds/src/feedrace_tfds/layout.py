"""How decoded features lie in a batch: fixed, padded or ragged."""

from collections.abc import Mapping
from typing import Any

import attrs
import jax
import numpy as np

from feedrace.plugin import ConfigError, DataError, Problem, arriving_dtype, did_you_mean
from feedrace_tfds.features import Kept

_ALIGNMENT = 64  # what XLA wants of memory that it takes as it is, without a copy


@attrs.frozen(eq=False)
class Leaf:
    """One array of a batch.

    source: where its values are in a decoded record.
    name: where it is in a batch.
    shape, dtype: of one record's values; None for axes that vary.
    target: the shape that they are padded to, or None.
    """

    source: tuple[str, ...]
    name: tuple[str, ...]
    shape: tuple[int | None, ...]
    dtype: Any
    target: tuple[int, ...] | None = None

    @property
    def is_ragged(self) -> bool:
        """Whether each record's values are an array of their own."""
        return None in self.shape and self.target is None

    @property
    def length_name(self) -> tuple[str, ...]:
        """Where the true lengths are that padding hides."""
        return (*self.name[:-1], f"{self.name[-1]}_length")

    def allocate(self, size: int) -> Any:
        """Return an array for `size` records."""
        if self.is_ragged:
            return np.empty(size, object)
        if self.target is not None:
            return _aligned((size, *self.target), self.dtype, fill=True)
        fixed = tuple(axis or 0 for axis in self.shape)
        return _aligned((size, *fixed), self.dtype, fill=False)

    def allocate_lengths(self, size: int) -> Any:
        """Return an array for the true lengths of `size` records, or None where none is needed."""
        varying = self.shape.count(None)
        if self.target is None:
            return None
        return np.zeros((size, varying) if varying > 1 else size, np.int32)

    def put(self, array: Any, lengths: Any, slot: int, value: Any) -> None:
        """Put one record's values into its slot.

        Raises `ValueError` for values of another shape, or longer than the padding.
        """
        if self.target is not None:
            true = _pad(array[slot], value, self.name)
            varying = [n for n, size in zip(true, self.shape, strict=True) if size is None]
            lengths[slot] = varying if len(varying) > 1 else varying[0]
        elif self.is_ragged:
            value = np.asarray(value, self.dtype)
            if value.ndim != len(self.shape):
                raise ValueError(f"{'.'.join(self.name)} has shape {value.shape}")
            array[slot] = value
        elif np.shape(value) != self.shape:
            raise ValueError(f"{'.'.join(self.name)} has shape {np.shape(value)}")
        else:
            array[slot] = value

    def blank(self, array: Any, lengths: Any, slot: int) -> None:
        """Put nothing into a slot: zeros, None for strings, or an empty array."""
        if self.is_ragged:
            array[slot] = np.zeros([size or 0 for size in self.shape], self.dtype)
        else:
            array[slot] = None if self.dtype == object else 0
        if lengths is not None:
            lengths[slot] = 0


@attrs.frozen(eq=False)
class Arrays:
    """The arrays of a batch that is being filled, one for each leaf, and their true lengths."""

    values: list[Any]
    lengths: list[Any]


@attrs.frozen(eq=False)
class Layout:
    """The leaves of a batch."""

    leaves: tuple[Leaf, ...]

    def element_spec(self) -> dict[str, Any]:
        """Return the spec of one record, with the dtypes that arrive on a device.

        Strings have dtype object; ragged leaves have None for the axes that vary.
        """
        spec: dict[str, Any] = {}
        for leaf in self.leaves:
            shape = leaf.shape if leaf.target is None else leaf.target
            _set(spec, leaf.name, jax.ShapeDtypeStruct(shape, arriving_dtype(leaf.dtype)))
            if leaf.target is not None:
                count = leaf.shape.count(None)
                lengths = jax.ShapeDtypeStruct((count,) if count > 1 else (), np.dtype(np.int32))
                _set(spec, leaf.length_name, lengths)
        return spec

    def allocate(self, size: int) -> Arrays:
        """Return arrays for `size` records; ragged leaves are arrays of objects."""
        return Arrays(
            [leaf.allocate(size) for leaf in self.leaves],
            [leaf.allocate_lengths(size) for leaf in self.leaves],
        )

    def pack(self, arrays: Arrays) -> dict[str, Any]:
        """Return the arrays as a dict, nested as the features are."""
        batch: dict[str, Any] = {}
        for leaf, values, lengths in zip(self.leaves, arrays.values, arrays.lengths, strict=True):
            _set(batch, leaf.name, values)
            if lengths is not None:
                _set(batch, leaf.length_name, lengths)
        return batch

    def blank(self, arrays: Arrays, slot: int) -> None:
        """Put nothing into the slot of a record."""
        for leaf, values, lengths in zip(self.leaves, arrays.values, arrays.lengths, strict=True):
            leaf.blank(values, lengths, slot)

    def copy(self, arrays: Arrays, slot: int, other: Arrays, other_slot: int) -> None:
        """Copy a record from other arrays of this layout."""
        for into, out_of in ((arrays.values, other.values), (arrays.lengths, other.lengths)):
            for array, taken in zip(into, out_of, strict=True):
                if array is not None:
                    array[slot] = taken[other_slot]

    def decoded_bytes(self, records: int) -> int:
        """Return the bytes of so many records; a string or ragged leaf counts as a pointer."""
        return records * sum(int(leaf.allocate(1).nbytes) for leaf in self.leaves)

    def ragged(self) -> list[str]:
        """Return the names of the leaves whose records differ in shape, with their shapes."""
        return [f"{'.'.join(leaf.name)} {leaf.shape}" for leaf in self.leaves if leaf.is_ragged]


def make_layout(kept: Kept, pad_to: Mapping[str, Any] | None) -> Layout:
    """Return the layout of batches of these features.

    Raises `ConfigError` for a name in `pad_to` that no feature of varying shape has; `DataError`
    for features that are no arrays: nested datasets, and sequences of sequences without `pad_to`.
    """
    targets = dict(pad_to or {})
    unused = set(targets)
    leaves = []
    for key, name in kept.names.items():
        for path, info in _leaves(kept.features[key].get_tensor_info()):
            full = (name, *path)
            if info.dataset_lvl:
                raise DataError(
                    f"feature {'.'.join(full)!r} is a dataset in each record; leave it out with "
                    f"exclude_keys"
                )
            leaf = Leaf((key, *path), full, tuple(info.shape), _dtype(info))
            given = [".".join(full[:i]) for i in range(len(full), 0, -1)]
            chosen = next((prefix for prefix in given if prefix in targets), None)
            if chosen is not None and None in leaf.shape:
                unused.discard(chosen)
                leaf = attrs.evolve(leaf, target=_target(leaf, chosen, targets[chosen]))
            if leaf.is_ragged and info.sequence_rank > 1:
                raise DataError(
                    f"feature {'.'.join(full)!r} of shape {leaf.shape} holds lists of lists; give "
                    f"their lengths in pad_to, or leave it out with exclude_keys"
                )
            leaves.append(leaf)
    if unused:
        wrong = min(unused)
        varying = [".".join(leaf.name) for leaf in leaves if None in leaf.shape]
        hint = did_you_mean(wrong, varying) or f"; there are {', '.join(varying) or 'none'}"
        raise ConfigError([Problem(f"pad_to.{wrong}", f"is no feature whose shape varies{hint}")])
    layout = Layout(tuple(leaves))
    _check_names(layout)
    return layout


def _leaves(info: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    if isinstance(info, Mapping):
        return [
            leaf for key, inner in sorted(info.items()) for leaf in _leaves(inner, (*path, key))
        ]
    return [(path, info)]


def _target(leaf: Leaf, name: str, given: int | list[int]) -> tuple[int, ...]:
    varying = leaf.shape.count(None)
    sizes = given if isinstance(given, list) else [given] * varying
    if len(sizes) != varying:
        raise ConfigError(
            [
                Problem(
                    f"pad_to.{name}",
                    f"{given!r} has {len(sizes)} lengths; {'.'.join(leaf.name)} of shape "
                    f"{leaf.shape} needs {varying}",
                )
            ]
        )
    left = iter(sizes)
    return tuple(next(left) if size is None else size for size in leaf.shape)


def _check_names(layout: Layout) -> None:
    names = {leaf.name for leaf in layout.leaves}
    for leaf in layout.leaves:
        if leaf.target is not None and leaf.length_name in names:
            raise DataError(
                f"the lengths of {'.'.join(leaf.name)} would be called "
                f"{'.'.join(leaf.length_name)}, as another feature is; leave that one out"
            )


def _dtype(info: Any) -> Any:
    strings = info.np_dtype in (np.str_, np.bytes_, object)
    return np.dtype(object) if strings else np.dtype(info.np_dtype)


def _set(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = value


def _aligned(shape: tuple[int, ...], dtype: Any, *, fill: bool) -> Any:
    """Return an array whose memory XLA can take over as it is; zeros where it has to be filled."""
    if dtype.hasobject:
        return np.full(shape, b"", object) if fill else np.empty(shape, object)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    make = np.zeros if fill else np.empty
    memory = make(size + _ALIGNMENT, np.uint8)
    offset = -memory.ctypes.data % _ALIGNMENT
    return memory[offset : offset + size].view(dtype).reshape(shape)


def _pad(into: Any, value: Any, name: tuple[str, ...]) -> list[int]:
    """Write values, which may be lists of arrays, at the front of `into`; return their lengths."""
    if isinstance(value, list):
        inner = [_pad(into[i], part, name) for i, part in enumerate(value[: len(into)])]
        true = [len(value), *(max(sizes) for sizes in zip(*inner, strict=True))]
        true += [0] * (into.ndim - len(true))
    else:
        value = np.asarray(value)
        true = list(value.shape)
    if len(true) != into.ndim or any(n > most for n, most in zip(true, into.shape, strict=True)):
        raise ValueError(
            f"{'.'.join(name)} has shape {tuple(true)}, more than pad_to leaves room for, "
            f"{into.shape}"
        )
    if not isinstance(value, list):
        into[tuple(map(slice, true))] = value
    return true
