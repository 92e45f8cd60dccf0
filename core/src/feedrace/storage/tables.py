"""Tables of what a scan of files found, such as where records begin: made once and kept on disk."""

import contextlib
import hashlib
import os
import secrets
import struct
import time
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import attrs
import msgspec
import numpy as np
from numpy.typing import NDArray

from feedrace.errors import DataError
from feedrace.host.machine import usable_cpus
from feedrace.host.progress import Advance, progress
from feedrace.storage.files import File, OpenFile, Storage
from feedrace.storage.paths import is_remote

_MAGIC = b"feedrace tables\n"
_HEAD = struct.Struct("<16sIQ")  # magic, CRC of what follows, bytes of the index
_ABANDONED = 3600  # seconds after which nobody writes an unfinished table any more
_SAMPLES, _SAMPLE = 16, 64 << 10  # parts of a file, and bytes of each, that stand for its content


@attrs.frozen(eq=False)
class Table:
    """What a scan of one file found.

    arrays: by name, each of any length.
    damage: why the rest of the file cannot be addressed, or "". A damaged table is not kept.
    """

    arrays: Mapping[str, NDArray[Any]]
    damage: str = ""


Scan = Callable[[OpenFile], Table]
Entry = tuple[int, str, list[tuple[str, str, int, int]]]  # size, version, (name, dtype, at, bytes)


@attrs.frozen
class TableCache:
    """The folder in which tables are kept.

    writable: whether they may be written.
    """

    storage: Storage
    writable: bool = True

    def tables(
        self, kind: str, files: Sequence[File], scan: Scan, *, version: int = 1
    ) -> list[Table]:
        """Return the table of each file: a kept one if the file is as it was, else from `scan`.

        kind, version: name what `scan` makes; another version makes all tables anew.

        Several threads scan at a time. Raises what `scan` raises, and `DataError` if the storage
        names a `cache_dir` that cannot be written; for the user's cache folder it warns.
        """
        place = self._place(kind, files)
        kept = _load(place, version)
        found = [_fitting(kept.get(file.path), file) for file in files]
        missing = [i for i, table in enumerate(found) if table is None]
        if missing:
            made = _scanned(self.storage, [files[i] for i in missing], scan, kind)
            for i, table in zip(missing, made, strict=True):
                found[i] = table
            self._keep(place, version, kept, files, found)
        return found  # type: ignore[return-value]

    def digests(self, files: Sequence[File]) -> list[str]:
        """Return a digest of the content of each file.

        Of a file above a megabyte, 16 parts of it stand for the rest. A remote file's version
        stands for its content.
        """
        local = [file for file in files if not is_remote(file.path)]
        tables = self.tables("digests", local, _digest) if local else []
        made = {f: t.arrays["digest"].tobytes().hex() for f, t in zip(local, tables, strict=True)}
        return [made.get(file, file.version) for file in files]

    def _place(self, kind: str, files: Sequence[File]) -> Path:
        """Return the kept file: one for each kind and folder of files."""
        folders = {os.path.dirname(file.path) for file in files}
        remote = sorted(folder for folder in folders if is_remote(folder))
        if len(remote) not in (0, len(folders)):  # some are remote
            common = "\n".join(sorted(folders))
        else:
            # What is relative and what is not may be mixed.
            places = remote or [os.path.abspath(folder) for folder in folders]
            common = os.path.commonpath(places)
            common = common if remote else os.path.realpath(common)
        digest = hashlib.blake2b(common.encode(), digest_size=16).hexdigest()
        return Path(self.storage.cache_folder()) / "tables" / f"{digest}.{kind}"

    def _keep(
        self,
        place: Path,
        version: int,
        kept: dict[str, tuple[Entry, bytes]],
        files: Sequence[File],
        tables: Sequence[Table | None],
    ) -> None:
        if not self.writable:
            return
        ours = {file.path for file in files}
        entries: dict[str, tuple[File, Mapping[str, NDArray[Any]]]] = {}
        for path, (entry, data) in kept.items():
            if path not in ours and (is_remote(path) or os.path.exists(path)):
                entries[path] = (File(path, entry[0], entry[1]), _arrays(entry, data))
        for file, table in zip(files, tables, strict=True):
            if table is not None and not table.damage:
                entries[file.path] = (file, table.arrays)
        try:
            _save(place, version, entries.values())
        except OSError as error:
            reason = f"tables of {files[0].path} cannot be kept in {place.parent}: {error}"
            if self.storage.cache_dir is not None:
                raise DataError(f"{reason}; give a cache_dir that can be written") from error
            warnings.warn(
                f"{reason}; each process makes them again; set FEEDRACE_CACHE_DIR", stacklevel=4
            )


@attrs.define(eq=False)
class _Watched:
    """An open file that reports how far it is read."""

    _opened: OpenFile
    _advance: Advance
    _at: int = 0

    @property
    def file(self) -> File:
        return self._opened.file

    def read(self, start: int, size: int) -> bytes:
        data = self._opened.read(start, size)
        self.reach(start + size)
        return data

    def read_many(self, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> Iterator[bytes]:
        return self._opened.read_many(starts, sizes)

    def binary(self) -> BinaryIO:
        return self._opened.binary()

    def reach(self, place: int) -> None:
        if place > self._at:
            self._advance(place - self._at)
            self._at = place


def _scanned(storage: Storage, files: Sequence[File], scan: Scan, kind: str) -> list[Table]:
    threads = min(len(files), 16 if is_remote(files[0].path) else usable_cpus())
    size = sum(file.size for file in files)
    with (
        progress(f"index {kind}", size, "B") as advance,
        ThreadPoolExecutor(threads, "feedrace-scan") as pool,
    ):

        def scanned(file: File) -> Table:
            watched = _Watched(storage.open(file), advance)
            table = scan(watched)
            watched.reach(file.size)
            return table

        try:
            return list(pool.map(scanned, files))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _load(place: Path, version: int) -> dict[str, tuple[Entry, bytes]]:
    """Return the entries of a kept file by path, each with its data; none if it is damaged."""
    try:
        # Without waiting if it is a pipe; read, not mapped, since another process may cut it.
        with open(os.open(place, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            content = file.read() or b""
    except OSError:
        return {}
    if len(content) < _HEAD.size:
        return {}
    magic, crc, size = _HEAD.unpack_from(content)
    if magic != _MAGIC or zlib.crc32(memoryview(content)[_HEAD.size :]) != crc:
        return {}
    index = content[_HEAD.size : _HEAD.size + size]
    try:
        made, entries = msgspec.msgpack.decode(index, type=tuple[int, dict[str, Entry]])
    except msgspec.DecodeError:
        return {}
    data = content[_HEAD.size + size :]
    return {path: (entry, data) for path, entry in entries.items()} if made == version else {}


def _fitting(kept: tuple[Entry, bytes] | None, file: File) -> Table | None:
    if kept is None or kept[0][:2] != (file.size, file.version):
        return None
    return Table(_arrays(*kept))


def _arrays(entry: Entry, data: bytes) -> dict[str, NDArray[Any]]:
    return {
        name: np.frombuffer(data, dtype, size // np.dtype(dtype).itemsize, at)
        for name, dtype, at, size in entry[2]
    }


def _save(
    place: Path, version: int, entries: Iterable[tuple[File, Mapping[str, NDArray[Any]]]]
) -> None:
    """Write a kept file whole or not at all, and remove what killed processes left of it."""
    index: dict[str, Entry] = {}
    parts: list[bytes] = []
    at = 0
    for file, arrays in entries:
        fields = []
        for name, array in arrays.items():
            part = np.ascontiguousarray(array).tobytes()
            fields.append((name, array.dtype.str, at, len(part)))
            parts.append(part + bytes(-len(part) % 8))  # each array begins at a multiple of 8
            at += len(parts[-1])
        index[file.path] = (file.size, file.version, fields)
    head = msgspec.msgpack.encode((version, index))
    content = b"".join([head, *parts])
    place.parent.mkdir(parents=True, exist_ok=True)
    unfinished = place.with_name(f"{place.name}.{secrets.token_hex(8)}")
    try:
        # Not by `tempfile`, whose files others cannot read: a cache folder may be shared.
        with open(unfinished, "xb") as out:
            out.write(_HEAD.pack(_MAGIC, zlib.crc32(content), len(head)) + content)
        os.replace(unfinished, place)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
    for other in place.parent.glob(f"{place.name}.*"):
        with contextlib.suppress(OSError):  # another process removed it, or it is another user's
            if time.time() - other.stat().st_mtime > _ABANDONED:
                other.unlink()


def _digest(opened: OpenFile) -> Table:
    """Return a digest of a file's content: of parts of it, if it is large."""
    size = opened.file.size
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    if size <= _SAMPLES * _SAMPLE:
        digest.update(opened.read(0, size))
    else:
        for start in np.linspace(0, size - _SAMPLE, _SAMPLES).astype(np.int64).tolist():
            digest.update(opened.read(start, _SAMPLE))
    return Table({"digest": np.frombuffer(digest.digest(), np.uint8)})
