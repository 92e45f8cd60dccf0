"""Datasets at an address, such as gs://bucket/folder: a local copy of what describes them.

TFDS would read it by TensorFlow's file systems; it never sees the address.
"""

import re
from pathlib import Path

from feedrace.plugin import DataError, File, Storage

DOCUMENTS = ("dataset_info.json", "features.json")

_SHARD = re.compile(r"-\d{5}-of-\d{5}")  # in the name of a data file


def copy_metadata(storage: Storage, address: str, folder: str) -> None:
    """Copy what describes the datasets below an address to a local folder.

    That is all small files of JSON and text; from a server of HTTP, which lists no files, it is
    `DOCUMENTS`. Raises `DataError` for an address with no such files.
    """
    if address.startswith("http"):
        files = storage.find([f"{address}/{name}" for name in DOCUMENTS])
    else:
        files = storage.find(address, (".json", ".txt"))
        files += _of_configs(storage, address)
    for file in files:
        name = file.path.removeprefix(f"{address}/")
        if not _SHARD.search(name):
            place = Path(folder, name)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(storage.open(file).read(0, file.size))


def _of_configs(storage: Storage, address: str) -> tuple[File, ...]:
    """Return the file that names a dataset's default config, if there is one."""
    try:
        return storage.find(f"{address}/.config/metadata.json")
    except DataError:
        return ()
