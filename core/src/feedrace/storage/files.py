"""Files that are read by ranges: what they were when they were found, and open ones to share."""

import io
import os
import stat
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

import attrs

from feedrace.config.stored import local_path
from feedrace.errors import DataError, StorageError, clipped
from feedrace.host.progress import progress
from feedrace.storage.paths import is_remote, local_files, missing_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from feedrace.storage.remote import Remote

_BUFFER = 1 << 20  # bytes that `binary` reads at a time


@attrs.frozen
class File:
    """A file as it was when it was found.

    size: in bytes. version: text that changes with the content.
    """

    path: str
    size: int
    version: str


class OpenFile(Protocol):
    """A file that any number of threads read from, each from a position of its own."""

    @property
    def file(self) -> File: ...

    def read(self, start: int, size: int) -> bytes:
        """Return these bytes; raise `DataError` if they cannot be read, all of them."""
        ...

    def read_many(self, starts: "NDArray[np.int64]", sizes: "NDArray[np.int64]") -> Iterator[bytes]:
        """Yield several ranges, in their order."""
        ...

    def binary(self) -> BinaryIO:
        """Return a seekable file object, for libraries; each is for one thread."""
        ...


@attrs.frozen
class Storage:
    """Finds files and opens them; a copy in another process opens them anew.

    options: what fsspec gets for addresses, such as `{"anon": True}`.
    cache_dir: the folder for kept tables and for blocks of remote files; None for the user's:
        FEEDRACE_CACHE_DIR, or `feedrace` in XDG_CACHE_HOME.
    cache_bytes: most bytes of blocks that are kept there.
    """

    options: Mapping[str, Any] = attrs.field(factory=dict)
    cache_dir: str | None = None
    cache_bytes: int = 10 * 2**30
    _open: "_Pool" = attrs.field(init=False, eq=False, repr=False, factory=lambda: _Pool())

    def find(self, path: str | Sequence[str], suffixes: Sequence[str] = ()) -> tuple[File, ...]:
        """Return the files that a path names, as they are now.

        path: a file, a folder, a pattern, an address, or a list of these, which keeps its order.
        suffixes: those of the files that a folder stands for, in small letters; none for any.

        Raises `DataError` for a path that names no file, and for a file that is named twice.
        """
        paths = [local_path(one) for one in ([path] if isinstance(path, str) else path)]
        addresses = [one for one in paths if is_remote(one)]
        named = iter(self._remote().find(addresses, suffixes) if addresses else ())
        found = list[File]()
        with progress("find files", None, "files") as advance:
            for one in paths:
                if is_remote(one):
                    found += next(named)
                    continue
                for name in local_files(one, suffixes):
                    found.append(_found(name))
                    advance()
        seen = set[str]()
        for file in found:
            if file.path in seen:
                raise DataError(f"{clipped(file.path, 300)} is named twice; name each file once")
            seen.add(file.path)
        return tuple(found)

    def open(self, file: File) -> OpenFile:
        """Return the file, open for reading; it is shared by all who ask for it.

        Ask again for each batch. Raises `DataError` if it is missing, or has changed since it was
        found; for a remote file that is seen when bytes of it are fetched.
        """
        return self._open.get(file, self)

    def cache_folder(self) -> str:
        """Return the folder for what is kept, whether or not it exists."""
        home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        folder = self.cache_dir or os.environ.get("FEEDRACE_CACHE_DIR") or f"{home}/feedrace"
        return os.path.expanduser(folder)

    def _remote(self) -> "Remote":
        return self._open.remote(self)


class _Pool:
    """Open files, the latest used last, and the way to remote ones; pickled, it is empty."""

    def __init__(self) -> None:
        self._remote: Remote | None = None
        self._files: OrderedDict[File, OpenFile] = OrderedDict()
        self._lock = threading.Lock()
        self._most = most_open_files()

    def __reduce__(self) -> Any:
        return _Pool, ()

    def remote(self, storage: Storage) -> "Remote":
        from feedrace.storage.remote import Remote  # most pipelines read local files alone

        with self._lock:
            if self._remote is None:
                folder = storage.cache_folder()
                self._remote = Remote(storage.options, folder, storage.cache_bytes)
            return self._remote

    def get(self, file: File, storage: Storage) -> OpenFile:
        with self._lock:
            known = self._files.get(file)
            if known is not None:
                self._files.move_to_end(file)
        if known is not None:
            if isinstance(known, LocalFile):
                known.check()
            return known
        opened: OpenFile = (
            self.remote(storage).open(file) if is_remote(file.path) else LocalFile(file)
        )
        with self._lock:
            # Another thread may have opened it meanwhile; a file closes with its last user.
            self._files[file] = opened
            while len(self._files) > self._most:
                self._files.popitem(last=False)
        return opened


class LocalFile:
    """A local file, whose descriptor is closed when it is garbage collected."""

    def __init__(self, file: File) -> None:
        self.file = file
        try:
            # Without waiting, should it be a pipe by now.
            self._descriptor = os.open(file.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        except FileNotFoundError as error:
            raise missing_file(file.path) from error
        except OSError as error:
            raise StorageError(f"{file.path} cannot be opened: {error.strerror}") from error
        self._named = bool(os.fstat(self._descriptor).st_nlink)  # not all systems count names
        self.check()

    def check(self) -> None:
        """Raise `DataError` if the file changed since it was found, or another has its name."""
        status = os.fstat(self._descriptor)
        lost = self._named and not status.st_nlink
        if lost or _described(self.file.path, status) != self.file:
            raise StorageError(
                f"{self.file.path} changed since it was found; make the source again"
            )

    _close = staticmethod(os.close)  # which a module may have lost when the program ends

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            self._close(self._descriptor)

    def read(self, start: int, size: int) -> bytes:
        """Return these bytes; raise `DataError` if they cannot be read, all of them."""
        try:
            data = os.pread(self._descriptor, size, start)
            while len(data) < size:  # the system gives at most 2 GiB at once
                more = os.pread(self._descriptor, size - len(data), start + len(data))
                if not more:
                    end = os.fstat(self._descriptor).st_size
                    raise DataError(
                        f"{self.file.path} ends at byte {end}, before byte {start + size}; it is "
                        f"cut short"
                    )
                data += more
        except OSError as error:
            where = f"bytes {start} to {start + size} of {self.file.path}"
            raise DataError(f"{where} cannot be read: {error.strerror}") from error
        return data

    def read_many(self, starts: "NDArray[np.int64]", sizes: "NDArray[np.int64]") -> Iterator[bytes]:
        """Yield several ranges, in their order."""
        descriptor, pread = self._descriptor, os.pread
        for start, size in zip(starts.tolist(), sizes.tolist(), strict=True):
            try:
                data = pread(descriptor, size, start)
            except OSError:  # `read` reports it
                data = b""
            yield data if len(data) == size else self.read(start, size)

    def binary(self) -> BinaryIO:
        """Return a seekable file object, for libraries; each is for one thread."""
        return binary(self)


def binary(opened: OpenFile) -> BinaryIO:
    """Return a seekable file object over an open file."""
    return cast(BinaryIO, io.BufferedReader(_Raw(opened), _BUFFER))


class _Raw(io.RawIOBase):
    """The position in an open file of one file object."""

    def __init__(self, opened: OpenFile) -> None:
        self._opened = opened
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._opened.file.size}
        self._at = max(0, base[whence] + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, into: Any) -> int:
        size = max(0, min(len(into), self._opened.file.size - self._at))
        if size:
            into[:size] = self._opened.read(self._at, size)
        self._at += size
        return size


def _found(path: str) -> File:
    try:
        status = os.stat(path)
    except OSError as error:
        raise missing_file(path) from error
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path} is not a regular file")
    return _described(path, status)


def _described(path: str, status: os.stat_result) -> File:
    return File(path, status.st_size, f"{status.st_mtime_ns}-{status.st_ino}")


def most_open_files() -> int:
    """Return how many files to keep open: half of what the process is allowed."""
    if sys.platform == "win32":
        return 256
    import resource

    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 4096 if allowed == resource.RLIM_INFINITY else max(16, min(4096, allowed // 2))
