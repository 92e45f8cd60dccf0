"""Choose the row of each sequence."""

import bisect
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

_NEVER = np.iinfo(np.int64).max


def fit(
    lengths: ArrayLike, capacities: ArrayLike, *, best: bool, max_segments: int | None = None
) -> NDArray[np.int64]:
    """Return the row of each sequence: int64 (sequences,), rows counted from 0 without gaps.

    lengths: int64 (fields, sequences), each at most the capacity. Sequences share a row if they fit
        in every field.
    capacities: int64 (fields,), the length of a row.
    best: choose the row with the least room left (best-fit), or else the first with room
        (first-fit). If none has room, a row is added.
    max_segments: greatest number of sequences in a row.

    Sequences are taken from long to short, which leaves at most about 2/9 more rows than the least
    possible (Johnson, 1973). Rows are numbered by their first sequence, the longest in them, so
    that the order of lengths does not show in the order of rows. A field that cannot run out before
    another is ignored, so that fields of equal lengths count as one.
    """
    lengths, capacities = np.asarray(lengths, np.int64), np.asarray(capacities, np.int64)
    share = (lengths / capacities[:, None]).max(axis=0, initial=0)
    order = np.argsort(-share, kind="stable").tolist()
    deciding = _deciding(lengths, capacities)
    lengths, capacities = lengths[deciding], capacities[deciding]
    rows: Sequence[int] | NDArray[np.int64]
    if len(deciding) > 1:
        rows, openers = _scan(lengths, capacities, order, best, max_segments)
    else:
        put = _best_fit if best else _first_fit
        rows, openers = put(lengths[0].tolist(), int(capacities[0]), order, max_segments)
    numbers = np.empty(len(openers), np.int64)
    numbers[np.argsort(openers)] = np.arange(len(openers))
    return numbers[np.asarray(rows, np.int64)]


def _deciding(lengths: NDArray[np.int64], capacities: NDArray[np.int64]) -> list[int]:
    """Return the fields without those that never fill a larger share of a row than another."""
    kept = list(range(len(capacities)))
    for field in reversed(range(len(capacities))):
        if any(
            (lengths[field] * capacities[other] <= lengths[other] * capacities[field]).all()
            for other in kept
            if other != field
        ):
            kept.remove(field)
    return kept


def _best_fit(
    lengths: list[int], capacity: int, order: list[int], max_segments: int | None
) -> tuple[list[int], list[int]]:
    """Return rows and the first sequence of each, for one field, by a sorted list of rooms."""
    rows = [0] * len(lengths)
    openers: list[int] = []
    rooms: list[tuple[int, int, int]] = []  # (room left, row, its segments), sorted
    for sequence in order:
        need = lengths[sequence]
        place = bisect.bisect_left(rooms, (need,))
        if place < len(rooms):
            room, row, segments = rooms.pop(place)
        else:
            room, row, segments = capacity, len(openers), 0
            openers.append(sequence)
        rows[sequence] = row
        if segments + 1 != max_segments:
            bisect.insort(rooms, (room - need, row, segments + 1))
    return rows, openers


def _first_fit(
    lengths: list[int], capacity: int, order: list[int], max_segments: int | None
) -> tuple[list[int], list[int]]:
    """Return rows and the first sequence of each, for one field, by a tree of the rooms.

    Node i holds the most room of nodes 2 i and 2 i + 1; the leaves are all possible rows.
    """
    rows = [0] * len(lengths)
    openers: list[int] = []
    size = 1 << max(len(lengths) - 1, 0).bit_length()
    room = [capacity] * (2 * size)
    segments = [0] * size
    for sequence in order:
        need = lengths[sequence]
        node = 1
        while node < size:
            node *= 2
            if room[node] < need:
                node += 1
        row = node - size
        if row == len(openers):
            openers.append(sequence)
        rows[sequence] = row
        segments[row] += 1
        left = -1 if segments[row] == max_segments else room[node] - need
        while room[node] != left:
            room[node] = left
            node //= 2
            if not node:
                break
            left = max(room[2 * node], room[2 * node + 1])
    return rows, openers


def _scan(
    lengths: NDArray[np.int64],
    capacities: NDArray[np.int64],
    order: list[int],
    best: bool,
    max_segments: int | None,
) -> tuple[NDArray[np.int64], list[int]]:
    """Return rows and the first sequence of each, by looking at the room of all rows."""
    fields, count = lengths.shape
    # The room of all possible rows, those without a sequence last.
    room = np.repeat(capacities[:, None], count + 1, axis=1)
    left = room.sum(axis=0)
    segments = np.zeros(count + 1, np.int64)
    rows = np.empty(count, np.int64)
    openers: list[int] = []
    for sequence in order:
        need = lengths[:, sequence]
        stop = len(openers) + 1
        fits = room[0, :stop] >= need[0]
        for field in range(1, fields):
            fits &= room[field, :stop] >= need[field]
        row = int(np.where(fits, left[:stop], _NEVER).argmin() if best else fits.argmax())
        if row == len(openers):
            openers.append(sequence)
        rows[sequence] = row
        room[:, row] -= need
        left[row] -= need.sum()
        segments[row] += 1
        if segments[row] == max_segments:
            room[:, row] = -1
    return rows, openers
