"""The base class of sources that read stored records: a format's plugin gives it a `Content`."""

import contextlib
import hashlib
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any

import attrs
import jax
import numpy as np
from flax import nnx
from numpy.typing import ArrayLike, NDArray

from feedrace.config.stored import StoredConfig
from feedrace.device.placement import to_device
from feedrace.device.specs import is_wide
from feedrace.errors import DataError
from feedrace.host.machine import usable_cpus
from feedrace.host.records import check_batch_size, map_leaves, split_records
from feedrace.modules.cache import IdentityDict
from feedrace.modules.source import SourceModule
from feedrace.protocols import Timed, provides
from feedrace.storage.ahead import ahead
from feedrace.storage.bad_records import BadRecord, BadRecords, budget_count
from feedrace.storage.files import File, Storage
from feedrace.storage.layout import Layout
from feedrace.storage.tables import TableCache
from feedrace.storage.tolerant import Content, TolerantReader

_BLOCK = 256  # records that a thread reads at a time
_MOST_THREADS = 16


def storage_of(config: StoredConfig) -> Storage:
    """Return where a config's files are found and opened."""
    return Storage(config.storage_options or {}, config.cache_dir, config.cache_bytes)


@attrs.frozen(eq=False)
class _Found:
    """The files of a source: NNX would look at each one of a tuple."""

    files: tuple[File, ...]


class StoredSource(SourceModule):
    """A source of stored records, and what is known of them; subclasses define `fetch`.

    content: the records. files: those that they are read from, for `identity`.

    A subclass makes both from its config, and hands them on. Raises `DataError` if there is no
    record.
    """

    def __init__(
        self,
        config: StoredConfig,
        content: Content,
        files: Sequence[File] = (),
        *,
        rngs: nnx.Rngs | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(config, rngs=rngs, name=name)
        self.length = len(content)
        if not self.length:
            who = self.name or type(self).__name__
            raise DataError(f"{who} has no records; {_named(files)}; give files that hold some")
        budget = budget_count(config.error_budget, self.length)
        self._tolerant = nnx.static(TolerantReader(content, config.on_error, budget))
        self._bad = nnx.static(BadRecords(budget))
        self._found = nnx.static(_Found(tuple(files)))
        self._kept: IdentityDict = nnx.static(IdentityDict())
        # How many threads read ahead in an iteration, and blocks.
        self._threads, self._blocks_ahead = min(_MOST_THREADS, usable_cpus()), 2

    @property
    def _files(self) -> tuple[File, ...]:
        files: tuple[File, ...] = self._found.files
        return files

    @property
    def _content(self) -> Content:
        content: Content = self._tolerant.content
        return content

    @property
    def _layout(self) -> Layout:
        return self._content.layout

    def element_spec(self) -> Any:
        """Return the spec of one record, with the dtypes that arrive on a device.

        Strings and bytes have dtype object; fields of varying shape have None for the axes that
        vary.
        """
        fields = self._layout.fields(wide=is_wide())
        return map_leaves(lambda field: jax.ShapeDtypeStruct(field.shape, field.dtype), fields)

    def _reader(self) -> TolerantReader:
        kept = self._kept if self.config.cacheable else None
        return attrs.evolve(self._tolerant, wide=is_wide(), kept=kept)

    @property
    def bad_records(self) -> tuple[BadRecord, ...]:
        """The records met so far that could not be read or decoded, by number."""
        met: tuple[BadRecord, ...] = self._bad.met()
        return met

    def note(self, noted: Iterable[BadRecord]) -> None:
        """Take note of bad records that a reader met, as `noted` gives them.

        Raises `DataError` if they are more than `error_budget` allows.
        """
        self._bad.add(noted)

    def details(self) -> list[str]:
        """Return sentences on how records are found and decoded."""
        return self._content.describe()

    def identity(self) -> str:
        """Return a digest of the names and contents of the files; part of saved states.

        Of a large local file some parts stand for the rest; see `TableCache.digests`.
        """
        digest = hashlib.blake2b(digest_size=8)
        contents = TableCache(storage_of(self.config)).digests(self._files)
        for file, content in zip(self._files, contents, strict=True):
            digest.update(f"{os.path.basename(file.path)} {file.size} {content}\n".encode())
        return f"{self.length} records {digest.hexdigest()}"


class FileSource(StoredSource):
    """A source of stored records, read and decoded by number; nothing is kept in memory.

    Every record has a number, so that any order is as resumable as the stored one.
    """

    def reader(self) -> TolerantReader | None:
        """Return the part that reads: it needs no JAX, and can be pickled.

        64-bit numbers are converted as JAX's x64 mode is now.
        """
        return self._reader()

    def fetch(self, indices: ArrayLike) -> dict[str, Any]:
        """Return the records of these numbers, as a dict of numpy arrays.

        As `TolerantReader.fetch` does, and raises `DataError` also if the bad records are more than
        `error_budget` allows. Several threads may fetch at a time.
        """
        reader = self._reader()
        records = reader.fetch(indices)
        self.note(reader.noted())
        return records

    def invalid_rows(self, indices: ArrayLike) -> NDArray[np.bool_]:
        """Return which of these fetched records were skipped."""
        rows: NDArray[np.bool_] = self._tolerant.invalid_rows(indices)
        return rows

    def get_batch(self, batch_size: int, key: Any = None) -> dict[str, Any]:
        """Return up to `batch_size` records: those that are left of the epoch, if they are fewer.

        The batch after the last one of an epoch begins the next epoch. With a PRNG `key`, see
        `SourceModule.get_batch`.
        """
        check_batch_size(batch_size)
        if key is None:
            left = self.length - int(self.index.get_value())
            batch_size = min(batch_size, left or self.length)
        return super().get_batch(batch_size, key)

    @property
    def decode_seconds(self) -> float:
        """Seconds spent on decoding so far; 0.0 if the format does not measure it."""
        content: Any = self._content
        return float(content.decode_seconds) if provides(content, Timed) else 0.0

    def reset_cache(self) -> None:
        """Forget the records that `cacheable` keeps."""
        super().reset_cache()
        self._kept = nnx.static(IdentityDict())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the records that are left of this epoch, one dict each, then start the next."""
        return self._hand_out(self._read_ahead())

    def _read_ahead(self) -> Generator[dict[str, Any] | None, None, None]:
        """Yield the records of this epoch that are left, None for those that were skipped."""
        reader = self._reader()

        def read(block: tuple[int, int]) -> tuple[Any, NDArray[np.bool_], list[BadRecord]]:
            numbers = self.indices(*block)
            return reader.fetch(numbers), reader.invalid_rows(numbers), reader.noted()

        blocks = ahead(read, self._blocks(_BLOCK), threads=self._threads, most=self._blocks_ahead)
        with contextlib.closing(blocks):
            for block, invalid, bad in blocks:
                self.note(bad)
                # Split before they are moved: JAX would compile a program for each size of block.
                elements = to_device(list(split_records(block)))
                for element, skipped in zip(elements, invalid.tolist(), strict=True):
                    yield None if skipped else element


def _named(files: Sequence[File]) -> str:
    if not files:
        return "there are no files"
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return f"it was made of {files[0].path}{more}"
