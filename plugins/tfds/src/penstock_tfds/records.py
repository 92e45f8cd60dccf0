"""Raw records of a split by number, from TFRecord or ArrayRecord files."""

import mmap
import os
import struct
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np

from penstock import DataError

_HEADER = 12  # a TFRecord is: length (uint64), CRC of it (uint32), data, CRC of the data (uint32)
_FOOTER = 4


@attrs.frozen(eq=False)
class Records:
    """The raw records of one split.

    parts: for each shard that the split takes from, (path, records to skip, records to take).
    """

    parts: Sequence[tuple[str, int, int]]
    _open: Callable[[str], "TFRecordShard | ArrayRecordShard"]
    _shards: dict[str, Any] = attrs.Factory(dict)

    def __len__(self) -> int:
        return sum(take for _, _, take in self.parts)

    def read(self, indices: Any) -> list[bytes]:
        """Return the raw records of these numbers, in their order.

        Raises `DataError` for a number out of range and for a file that is missing or cut short.
        """
        numbers = np.asarray(indices, np.int64)
        ends = np.cumsum([take for _, _, take in self.parts])
        wrong = numbers[(numbers < 0) | (numbers >= len(self))]
        if wrong.size:
            raise DataError(f"there is no record {wrong[0]}; records go from 0 to {len(self) - 1}")
        which = np.searchsorted(ends, numbers, side="right")
        raw: list[bytes] = [b""] * len(numbers)
        for part in np.unique(which):
            path, skip, take = self.parts[part]
            if path not in self._shards:
                self._shards[path] = self._open(path)
            slots = np.flatnonzero(which == part)
            within = numbers[slots] - (ends[part] - take) + skip
            for slot, record in zip(slots, self._shards[path].read(within.tolist()), strict=True):
                raw[slot] = record
        return raw


def open_records(builder: Any, split: str) -> Records:
    """Return the raw records of a split of a prepared dataset.

    Raises `DataError` for a split that does not exist or is empty, and for other file formats.
    """
    splits = builder.info.splits
    try:
        instructions = splits[split].file_instructions
    except (KeyError, ValueError, AssertionError) as error:
        raise DataError(
            f"dataset {builder.info.full_name} has no split {split!r} ({error}); "
            f"it has {', '.join(sorted(splits))}"
        ) from error
    parts = [(i.filename, i.skip, i.take) for i in instructions if i.take > 0]
    if not parts:
        raise DataError(f"split {split!r} of {builder.info.full_name} has no records")
    file_format = builder.info.file_format.value
    if file_format not in _SHARDS:
        raise DataError(
            f"dataset {builder.info.full_name} is stored as {file_format}; prepare it as "
            f"{' or '.join(_SHARDS)} (download_and_prepare_kwargs = {{file_format = ...}})"
        )
    return Records(parts, _SHARDS[file_format])


class TFRecordShard:
    """One TFRecord file, with a table of where each record begins."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._starts, self._lengths = _offsets(path)

    def read(self, numbers: list[int]) -> list[bytes]:
        """Return these records."""
        file = os.open(self._path, os.O_RDONLY)
        try:
            spans = zip(self._lengths[numbers], self._starts[numbers], strict=True)
            return [os.pread(file, int(length), int(start)) for length, start in spans]
        finally:
            os.close(file)


def _offsets(path: str) -> tuple[Any, Any]:
    """Return start and length of each record's data, by hopping over the length headers."""
    starts: list[int] = []
    lengths: list[int] = []
    try:
        size = os.path.getsize(path)
        if size == 0:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            unpack, at = struct.Struct("<Q").unpack_from, 0
            while at < size:
                length = unpack(view, at)[0] if at + _HEADER <= size else size
                if at + _HEADER + length + _FOOTER > size:
                    raise DataError(
                        f"{path} is cut short: the record that begins at byte {at} ends after the "
                        f"file; prepare the dataset again"
                    )
                starts.append(at + _HEADER)
                lengths.append(length)
                at += _HEADER + length + _FOOTER
    except FileNotFoundError as error:
        raise missing_file(path) from error
    return np.array(starts, np.int64), np.array(lengths, np.int64)


def missing_file(path: str) -> DataError:
    """Return the error for a data file that is not there."""
    return DataError(f"{path} is missing; prepare the dataset again")


def damaged_file(path: str) -> DataError:
    """Return the error for a data file that cannot be read."""
    return DataError(f"{path} is damaged or cut short; prepare the dataset again")


class ArrayRecordShard:
    """One ArrayRecord file, read by its own reader."""

    def __init__(self, path: str) -> None:
        from array_record.python.array_record_module import ArrayRecordReader

        if not os.path.exists(path):
            raise missing_file(path)
        self._path = path
        try:
            self._reader = ArrayRecordReader(path)
        except RuntimeError as error:
            raise damaged_file(path) from error

    def read(self, numbers: list[int]) -> list[bytes]:
        """Return these records."""
        try:
            return list(self._reader.read(numbers))
        except RuntimeError as error:
            raise damaged_file(self._path) from error


_SHARDS: dict[str, Callable[[str], TFRecordShard | ArrayRecordShard]] = {
    "tfrecord": TFRecordShard,
    "array_record": ArrayRecordShard,
}
