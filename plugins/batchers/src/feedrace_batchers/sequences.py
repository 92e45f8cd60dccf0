"""Fields whose length differs from record to record: read, cut, padded, and their specs."""

from collections.abc import Mapping
from typing import Any

import attrs
import jax
import jax.numpy as jnp
import numpy as np

from feedrace.plugin import (
    DataError,
    arriving_dtype,
    canonical,
    check_no_mask,
    count_records,
    is_host_dtype,
    is_ragged,
    pad_batch,
)
from feedrace_batchers.config import ERROR, SPLIT
from feedrace_batchers.stacking import as_sequence, check_sequence, is_like_sequence


class RecordError(DataError):
    """A record of a window does not fit; `row` is its position in the window."""

    def __init__(self, row: int, said: str) -> None:
        super().__init__(row, said)
        self.row, self.said = row, said

    def __str__(self) -> str:
        return f"record {self.row} of the window: {self.said}"


@attrs.frozen(eq=False)
class Pieces:
    """The sequences of some records, none longer than its field's limit.

    fields: of each field, the list of its sequences, one for each piece.
    lengths: int64 (fields, pieces).
    record: int64 (pieces,), the record that each piece is of, in increasing order.
    first: bool (pieces,), whether it is the first piece of its record.
    keys: int64 (pieces,), a number for each: of a record's first piece its position among the
        records, of later ones the number of records more each.
    """

    fields: Mapping[str, list[Any]]
    lengths: Any
    record: Any
    first: Any
    keys: Any


def read(
    records: Mapping[str, Any], limits: Mapping[str, int], too_long: str
) -> tuple[Pieces, dict[str, Any]]:
    """Return the pieces of the sequence fields of some records, and the other fields.

    records: dict of arrays with one leading axis; a sequence field is an array of arrays, or one
        array of at least two axes.
    limits: the sequence fields, and how long each may be.
    too_long: what becomes of a longer one: "error", "truncate" or "split".

    Raises `DataError` where a field is missing, is no sequence, differs in dtype or in later axes
    from record to record, or is too long; where another field differs in length, and where fields
    are of different numbers of records.
    """
    fields = {name: _sequences(records, name) for name in limits}
    others = {name: value for name, value in records.items() if name not in limits}
    for path, leaf in jax.tree_util.tree_leaves_with_path(others):
        if is_ragged(leaf):
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            raise DataError(_unnamed(name, limits))
    count = count_records(records)
    lengths = np.array([[len(s) for s in column] for column in fields.values()], np.int64)
    lengths = lengths.reshape(len(fields), count)
    over = lengths > np.array(list(limits.values()))[:, None]
    record = np.arange(count)
    if not over.any():
        return Pieces(fields, lengths, record, np.ones(count, bool), record), others
    if too_long == ERROR:
        which, where = np.argwhere(over)[0]
        name, limit = list(limits.items())[which]
        raise RecordError(
            int(where),
            f"field {name!r} has {lengths[which, where]} positions and takes {limit}; too_long "
            f"says what becomes of such a record",
        )
    if too_long != SPLIT:
        fields = {
            name: [sequence[:limit] for sequence in fields[name]] for name, limit in limits.items()
        }
        lengths = np.minimum(lengths, np.array(list(limits.values()))[:, None])
        return Pieces(fields, lengths, record, np.ones(count, bool), record), others
    parts = [-(-lengths[i] // limit) for i, limit in enumerate(limits.values())]
    parts = np.maximum(np.max(parts, axis=0), 1)
    record = np.repeat(record, parts)
    place = np.arange(len(record)) - np.repeat(np.cumsum(parts) - parts, parts)
    cut = {
        name: [
            fields[name][r][p * limit : (p + 1) * limit]
            for r, p in zip(record.tolist(), place.tolist(), strict=True)
        ]
        for name, limit in limits.items()
    }
    lengths = np.array([[len(s) for s in column] for column in cut.values()], np.int64)
    return Pieces(cut, lengths, record, place == 0, place * count + record), others


def _sequences(records: Mapping[str, Any], name: str) -> list[Any]:
    """Return the sequences of a field, one for each record."""
    if name not in records:
        raise DataError(f"there is no field {name!r}; there are {', '.join(records)}")
    column = records[name]
    if isinstance(column, dict | tuple | list) or not hasattr(column, "dtype"):
        raise DataError(f"field {name!r} is {type(column).__name__}, not a field of sequences")
    if column.dtype != object:
        if column.ndim < 2:
            raise DataError(f"field {name!r} is one value for each record, not a sequence")
        return list(as_sequence(column, f"field {name!r}"))
    sequences: list[Any] = column.tolist()
    for i, value in enumerate(sequences):
        if not i or not is_like_sequence(value, sequences[0]):
            try:
                sequences[i] = as_sequence(value, f"field {name!r}")
                check_sequence(sequences[i], sequences[0], f"field {name!r}", "that of record 0")
            except DataError as error:
                raise RecordError(i, str(error)) from None
    return sequences


def pad(
    sequences: list[Any], records: Any, size: int, length: int, name: str, pad_value: float
) -> Any:
    """Return the sequences as an array (size, length, ...) of the dtype that arrives.

    records: the position in the window of the record that each is of, for messages.

    Raises `DataError` where an integer, or `pad_value`, does not fit.
    """
    like = sequences[0]
    out = np.full((size, length, *like.shape[1:]), pad_of(like, name, pad_value), like.dtype)
    for row, sequence in zip(out, sequences, strict=False):
        row[: len(sequence)] = sequence
    return arriving(name, out, sequences, records)


def arriving(name: str, whole: Any, parts: Any, records: Any) -> Any:
    """Return an array in the dtype that arrives.

    parts, records: what it is made of, and the position in the window of each one's record.

    Raises `RecordError` where an integer does not fit.
    """
    try:
        return canonical(name, whole)
    except DataError:
        for part, record in zip(parts, records, strict=False):  # say which record it is
            try:
                canonical(name, part)
            except DataError as error:
                raise RecordError(int(record), str(error)) from None
        raise


def pad_of(like: Any, name: str, pad_value: float) -> Any:
    """Return `pad_value` in the dtype of `like`; raises `DataError` where it does not fit."""
    dtype = arriving_dtype(like.dtype)
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # it is told below
            value = np.asarray(pad_value).astype(dtype)
    except OverflowError:
        value = None
    inexact = jnp.issubdtype(dtype, np.inexact)
    if value is None or not (np.isfinite(value) if inexact else value == pad_value):
        raise DataError(
            f"pad_value is {pad_value}, which field {name!r} cannot hold: it arrives as {dtype}"
        )
    return value.astype(like.dtype)


def mask_of(lengths: Any, size: int, length: int) -> Any:
    """Return bool (size, length), True where a sequence is; `lengths` are those of the first."""
    mask = np.zeros((size, length), bool)
    mask[: len(lengths)] = np.arange(length) < lengths[:, None]
    return mask


def row_keys(keys: Any, size: int) -> Any:
    """Return the keys of a batch's rows, int64 (size,), 0 for rows of padding."""
    padded = np.zeros(size, np.int64)
    padded[: len(keys)] = keys
    return padded


def take(others: dict[str, Any], rows: Any, size: int) -> dict[str, Any]:
    """Return these rows of all leaves, padded to `size`."""
    taken: dict[str, Any] = jax.tree.map(lambda leaf: leaf[rows], others)
    # Fields without a leaf, such as None, have no rows; they are passed on.
    return pad_batch(taken, batch_size=size) if jax.tree.leaves(taken) else taken


def on_host(others: dict[str, Any]) -> dict[str, Any]:
    """Return all leaves as numpy arrays of the dtypes that arrive; PRNG keys stay as they are.

    Rows are taken of them many times, which is quicker there. Raises `RecordError` where an
    integer does not fit.
    """

    def leaf(path: Any, value: Any) -> Any:
        if jnp.issubdtype(value.dtype, jax.dtypes.extended):
            return value
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        host = np.asarray(value)
        return arriving(name, host, host, range(len(host)))

    moved: dict[str, Any] = jax.tree_util.tree_map_with_path(leaf, others)
    return moved


def split_spec(
    element_spec: Any, limits: Mapping[str, int], suffixes: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the specs of the sequence fields and of the others.

    suffixes: of the names that each sequence field's companions get; no field may be called so.

    Raises `DataError` where a field is missing or no sequence, a name is taken, or a field that is
    not among `limits` differs in length.
    """
    if not isinstance(element_spec, dict):
        raise DataError(f"an element is {element_spec!r}, not a dict of fields")
    for name in limits:
        if name not in element_spec:
            raise DataError(f"there is no field {name!r}; there are {', '.join(element_spec)}")
        spec = element_spec[name]
        if not hasattr(spec, "shape") or not spec.shape or is_host_dtype(spec.dtype):
            raise DataError(f"field {name!r} is {spec}, not a sequence of numbers")
        if None in spec.shape[1:]:
            raise DataError(
                f"field {name!r} has the shape {spec.shape}, in which an axis after the first "
                f"differs from record to record; only the first may, so that a sampler's windows "
                f"of records that differ in length cannot be batched"
            )
    check_names(element_spec, limits, suffixes)
    others = {name: spec for name, spec in element_spec.items() if name not in limits}
    for path, leaf in jax.tree_util.tree_leaves_with_path(others):
        if None in leaf.shape:
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            raise DataError(_unnamed(name, limits))
    return {name: element_spec[name] for name in limits}, others


def check_names(
    fields: Mapping[str, Any], limits: Mapping[str, int], suffixes: tuple[str, ...]
) -> None:
    """Raise `DataError` where a field has the name of the batch's own masks and the like."""
    check_no_mask(fields)
    taken = {f"{name}{suffix}" for name in limits for suffix in suffixes} & fields.keys()
    if taken:
        raise DataError(
            f"a field is called {min(taken)!r}, a name that the batcher gives; rename the field"
        )


def sequence_spec(spec: Any, batch_size: int, length: int) -> Any:
    """Return the spec of a batch's sequence field."""
    shape = (batch_size, length, *spec.shape[1:])
    return jax.ShapeDtypeStruct(shape, arriving_dtype(spec.dtype))


def _unnamed(name: str, limits: Mapping[str, int]) -> str:
    return (
        f"field {name!r} differs in length from record to record and is not among the batcher's "
        f"fields ({', '.join(limits)}); name it there"
    )
