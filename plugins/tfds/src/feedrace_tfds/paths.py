"""Local files, and addresses such as gs://bucket/file."""

import os
import re

_REMOTE = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]*://")


def is_remote(path: str) -> bool:
    """Return whether a path is an address such as gs://bucket/file."""
    return _REMOTE.match(path) is not None


def file_size(path: str) -> int:
    """Return the size of a local or remote file in bytes; raises `FileNotFoundError`."""
    if not is_remote(path):
        return os.path.getsize(path)
    from etils import epath

    return int(epath.Path(path).stat().length)
