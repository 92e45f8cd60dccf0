"""Fields whose length differs from record to record: read, cut and padded, by numpy alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from feedrace.plugin import (
    DataError,
    RecordError,
    arriving_dtype,
    canonical,
    check_no_mask,
    count_records,
    is_ragged,
    leaves,
    map_leaves,
    pad_batch,
)
from feedrace_batchers.config import ERROR, SPLIT


@attrs.frozen(eq=False)
class Pieces:
    """The sequences of some records, none longer than its field's limit.

    fields: for each field the list of its sequences, one for each piece.
    lengths: int64 (fields, pieces).
    record: int64 (pieces,), the place of each piece's record, increasing.
    first: bool (pieces,), whether it is the first piece of its record.
    keys: int64 (pieces,), a different number for each piece: for the first piece of a record the
        record's place, for each later one the number of records more.
    """

    fields: Mapping[str, list[NDArray[Any]]]
    lengths: NDArray[np.int64]
    record: NDArray[np.int64]
    first: NDArray[np.bool_]
    keys: NDArray[np.int64]


def read(
    records: Mapping[str, Any], limits: Mapping[str, int], too_long: str
) -> tuple[Pieces, dict[str, Any]]:
    """Return the pieces of the sequence fields of some records, and the other fields.

    records: dict of arrays with one leading axis; a sequence field is an array of arrays, or one
        array of at least two axes.
    limits: the sequence fields and their greatest lengths.
    too_long: what to do with a longer one: "error", "truncate" or "split".

    Raises `DataError` if a sequence field is missing, is not a sequence, differs in dtype or in
    later axes from record to record, or is too long; if another field differs in length; and if
    fields have different numbers of records.
    """
    fields = {name: _sequences(records, name) for name in limits}
    others = {name: value for name, value in records.items() if name not in limits}
    for name, leaf in leaves(others):
        if is_ragged(leaf):
            raise unlisted(name, limits)
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
            f"field {name!r} has {lengths[which, where]} positions and takes {limit}; too_long = "
            f"'truncate' or 'split' accepts such a record",
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


def _sequences(records: Mapping[str, Any], name: str) -> list[NDArray[Any]]:
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
    sequences: Sequence[NDArray[Any]],
    records: NDArray[np.int64],
    shape: tuple[int, int],
    name: str,
    pad_value: float,
    wide: bool,
) -> Any:
    """Return sequences as an array of the dtype that arrives, padded to `shape`: (rows, length).

    records: the place in the window of each one's record, for messages.
    wide: whether JAX's x64 mode is on.

    Raises `DataError` if an integer, or `pad_value`, does not fit.
    """
    like = sequences[0]
    out = np.full((*shape, *like.shape[1:]), pad_of(like, name, pad_value, wide), like.dtype)
    for row, sequence in zip(out, sequences, strict=False):
        row[: len(sequence)] = sequence
    return arriving(name, out, sequences, records, wide)


def arriving(
    name: str, whole: NDArray[Any], parts: Sequence[Any] | NDArray[Any], records: Any, wide: bool
) -> Any:
    """Return an array in the dtype that arrives.

    parts, records: what it is made of, and the place in the window of each one's record.

    Raises `RecordError` if a number does not fit.
    """
    try:
        return canonical(name, whole, wide=wide)
    except DataError:
        for part, record in zip(parts, records, strict=False):  # find the record
            try:
                canonical(name, part, wide=wide)
            except DataError as error:
                raise RecordError(int(record), str(error)) from None
        raise


def pad_of(like: NDArray[Any], name: str, pad_value: float, wide: bool) -> Any:
    """Return `pad_value` in the dtype of `like`; raise `DataError` if it does not fit."""
    dtype = arriving_dtype(like.dtype, wide=wide)
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # checked below
            value = np.asarray(pad_value).astype(dtype)
    except OverflowError:
        value = None
    # Of the kind "V" are floats and integers of few bits, such as bfloat16 and int4.
    inexact = dtype.kind in "fc" or (dtype.kind == "V" and np.asarray(0.5).astype(dtype) != 0)
    if value is None or not (np.isfinite(value) if inexact else value == pad_value):
        raise DataError(
            f"pad_value is {pad_value}, which field {name!r} cannot hold: it arrives as {dtype}"
        )
    return value.astype(like.dtype)


def mask_of(lengths: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return bool (rows, length), True at data; `lengths` are those of the first rows."""
    mask = np.zeros(shape, bool)
    mask[: len(lengths)] = np.arange(shape[1]) < lengths[:, None]
    return mask


def row_keys(keys: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Return the keys of a batch's rows, int64 (size,), 0 for rows of padding."""
    padded = np.zeros(size, np.int64)
    padded[: len(keys)] = keys
    return padded


def take(others: dict[str, Any], rows: NDArray[np.int64], size: int) -> dict[str, Any]:
    """Return these rows of all leaves, padded to `size`."""
    taken: dict[str, Any] = map_leaves(lambda leaf: leaf[rows], others)
    # Fields without a leaf, such as None, have no rows; they pass through.
    return pad_batch(taken, batch_size=size) if any(leaves(taken)) else taken


def on_host(others: dict[str, Any], wide: bool) -> dict[str, Any]:
    """Return all leaves as numpy arrays of the dtypes that arrive; PRNG keys stay as they are.

    Rows are taken from them many times, which is faster on the host. Raises `RecordError` if a
    number does not fit.
    """
    names = iter(list(leaves(others)))

    def leaf(value: Any) -> Any:
        name, _ = next(names)
        if is_keys(value):
            return value
        host = np.asarray(value)
        return arriving(name, host, host, range(len(host)), wide)

    moved: dict[str, Any] = map_leaves(leaf, others)
    return moved


def check_names(
    fields: Mapping[str, Any], limits: Mapping[str, int], suffixes: tuple[str, ...]
) -> None:
    """Raise `DataError` if a field has the name of a mask or the like that the batcher adds.

    suffixes: of the names of what is added for each sequence field.
    """
    check_no_mask(fields)
    taken = {f"{name}{suffix}" for name in limits for suffix in suffixes} & fields.keys()
    if taken:
        raise DataError(
            f"a field is called {min(taken)!r}, a name that the batcher gives; rename the field"
        )


def unlisted(name: str, limits: Mapping[str, int]) -> DataError:
    """Return the error for another field whose length differs from record to record."""
    return DataError(
        f"field {name!r} differs in length from record to record and is not among the batcher's "
        f"fields ({', '.join(limits)}); name it there"
    )


def is_keys(value: Any) -> bool:
    """Return whether a value is an array of JAX's PRNG keys."""
    return hasattr(value, "dtype") and not isinstance(value.dtype, np.dtype)


def check_plain(leaf: Any, name: str) -> None:
    """Raise `DataError` for the kinds of numpy array that do not survive stacking."""
    if isinstance(leaf, np.ma.MaskedArray):
        raise DataError(
            f"{name} is a masked array, whose mask would be lost; fill it, and give the mask as a "
            f"separate field"
        )
    if isinstance(leaf, np.matrix):
        raise DataError(f"{name} is a np.matrix; make it an array (np.asarray)")


def as_sequence(value: Any, name: str) -> NDArray[Any]:
    """Return an array or list of numbers as a numpy array of at least one axis.

    Raises `DataError` for anything else.
    """
    if is_keys(value):
        raise DataError(f"{name} is {value.dtype}; only numbers can be padded")
    check_plain(value, name)
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise DataError(f"{name} is not an array: {error}") from error
    if array.dtype.kind in "OSU":
        raise DataError(f"{name} is {value!r}, which is not a sequence of numbers that fit")
    if array.dtype.names:
        raise DataError(f"{name} has the fields {array.dtype.names}; make them fields of a dict")
    if array.dtype.kind not in "biufcV" or array.dtype.type is np.void:
        raise DataError(f"{name} is of dtype {array.dtype}, which JAX lacks; convert it")
    if array.ndim == 0:
        raise DataError(f"{name} is the single value {value!r}, not a sequence")
    return array


def is_like_sequence(value: Any, like: NDArray[Any]) -> bool:
    """Return whether a value is an array that differs from `like` in length at most."""
    return (
        type(value) is np.ndarray
        and value.dtype == like.dtype
        and value.ndim == like.ndim
        and value.shape[1:] == like.shape[1:]
    )


def check_sequence(sequence: NDArray[Any], like: NDArray[Any], name: str, other: str) -> None:
    """Raise `DataError` if two sequences differ in more than their lengths."""
    if sequence.dtype != like.dtype or sequence.shape[1:] != like.shape[1:]:
        raise DataError(
            f"{name} is {shown((None, *sequence.shape[1:]), sequence.dtype)}; {other} has "
            f"{shown((None, *like.shape[1:]), like.dtype)}"
        )


def shown(shape: Sequence[int | None], dtype: Any) -> str:
    """Return a shape and dtype as messages show them, such as "int32[any, 3]"."""
    return f"{getattr(dtype, '__name__', dtype)}{list(shape)}".replace("None", "any")
