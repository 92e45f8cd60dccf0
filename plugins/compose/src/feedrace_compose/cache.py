"""The source of another's records after record stages, which are kept on disk."""

import os
import tempfile
import threading
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import jax
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from feedrace.plugin import (
    AllRecords,
    ConfigError,
    DataError,
    DataWarning,
    IdentityDict,
    Problem,
    Storage,
    all_records,
    bounds_of_parts,
    is_host_dtype,
    is_remote,
    leaves,
    map_leaves,
    records_digest,
    run_as_chosen,
    sample_numbers,
)
from feedrace_compose.cache_place import Field, Place
from feedrace_compose.cache_reader import OWN, CacheReader, Fill, Opened
from feedrace_compose.config import CacheConfig
from feedrace_compose.parts import ComposedSource, source_of, stages_of

_MOUNTS = Path("/proc/self/mounts")
_REMOTE = ("nfs", "cifs", "smb", "afs", "9p", "virtiofs", "fuse.", "ceph", "lustre", "gpfs")


@attrs.define(eq=False)
class _Held:
    """What a source and its clones share. place: known once a reader is asked for."""

    every: AllRecords
    directory: str
    opened: Opened = attrs.field(factory=Opened)
    lock: Any = attrs.field(factory=threading.Lock)
    warned: set[str] = attrs.field(factory=set)
    place: Place | None = None


class CacheSource(ComposedSource):
    """The records of a source after stages that draw no random numbers, made once and kept.

    They are kept on local disk as they are asked for, or ahead by `precompute`, in a folder whose
    name is another one if the source, its data or a stage changes. Any number of processes and
    pipelines share it. Records that the source skips, or notes as bad, are not kept.

    Raises `ConfigError` for stages that draw random numbers or work on batches.
    """

    def __init__(
        self, config: CacheConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        source = source_of(config)["source"]
        super().__init__(config, {"source": source}, rngs=rngs, name=name)
        every = all_records(source, stages_of(config))
        directory = _directory(config)
        for field, leaf in leaves(every.spec):
            if not _is_numpys(leaf.dtype):
                message = f"field {field!r} holds {leaf.dtype}, which no file can; leave it out"
                raise ConfigError([Problem("source", message)])
        self._spec: IdentityDict = nnx.static(
            IdentityDict(map_leaves(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), every.spec))
        )
        self.length = len(source)
        self._shared: _Held = nnx.static(_Held(every, directory))

    def element_spec(self) -> Any:
        return dict(self._spec)

    def made(self, sources: Sequence[Any]) -> CacheReader:
        shared = self._shared
        loader = attrs.evolve(shared.every.loader, reader=sources[0])
        with shared.lock:
            if shared.place is None:
                shared.place = self._place(loader)
        return CacheReader(loader, shared.place, shared.opened)

    def fetch(self, indices: NDArray[np.int64]) -> dict[str, Any]:
        reader = self.reader() or self.made(self._sources)
        records: dict[str, Any] = reader.fetch(indices)
        self.note(reader.noted())
        return records

    def note(self, noted: Sequence[Any]) -> None:
        """Hand on to the source what its reader noted, and warn of what the cache's own did."""
        for part, items in noted:
            if part != OWN:
                super().note([(part, items)])
                continue
            for sentence in items:
                if sentence not in self._shared.warned:
                    self._shared.warned.add(sentence)
                    warnings.warn(f"cache: {sentence}", DataWarning, stacklevel=2)

    def precompute(self) -> None:
        """Make the records that are not kept yet, in worker processes, as `jobs_run` chose.

        Raises `DataError` if none can be kept, and whatever reading and the stages raise.
        """
        super().precompute()
        every = all_records(self)
        bounds = tuple(bounds_of_parts(every))
        reader = self.reader() or self.made(self._sources)
        files = reader.opened.files(reader.place)
        self.note(reader.noted())
        if files is None or not files.is_writable:
            raise DataError(f"records cannot be kept in {reader.place.folder}")
        with tempfile.TemporaryDirectory() as folder:
            run_as_chosen(every, Fill(reader, bounds), bounds, Path(folder), what="cache")
        reader.sync()
        self.note(reader.noted())

    def details(self) -> list[str]:
        """Return sentences on the source, and on what is kept of it; up to 16 records are read."""
        place = (self.reader() or self.made(self._sources)).place
        lines = super().details()
        head = place.head()
        if head is None:
            lines.append(f"no record is kept yet in {place.folder}")
        else:
            kept, most = place.kept(head), place.most_of(head)
            lines.append(
                f"{kept:,} of {place.count:,} records are kept in {place.folder}: "
                f"{_size(place.used(kept))} of {_size(most)} at most"
            )
            if head.full_at >= most:
                lines.append("it is full (max_bytes): further records are made each time")
        taken = _taken(self._shared.directory)
        if taken:
            lines.append(
                f"all caches in {self._shared.directory} take {_size(taken)}; delete the folders "
                f"there that are no longer used"
            )
        return lines

    def _place(self, loader: Any) -> Place:
        """Return where the records lie: a sample of them shows their dtypes, and new data."""
        every, samples = self._shared.every, []
        for number in sample_numbers(self.length):
            with suppress(Exception):  # it is raised if the record is asked for
                read, each = loader.each(np.array([number]))
                values = next(each)
                if read.skipped is None and values is not None:
                    samples.append(values)
        fields = tuple(_field(name, leaf, samples) for name, leaf in leaves(every.spec))
        described = {field.name: f"{field.dtype}{list(field.shape)}" for field in fields}
        specs = [str(leaf) for _, leaf in leaves(every.spec)]
        digest = records_digest([every.identity, self.length, described, specs], samples)
        stages = [type(stage).__name__ for stage in every.loader.stages.stages]
        about = {"source": type(self._sources[0]).__name__, "stages": stages}
        return Place(
            folder=os.path.join(self._shared.directory, digest),
            fields=fields,
            count=self.length,
            most=self.config.max_bytes,
            about={**about, "records": self.length, "fields": described},
        )


def _field(name: str, leaf: Any, samples: Sequence[Any]) -> Field:
    """Return how a field is kept: in the dtype that it comes in, which may be wider than its spec.

    Stages that come after the cache then see what they would see without it.
    """
    dtype = np.dtype(leaf.dtype)
    if None in leaf.shape or dtype.hasobject or not dtype.itemsize:
        return Field(name, leaf.shape, dtype, False)
    if not is_host_dtype(dtype):
        found = {getattr(sample[name], "dtype", dtype) for sample in samples}
        dtype = np.result_type(*(found or {dtype}))
    return Field(name, leaf.shape, dtype, True)


def _is_numpys(dtype: Any) -> bool:
    """Return whether numpy has a dtype; not that of PRNG keys."""
    with suppress(TypeError):
        np.dtype(dtype)
        return True
    return False


def _directory(config: CacheConfig) -> str:
    """Return the folder of all caches; raise `ConfigError` for one that is on no local disk."""
    directory = config.directory or os.path.join(Storage().cache_folder(), "records")
    kind = "a remote store" if is_remote(directory) else _remote(directory)
    if kind:
        message = f"{directory} lies on {kind}, which does not show one process at once what"
        message += " another writes; name a folder on a local disk"
        raise ConfigError([Problem("directory", message)])
    return os.path.abspath(directory)


def _remote(directory: str) -> str:
    """Return the kind of network file system that a folder is to lie on; "" for a local one."""
    with suppress(OSError):
        place, kinds = os.path.realpath(directory), {}
        for line in _MOUNTS.read_text().splitlines():
            _, mount, kind, *_ = line.split()
            kinds[mount.replace("\\040", " ")] = kind
        at = [mount for mount in kinds if os.path.commonpath([mount, place]) == mount]
        kind = kinds[max(at, key=len)] if at else ""
        return kind if kind.startswith(_REMOTE) else ""
    return ""


def _taken(directory: str) -> int:
    """Return the bytes that the files of all caches take on the disk."""
    total = 0
    for path in Path(directory).glob("*/*"):
        with suppress(OSError):
            total += path.stat().st_blocks * 512
    return total


def _size(count: int) -> str:
    power = max(p for p in (10, 20, 30) if count >= 2**p or p == 10)
    return f"{count / 2**power:,.1f} {'KMG'[power // 10 - 1]}iB"
