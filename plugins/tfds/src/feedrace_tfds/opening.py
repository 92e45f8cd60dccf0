"""Opens the split that a config names: finds the dataset, its files, features and decoder."""

import hashlib
import os
from typing import Any

import attrs

from feedrace.plugin import DataError, clipped, usable_cpus
from feedrace_tfds.bad_records import budget_count
from feedrace_tfds.config import TFDSConfig
from feedrace_tfds.decode import make_decoder
from feedrace_tfds.offsets import OffsetCache
from feedrace_tfds.paths import file_size
from feedrace_tfds.prepare import prepared_builder
from feedrace_tfds.records import Records, open_records
from feedrace_tfds.shards import missing_file
from feedrace_tfds.split import Split

_MOST_THREADS = 16


@attrs.frozen(eq=False)
class OpenSplit:
    """A split, and what TFDS knows of it.

    info: TFDS's `DatasetInfo`.
    name: the split, in TFDS's notation.
    identity: the dataset's name and version, and a digest of its files' names and sizes.
    threads: how many load at a time, besides a pipeline's workers.
    """

    info: Any
    name: str
    identity: str
    split: Split
    threads: int


def open_split(config: TFDSConfig) -> OpenSplit:
    """Return the split that the config names, prepared first if needed.

    Raises `DataError` for a dataset, split or file that is not there; `ConfigError` for unknown
    keys.
    """
    builder = prepared_builder(config)
    threads = config.num_threads or min(_MOST_THREADS, usable_cpus())
    cache = OffsetCache(config.cache_dir, writable=not config.local_files_only)
    name = _split_name(builder, config.split)
    records = open_records(
        builder,
        name,
        cache=cache,
        window=config.shuffle_buffer_size,
        whole=config.on_error == "raise",
    )
    full_name = builder.info.full_name
    split = Split(
        f"split {clipped(name)} of {full_name}",
        records,
        make_decoder(builder.info, config, threads),
        config.on_error,
        budget_count(config.error_budget, len(records)),
    )
    return OpenSplit(builder.info, name, f"{full_name} {_digest(records)}", split, threads)


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
    for path, skip, take, _ in records.parts:
        try:
            size = file_size(path)
        except FileNotFoundError as error:
            raise missing_file(path) from error
        digest.update(f"{os.path.basename(path)} {size} {skip} {take}".encode())
    return digest.hexdigest()
