"""How the records of a window become batches: by length, packed or in order, by numpy alone.

Each function yields what `feedrace.protocols.Grouping.collate_window` does: a batch, the places in
the window of the records that begin in it, and a key for each row. `wide` is whether JAX's x64 mode
is on.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feedrace.plugin import VALID_MASK, DataError, leaves, map_leaves
from feedrace_batchers import sequences
from feedrace_batchers.config import (
    BEST_FIT,
    BucketBatcherConfig,
    MultiRateBatcherConfig,
    PackBatcherConfig,
)
from feedrace_batchers.fitting import fit
from feedrace_batchers.sequences import Pieces

Grouped = tuple[dict[str, Any], NDArray[np.int64], NDArray[np.int64]]

MASKED = ("_mask",)  # what is added for each sequence field
PACKED = ("_segmentation", "_position", "_mask")
SEGMENT_MASK = "segment_mask"


def bucket_window(
    records: dict[str, Any],
    config: BucketBatcherConfig,
    boundaries: tuple[int, ...],
    *,
    batch_size: int,
    wide: bool,
) -> Iterator[Grouped]:
    """Yield batches of records of similar length, in the order in which their last records came.

    The records are put in order of bucket and cut into batches from the longest on, so that only
    the batch of the shortest may lack rows. A batch that spans two buckets has the longer boundary.
    """
    limits = dict.fromkeys(config.fields, boundaries[-1])
    sequences.check_names(records, limits, MASKED)
    pieces, others = sequences.read(records, limits, config.too_long)
    others = sequences.on_host(others, wide)
    buckets = np.searchsorted(boundaries, pieces.lengths.max(axis=0, initial=0))
    order = np.argsort(buckets, kind="stable")
    if not len(order):
        return
    short = len(order) % batch_size
    groups = np.split(order, range(short or batch_size, len(order), batch_size))
    for group in sorted(groups, key=lambda group: int(group.max())):
        lengths = dict.fromkeys(limits, boundaries[int(buckets[group].max())])
        group = np.sort(group)
        yield _padded(pieces, others, group, lengths, batch_size, config.pad_value, wide)


def cut_window(
    records: dict[str, Any], config: MultiRateBatcherConfig, *, batch_size: int, wide: bool
) -> Iterator[Grouped]:
    """Yield batches of records in order; a record that is split becomes several rows."""
    sequences.check_names(records, config.fields, MASKED)
    pieces, others = sequences.read(records, config.fields, config.too_long)
    others = sequences.on_host(others, wide)
    every = np.arange(len(pieces.record))
    for start in range(0, len(every), batch_size):
        group = every[start : start + batch_size]
        yield _padded(pieces, others, group, config.fields, batch_size, config.pad_value, wide)


def _padded(
    pieces: Pieces,
    others: dict[str, Any],
    group: NDArray[np.int64],
    lengths: Mapping[str, int],
    batch_size: int,
    pad_value: float,
    wide: bool,
) -> Grouped:
    """Return a batch with one of the pieces `group` in each row, each field of its length."""
    records = pieces.record[group]
    batch: dict[str, Any] = {}
    for i, (name, length) in enumerate(lengths.items()):
        column, shape = pieces.fields[name], (batch_size, length)
        rows = [column[piece] for piece in group.tolist()]
        batch[name] = sequences.pad(rows, records, shape, name, pad_value, wide)
        batch[f"{name}_mask"] = sequences.mask_of(pieces.lengths[i, group], shape)
    batch |= sequences.take(others, records, batch_size)
    batch[VALID_MASK] = np.arange(batch_size) < len(group)
    keys = sequences.row_keys(pieces.keys[group], batch_size)
    return batch, records[pieces.first[group]], keys


def pack_window(
    records: dict[str, Any], config: PackBatcherConfig, *, batch_size: int, wide: bool
) -> Iterator[Grouped]:
    """Yield batches of rows of several sequences, in order of the longest sequence of each row."""
    sequences.check_names(records, config.fields, PACKED)
    pieces, others = sequences.read(records, config.fields, config.too_long)
    check_others(others, config)
    others = sequences.on_host(others, wide)
    rows = fit(
        pieces.lengths,
        list(config.fields.values()),
        best=config.algorithm == BEST_FIT,
        max_segments=config.max_segments,
    )
    order = np.argsort(rows, kind="stable")
    count = int(rows.max(initial=-1)) + 1
    row_starts = np.searchsorted(rows[order], np.arange(count + 1))
    for start in range(0, count, batch_size):
        starts = row_starts[start : start + batch_size + 1]
        inside = order[starts[0] : starts[-1]]
        batch = _packed(pieces, others, inside, np.diff(starts), config, batch_size, wide)
        keys = sequences.row_keys(pieces.keys[order[starts[:-1]]], batch_size)
        yield batch, pieces.record[inside[pieces.first[inside]]], keys


def check_others(others: dict[str, Any], config: PackBatcherConfig) -> None:
    """Raise `DataError` for fields beside the sequences that a packed row cannot hold."""
    if SEGMENT_MASK in others:
        raise DataError(
            f"a field is called {SEGMENT_MASK!r}, a name that the batcher gives; rename it"
        )
    named = [name for name, value in others.items() if any(leaves(value))]
    if named and config.max_segments is None:
        raise DataError(
            f"the fields {', '.join(named)} have one entry for each record, and a row holds "
            f"several; name them among the batcher's fields, leave them out of the records, or "
            f"give max_segments"
        )


def _packed(
    pieces: Pieces,
    others: dict[str, Any],
    inside: NDArray[np.int64],
    counts: NDArray[np.int64],
    config: PackBatcherConfig,
    batch_size: int,
    wide: bool,
) -> dict[str, Any]:
    """Return a batch whose row i has the next `counts[i]` of the pieces `inside`."""
    batch: dict[str, Any] = {}
    row = np.repeat(np.arange(len(counts)), counts)
    segment = np.arange(len(inside)) - np.repeat(np.cumsum(counts) - counts, counts)
    for i, (name, length) in enumerate(config.fields.items()):
        parts = [pieces.fields[name][piece] for piece in inside.tolist()]
        lengths, shape = pieces.lengths[i, inside], (batch_size, length)
        padding = sequences.pad_of(parts[0], name, config.pad_value, wide)
        flat, places = _joined(parts, lengths, row, segment, shape, padding)
        batch[name] = sequences.arriving(name, flat, parts, pieces.record[inside], wide)
        batch |= {f"{name}{suffix}": array for suffix, array in places.items()}
    if config.max_segments is not None:
        mask = np.zeros((batch_size, config.max_segments), bool)
        mask[row, segment] = True
        batch[SEGMENT_MASK] = mask
        records = pieces.record[inside]
        others = map_leaves(lambda leaf: _spread(leaf, records, mask), others)
    batch |= others
    return {**batch, VALID_MASK: np.arange(batch_size) < len(counts)}


def _joined(
    parts: list[NDArray[Any]],
    lengths: NDArray[np.int64],
    row: NDArray[np.int64],
    segment: NDArray[np.int64],
    shape: tuple[int, int],
    pad_value: Any,
) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
    """Return a packed field, and its segmentation, positions and mask by suffix.

    row, segment: of each part. One concatenation makes the field: of all parts, each row followed
    by its padding.
    """
    size, length = shape
    used = np.bincount(row, weights=lengths, minlength=size).astype(np.int64)
    # The padding of each row comes after the row's last part.
    behind = np.searchsorted(row, np.arange(size), side="right")
    later = parts[0].shape[1:]
    padding = np.broadcast_to(pad_value, (length, *later))
    padded = parts.copy()
    for r in range(size - 1, -1, -1):
        padded.insert(int(behind[r]), padding[: length - used[r]])
    flat = np.concatenate(padded)
    sizes = np.insert(lengths, behind, length - used)
    numbers = np.insert(segment + 1, behind, 0).astype(np.int32)
    segmentation = np.repeat(numbers, sizes)
    position = np.arange(len(flat), dtype=np.int32)
    position -= np.repeat((np.cumsum(sizes) - sizes).astype(np.int32), sizes)
    mask = segmentation > 0
    position *= mask
    places = {"_segmentation": segmentation, "_position": position, "_mask": mask}
    return flat.reshape(*shape, *later), {
        suffix: array.reshape(shape) for suffix, array in places.items()
    }


def _spread(leaf: Any, records: NDArray[np.int64], mask: NDArray[np.bool_]) -> Any:
    """Return a leaf's entries for `records` at the True places of the mask, zeros elsewhere."""
    if sequences.is_keys(leaf):
        import jax.numpy as jnp

        places = np.zeros(mask.shape, np.int32)
        places[mask] = np.arange(len(records))
        spread = leaf[records][places]
        shown = mask.reshape(*mask.shape, *[1] * (spread.ndim - mask.ndim))
        return jnp.where(shown, spread, jnp.zeros_like(spread))
    shape = (*mask.shape, *leaf.shape[1:])
    out = np.full(shape, None) if leaf.dtype == object else np.zeros(shape, leaf.dtype)
    out[mask] = leaf[records]
    return out
