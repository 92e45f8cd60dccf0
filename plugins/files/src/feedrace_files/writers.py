"""Shards: written under another name, read back, and only then there."""

import hashlib
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import attrs
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from feedrace.plugin import DataError, Records
from feedrace_files.encoding import Encoder, Field, Shard, Values

SUFFIXES = {"array-record": ".array_record", "parquet": ".parquet"}


class Writer(Protocol):
    """Writes the records of one file."""

    def add(self, values: Values, record: bytes) -> None: ...

    def close(self) -> None: ...


@attrs.frozen
class WriteShard:
    """Writes a part of all records as one shard: the work of a job, which workers hold.

    folder: where shards go. shards: how many there are.
    """

    storage: str
    fields: tuple[Field, ...]
    folder: str
    shards: int

    def __call__(self, number: int, records: Records) -> dict[str, Any]:
        """Write a shard, read it back, and return what the document says of it.

        A part without records has no file. Raises `DataError` if a record does not fit, or if what
        is read back is not what was written; `OSError` if it cannot be written.
        """
        name = f"records-{number:05d}-of-{self.shards:05d}{SUFFIXES[self.storage]}"
        place = Path(self.folder) / name
        unfinished = place.with_name(f".{name}.{secrets.token_hex(8)}")
        try:
            count, digest = self._write(unfinished, records)
            if not count:
                return attrs.asdict(Shard("", 0, 0, digest))
            self._verify(unfinished, place, count, digest)
            _sync(unfinished)
            size = unfinished.stat().st_size
            os.replace(unfinished, place)
        finally:
            unfinished.unlink(missing_ok=True)
        return attrs.asdict(Shard(name, count, size, digest))

    def _write(self, path: Path, records: Records) -> tuple[int, str]:
        encode, digest, count = Encoder(self.fields), hashlib.sha256(), 0
        writer: Writer = _WRITERS[self.storage](os.fspath(path), self.fields)
        try:
            for _, values in records:
                record = encode(values)
                digest.update(record)
                writer.add(values, record)
                count += 1
        finally:
            writer.close()
        return count, digest.hexdigest()

    def _verify(self, path: Path, place: Path, count: int, digest: str) -> None:
        found, held = hashlib.sha256(), 0
        for record in _READERS[self.storage](os.fspath(path), self.fields):
            found.update(record)
            held += 1
        if (held, found.hexdigest()) != (count, digest):
            raise DataError(
                f"{place} does not hold what was written ({held} records of {count}, digest "
                f"{found.hexdigest()} instead of {digest}); check the disk, and convert again"
            )


def is_there(folder: Path, shard: Shard) -> bool:
    """Return whether a shard is in a folder, with its size; one without records has no file."""
    try:
        return not shard.file or (folder / shard.file).stat().st_size == shard.bytes
    except OSError:
        return False


class _ArrayRecord:
    """Each record is a chunk of its own, so that any of them is found and read alone."""

    def __init__(self, path: str, fields: Sequence[Field]) -> None:
        self._path = path
        self._writer = ArrayRecordWriter(path, "group_size:1,uncompressed")

    def add(self, values: Values, record: bytes) -> None:
        try:
            self._writer.write(record)
        except RuntimeError as error:
            raise OSError(f"{self._path} cannot be written: {error}") from error

    def close(self) -> None:
        try:
            self._writer.close()
        except RuntimeError as error:
            raise OSError(f"{self._path} cannot be written: {error}") from error


def _read_array_record(path: str, fields: Sequence[Field]) -> Iterator[bytes]:
    # Its threads that read ahead would spin meanwhile.
    reader = ArrayRecordReader(path, "readahead_buffer_size:0,max_parallelism:0")
    try:
        for _ in range(reader.num_records()):
            yield reader.read()
    finally:
        reader.close()


class _Parquet:
    def __init__(self, path: str, fields: Sequence[Field]) -> None:
        from feedrace_files.parquet import ParquetWriter

        self._writer = ParquetWriter(path, fields)

    def add(self, values: Values, record: bytes) -> None:
        self._writer.add(values, len(record))

    def close(self) -> None:
        self._writer.close()


def _read_parquet(path: str, fields: Sequence[Field]) -> Iterator[bytes]:
    from feedrace_files.parquet import read_parquet

    return map(Encoder(fields), read_parquet(path, fields))


_WRITERS: dict[str, Any] = {"array-record": _ArrayRecord, "parquet": _Parquet}
_READERS: dict[str, Any] = {"array-record": _read_array_record, "parquet": _read_parquet}


def _sync(path: Path) -> None:
    """Return when a file is on the disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
