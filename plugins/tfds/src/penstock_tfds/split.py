"""One split of a prepared dataset: its records by number, decoded."""

import hashlib
import os
from typing import Any

import attrs

from penstock_tfds.config import TFDSConfig
from penstock_tfds.decode import Decoder, make_decoder
from penstock_tfds.prepare import prepared_builder
from penstock_tfds.records import Records, missing_file, open_records


@attrs.frozen(eq=False)
class Split:
    """A split that is open for reading; nothing is read until `fetch`.

    identity: the dataset's name and version, and a digest of its files' names and sizes.
    """

    info: Any
    records: Records
    decoder: Decoder
    identity: str

    def fetch(self, indices: Any) -> dict[str, Any]:
        """Return the records of these numbers as a dict of numpy arrays."""
        return self.decoder.decode(self.records.read(indices), indices)


def open_split(config: TFDSConfig) -> Split:
    """Return the split that the config names, prepared first where that is needed."""
    builder = prepared_builder(config)
    records = open_records(builder, str(config.split))
    identity = f"{builder.info.full_name} {_digest(records)}"
    return Split(builder.info, records, make_decoder(builder, config), identity)


def _digest(records: Records) -> str:
    """Return a digest of the names and sizes of the files that records are taken from."""
    digest = hashlib.blake2b(digest_size=8)
    for path, skip, take in records.parts:
        try:
            size = os.path.getsize(path)
        except FileNotFoundError as error:
            raise missing_file(path) from error
        digest.update(f"{os.path.basename(path)} {size} {skip} {take}".encode())
    return digest.hexdigest()
