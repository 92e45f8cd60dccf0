"""From what a config's `path` says to the names of files."""

import glob
import os
import re
from collections.abc import Sequence

from feedrace.errors import DataError, StorageError, clipped, did_you_mean

_ADDRESS = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]+://")


def is_remote(path: str) -> bool:
    """Return whether a path is an address, such as gs://bucket/file."""
    return _ADDRESS.match(path) is not None


def local_files(path: str, suffixes: Sequence[str] = ()) -> list[str]:
    """Return the local files that a path names, sorted: a file, a folder or a pattern.

    A folder stands for all files below it that have one of the suffixes (any, if there are none);
    names that begin with "." or "_" are left out. In a pattern `**` stands for any folders. Raises
    `DataError` if there are none.
    """
    if os.path.isdir(path):
        found = _below(path, tuple(suffixes))
        if not found:
            wanted = f" ending with {', '.join(suffixes)}" if suffixes else ""
            raise DataError(f"the folder {path} has no files{wanted}; give another path")
    elif os.path.exists(path):  # a file's own name may look like a pattern
        found = [path]
    elif glob.has_magic(path):
        found = sorted(one for one in glob.iglob(path, recursive=True) if os.path.isfile(one))
        if not found:
            raise DataError(f"no file matches {clipped(path)}; check the pattern")
    else:
        raise missing_file(path)
    return found


def missing_file(path: str) -> StorageError:
    """Return the error for a local path that does not exist, with the name that may be meant."""
    folder, name = os.path.split(path)
    try:
        near = did_you_mean(name, sorted(os.listdir(folder or ".")))
    except OSError:
        near = f"; nor does the folder {folder}" if not os.path.isdir(folder) else ""
    return StorageError(f"{clipped(path, 300)} does not exist{near}")


def _below(folder: str, suffixes: tuple[str, ...]) -> list[str]:
    found = []
    for inner, folders, names in os.walk(folder, followlinks=False):
        folders[:] = [name for name in folders if name[0] not in "._"]
        found += [
            os.path.join(inner, name)
            for name in names
            if name[0] not in "._" and (not suffixes or name.lower().endswith(suffixes))
        ]
    return sorted(found)
