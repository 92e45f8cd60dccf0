"""Choose the row of each sequence."""

import bisect
from typing import Any

import numpy as np

_NEVER = np.iinfo(np.int64).max


def fit(lengths: Any, capacities: Any, *, best: bool, max_segments: int | None = None) -> Any:
    """Return the row of each sequence: int64 (sequences,), rows counted from 0 without gaps.

    lengths: int64 (fields, sequences), at most the capacity each. A row holds sequences as long as
        it has room in every field.
    capacities: of a row, for each field.
    best: into the row with the least room left (best-fit); otherwise into the first with room
        (first-fit). A row is opened where none has room.
    max_segments: most sequences in one row.

    Sequences are taken from long to short, which leaves at most about 2/9 more rows than the least
    possible (Johnson, 1973). Rows are numbered by their first sequence, the longest in them, so
    that the order of lengths does not show in the order of rows.
    """
    lengths, capacities = np.asarray(lengths, np.int64), np.asarray(capacities, np.int64)
    share = (lengths / capacities[:, None]).max(axis=0, initial=0)
    order = np.argsort(-share, kind="stable").tolist()
    if best and len(capacities) == 1:
        rows, openers = _best_fit(lengths[0].tolist(), int(capacities[0]), order, max_segments)
    else:
        rows, openers = _scan(lengths, capacities, order, best, max_segments)
    numbers = np.empty(len(openers), np.int64)
    numbers[np.argsort(openers)] = np.arange(len(openers))
    return numbers[rows]


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


def _scan(
    lengths: Any, capacities: Any, order: list[int], best: bool, max_segments: int | None
) -> tuple[Any, list[int]]:
    """Return rows and the first sequence of each, by looking at the room of all rows."""
    fields, count = lengths.shape
    # The room of all rows that there may be; those not yet opened stand behind the opened ones.
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
