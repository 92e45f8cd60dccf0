"""The shards of a data set among other files in their folder, by their names."""

import glob
import os
import re
from collections.abc import Sequence

from feedrace.plugin import DataError, File, FileConfig, Storage, Table


def find_shards(
    storage: Storage, path: str | Sequence[str], pattern: str, kind: str
) -> tuple[File, ...]:
    """Return the files that a path names; of a folder, those whose names match a pattern.

    Shards may have names such as train.tfrecord-00000-of-00010, so that no suffix tells them.
    kind: what they are, for the message. Raises `DataError` as `Storage.find` does, and for a
    folder without such files.
    """
    files: list[File] = []
    for one in [path] if isinstance(path, str) else path:
        found = storage.find(one)
        if found[0].path != one and not glob.has_magic(one):  # a folder
            found = tuple(file for file in found if re.search(pattern, os.path.basename(file.path)))
            if not found:
                raise DataError(
                    f"the folder {one} has no {kind} file by its name; name the files, or give a "
                    f"pattern"
                )
        files += found
    paths = [file.path for file in files]
    if len(set(paths)) < len(paths):
        storage.find(paths)  # its error names the file
    return tuple(files)


def check_whole(config: FileConfig, files: Sequence[File], tables: Sequence[Table]) -> None:
    """Raise `DataError` for a file the rest of which cannot be read, if the config allows none."""
    for file, table in zip(files, tables, strict=True):
        if table.damage and config.on_error == "raise":
            raise DataError(
                f"{file.path}: {table.damage}; replace the file, or continue without its rest with "
                f"on_error = 'substitute' or 'skip'"
            )
