"""Opens the split that a config names: finds the dataset, its files, features and decoder."""

import hashlib
import os
from typing import Any

import attrs

from feedrace.plugin import DataError, RawContent, TableCache, clipped, storage_of, usable_cpus
from feedrace_tfds.config import TFDSConfig
from feedrace_tfds.decode import make_decoder
from feedrace_tfds.prepare import prepared_builder
from feedrace_tfds.records import Records, open_records

_MOST_THREADS = 16


@attrs.frozen(eq=False)
class OpenSplit:
    """A split, and what TFDS knows of it.

    info: TFDS's `DatasetInfo`.
    name: the split, in TFDS's notation.
    identity: the dataset's name and version, and a digest of its files' names and sizes.
    content: its records, read and decoded; nothing is read until `load`.
    concurrent: whether several threads load faster than one.
    threads: how many load at a time, besides a pipeline's workers.
    """

    info: Any
    name: str
    identity: str
    content: RawContent
    concurrent: bool
    threads: int


def open_split(config: TFDSConfig) -> OpenSplit:
    """Return the split that the config names, prepared first if needed.

    Raises `DataError` for a dataset, split or file that is not there; `ConfigError` for unknown
    keys.
    """
    builder, folder = prepared_builder(config)
    threads = config.num_threads or min(_MOST_THREADS, usable_cpus())
    name = _split_name(builder, config.split)
    records = open_records(
        builder,
        name,
        TableCache(storage_of(config), writable=not config.local_files_only),
        folder=folder,
        window=config.shuffle_buffer_size,
        whole=config.on_error == "raise",
    )
    decoder = make_decoder(builder.info, config, threads)
    sentences = [f"records are found {records.reader.way}", f"decoded {decoder.way}"]
    full_name, concurrent = builder.info.full_name, records.reader.concurrent
    return OpenSplit(
        info=builder.info,
        name=name,
        identity=f"{full_name} {_digest(records)}",
        content=RawContent(records, decoder, sentences),
        concurrent=concurrent,
        threads=threads if concurrent else 1,
    )


def _split_name(builder: Any, split: Any) -> str:
    """Return a split in TFDS's notation; one from `tfds.even_splits` as ranges of records."""
    if isinstance(split, str):
        return split
    try:
        parts = split.to_absolute(builder.info.splits)
    except (KeyError, ValueError) as error:
        raise DataError(
            f"dataset {builder.info.full_name} has no split {clipped(split)} ({error}); "
            f"it has {', '.join(sorted(builder.info.splits))}"
        ) from error
    whole = builder.info.splits
    return "+".join(
        f"{part.splitname}[{part.from_ or 0}:"
        f"{whole[part.splitname].num_examples if part.to is None else part.to}]"
        for part in parts
    )


def _digest(records: Records) -> str:
    """Return a digest of the names and sizes of the files that records are taken from."""
    digest = hashlib.blake2b(digest_size=8)
    for file, skip, take, _ in records.parts:
        name = os.path.basename(file.path)
        digest.update(f"{name} {file.size} {skip} {take}".encode())
    return digest.hexdigest()
