"""The batcher that packs several sequences into each row."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from feedrace.plugin import VALID_MASK, DataError, arriving_dtype, check_batch_size
from feedrace_batchers import sequences
from feedrace_batchers.config import BEST_FIT
from feedrace_batchers.fitting import fit
from feedrace_batchers.windowed import WindowedBatcher

SEGMENT_MASK = "segment_mask"
_SUFFIXES = ("_segmentation", "_position", "_mask")


class PackBatcher(WindowedBatcher):
    """Packs the sequences of a window into rows of static length.

    A batch holds `batch_size` rows. Beside each sequence field stand, of shape (batch_size, row
    length): `<field>_segmentation`, int32, 1 for the first sequence of the row, 2 for the second
    and so on, 0 for padding; `<field>_position`, int32, counted from 0 in each sequence; and
    `<field>_mask`, bool, True where there is data. The sequences of one record have one segment
    number in all fields. `valid_mask` tells rows that hold something from padding.

    With `max_segments`, other fields have one entry for each segment, of shape (batch_size,
    max_segments, ...), segment 1 first, and `segment_mask` tells entries from padding.
    """

    def window_size(self, batch_size: int) -> int:
        """Return the number of records in a window."""
        if self.config.window is not None:
            return super().window_size(batch_size)
        check_batch_size(batch_size)
        return batch_size * max(128, min(1024, 2**17 // batch_size))

    def batches_of_window(
        self, records: dict[str, Any], *, batch_size: int
    ) -> Iterator[tuple[dict[str, Any], Any, Any]]:
        """Yield the batches of one window; its rows in order of the longest sequence in each."""
        config = self.config
        sequences.check_names(records, config.fields, _SUFFIXES)
        pieces, others = sequences.read(records, config.fields, config.too_long)
        self._check_others(others)
        others = sequences.on_host(others)
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
            batch = self._batch(pieces, others, order, starts, batch_size)
            keys = sequences.row_keys(pieces.keys[order[starts[:-1]]], batch_size)
            yield batch, pieces.record[inside[pieces.first[inside]]], keys

    def _batch(
        self, pieces: Any, others: dict[str, Any], order: Any, starts: Any, batch_size: int
    ) -> dict[str, Any]:
        """Return a batch; row i of it has the pieces order[starts[i] : starts[i + 1]]."""
        batch: dict[str, Any] = {}
        inside = order[starts[0] : starts[-1]]
        counts = np.diff(starts)
        row = np.repeat(np.arange(len(counts)), counts)
        segment = np.arange(len(inside)) - np.repeat(starts[:-1] - starts[0], counts)
        for i, (name, length) in enumerate(self.config.fields.items()):
            batch |= self._field(
                name,
                length,
                [pieces.fields[name][piece] for piece in inside.tolist()],
                pieces.record[inside],
                pieces.lengths[i, inside],
                row,
                segment,
                batch_size,
            )
        if self.config.max_segments is not None:
            where = (row, segment)
            mask = np.zeros((batch_size, self.config.max_segments), bool)
            mask[where] = True
            batch[SEGMENT_MASK] = mask
            others = jax.tree.map(lambda leaf: _spread(leaf, pieces.record[inside], mask), others)
        batch |= others
        return {**batch, VALID_MASK: np.arange(batch_size) < len(counts)}

    def _field(
        self,
        name: str,
        length: int,
        parts: list[Any],
        records: Any,
        lengths: Any,
        row: Any,
        segment: Any,
        batch_size: int,
    ) -> dict[str, Any]:
        """Return a sequence field of a batch, its segments, positions and mask.

        One concatenation makes the field: of all parts, each row followed by its padding.
        """
        used = np.bincount(row, weights=lengths, minlength=batch_size).astype(np.int64)
        # Where the padding of each row stands among the parts: behind the row's own.
        behind = np.searchsorted(row, np.arange(batch_size), side="right")
        like = parts[0]
        padded = parts.copy()
        padding = np.broadcast_to(
            sequences.pad_of(like, name, self.config.pad_value), (length, *like.shape[1:])
        )
        for r in range(batch_size - 1, -1, -1):
            padded.insert(int(behind[r]), padding[: length - used[r]])
        flat = np.concatenate(padded)
        sizes = np.insert(lengths, behind, length - used)
        numbers = np.insert(segment + 1, behind, 0).astype(np.int32)
        segmentation = np.repeat(numbers, sizes)
        position = np.arange(len(flat), dtype=np.int32)
        position -= np.repeat((np.cumsum(sizes) - sizes).astype(np.int32), sizes)
        mask = segmentation > 0
        position *= mask
        shape = (batch_size, length)
        return {
            name: sequences.arriving(name, flat.reshape(*shape, *like.shape[1:]), parts, records),
            f"{name}_segmentation": segmentation.reshape(shape),
            f"{name}_position": position.reshape(shape),
            f"{name}_mask": mask.reshape(shape),
        }

    def _check_others(self, others: dict[str, Any]) -> None:
        """Raise `DataError` where there are fields that a row has no place for."""
        if SEGMENT_MASK in others:
            raise DataError(
                f"a field is called {SEGMENT_MASK!r}, a name that the batcher gives; rename it"
            )
        named = [name for name, value in others.items() if jax.tree.leaves(value)]
        if named and self.config.max_segments is None:
            raise DataError(
                f"the fields {', '.join(named)} have one entry for each record, and a row holds "
                f"several; name them among the batcher's fields, leave them out of the records, "
                f"or give max_segments"
            )

    def batch_spec(self, element_spec: Any, *, batch_size: int) -> dict[str, Any]:
        """Return the spec of a batch.

        Raises `ConfigError` for a batch size below 1; `DataError` where a field is missing, is no
        sequence, has a name that the batcher gives, or has no place in a row.
        """
        check_batch_size(batch_size)
        packed, others = sequences.split_spec(element_spec, self.config.fields, _SUFFIXES)
        self._check_others(others)
        batch: dict[str, Any] = {}
        for name, length in self.config.fields.items():
            shape = (batch_size, length)
            batch[name] = sequences.sequence_spec(packed[name], batch_size, length)
            batch[f"{name}_segmentation"] = jax.ShapeDtypeStruct(shape, np.dtype(np.int32))
            batch[f"{name}_position"] = jax.ShapeDtypeStruct(shape, np.dtype(np.int32))
            batch[f"{name}_mask"] = jax.ShapeDtypeStruct(shape, np.dtype(bool))
        if self.config.max_segments is not None:
            shape = (batch_size, self.config.max_segments)
            batch[SEGMENT_MASK] = jax.ShapeDtypeStruct(shape, np.dtype(bool))
            others = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(
                    (*shape, *leaf.shape), arriving_dtype(leaf.dtype)
                ),
                others,
            )
        batch |= others
        return {**batch, VALID_MASK: jax.ShapeDtypeStruct((batch_size,), np.dtype(bool))}


def _spread(leaf: Any, records: Any, mask: Any) -> Any:
    """Return a leaf's entries for `records` where the mask is True, in order, zeros elsewhere."""
    taken = leaf[records]
    if isinstance(leaf, jax.Array):  # PRNG keys
        places = np.zeros(mask.shape, np.int32)
        places[mask] = np.arange(len(records))
        spread = taken[places]
        shown = mask.reshape(*mask.shape, *[1] * (spread.ndim - mask.ndim))
        return jnp.where(shown, spread, jnp.zeros_like(spread))
    out = (
        np.full((*mask.shape, *leaf.shape[1:]), None)
        if leaf.dtype == object
        else np.zeros((*mask.shape, *leaf.shape[1:]), leaf.dtype)
    )
    out[mask] = taken
    return out
