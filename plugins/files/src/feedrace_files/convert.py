"""What a source gives, written in shards: into a folder beside the one asked for, then renamed."""

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import msgspec

from feedrace.plugin import (
    AllRecords,
    DataError,
    FeedraceError,
    clipped,
    is_remote,
    load_records,
    one_of,
    write_whole,
)
from feedrace_files.encoding import SIDECAR, Document, Shard, read_document, write_document
from feedrace_files.planning import PLAN, Plan, plan_of
from feedrace_files.writers import SUFFIXES, WriteShard, is_there

_LOCK = ".lock"


@attrs.frozen(kw_only=True)
class Report:
    """What a conversion made.

    bad: sentences on records that were left out. seconds: of this run, which may have found most
    shards made. config: the part of a config that reads the folder.
    """

    folder: str
    storage: str
    records: int
    left_out: int
    bad: tuple[str, ...]
    bytes: int
    shards: int
    digest: str
    seconds: float
    config: str


def convert(
    config: str | os.PathLike[str] | AllRecords,
    to: str,
    folder: str | os.PathLike[str],
    *,
    shards: int | None = None,
    workers: int | None = None,
    runner: str | None = None,
    runner_options: Sequence[str] = (),
    overwrite: bool = False,
    warn: Callable[[str], None] = lambda _: None,
) -> Report:
    """Write all records that a config's source and record stages give, and return a report.

    config: a file; from Python also `feedrace.plugin.all_records(source, stages)`.
    to: "array-record" or "parquet". folder: a new one, or an empty one. The shards are made in
        `<folder>.partial`; it is renamed once all of them are there and were read back, so that
        `folder` is a whole data set or is not there. The same call goes on if one was stopped.
    shards: how many; by default as many as make files of 128 MiB, or some for each worker.
    workers, runner, runner_options: see `AllRecords.run`.
    overwrite: take the place of what an earlier conversion made in `folder`.
    warn: called with a sentence on each part of the config that is not used.

    Raises `DataError` for a folder that holds other files, or a record that no file holds;
    `ConfigError` as `feedrace.load` does; `OSError` if files cannot be written.
    """
    began = time.perf_counter()
    one_of(*SUFFIXES).check("to", to)
    if to == "parquet":
        import feedrace_files.parquet  # noqa: F401 (it may lack what it needs)
    target = _checked(folder)
    every = config if isinstance(config, AllRecords) else load_records(config)
    for sentence in every.unused:
        warn(f"{sentence}: left out")
    if not runner and not workers and every.obstacles:
        warn(f"one record after another, in this process: {every.obstacles[0]}")
    document = _finished(target, to, every.identity)
    if document is not None and _has(document, shards):
        _remove_replaced(target)
        return _report(target, document, (), began)
    _check_free(target, overwrite)
    partial = target.with_name(f"{target.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    with _alone(partial), _kept_if_any(partial):
        document = _finished(partial, to, every.identity)
        bad: list[str] = []
        if document is None:
            plan = plan_of(partial, to, every, shards, workers)
            work = WriteShard(to, plan.fields, os.fspath(partial), len(plan.bounds) - 1)
            made = []
            for part in every.run(
                work,
                plan.bounds,
                partial,
                what=f"convert to {to}",
                workers=workers,
                runner=runner,
                runner_options=runner_options,
                is_good=lambda part: is_there(partial, msgspec.convert(part.value, Shard)),
            ):
                made.append(part)
                bad += map(str, part.noted)
            document = _document(plan, made)
            write_whole(partial / SIDECAR, write_document(document))
        _put_in_place(partial, target, document)
    return _report(target, document, tuple(bad), began)


def _checked(folder: str | os.PathLike[str]) -> Path:
    text = os.fspath(folder)
    if is_remote(text):
        raise DataError(
            f"{clipped(text)} is an address; a conversion writes to a local folder: copy it there "
            f"afterwards"
        )
    target = Path(os.path.abspath(text))
    if not target.name or (target.exists() and not target.is_dir()):
        raise DataError(f"{target} cannot be made or replaced; give a new folder")
    return target


def _document_in(folder: Path) -> Document | None:
    """Return the document in a folder, None if there is none, or none that can be read."""
    place = folder / SIDECAR
    with contextlib.suppress(FileNotFoundError, DataError):
        return read_document(place.read_bytes(), str(place))
    return None


def _finished(folder: Path, to: str, made_from: str) -> Document | None:
    """Return the document of this conversion if it made all its shards in a folder."""
    document = _document_in(folder)
    if document is None or (document.storage, document.made_from) != (to, made_from):
        return None
    return document if all(is_there(folder, shard) for shard in document.shards) else None


def _has(document: Document, shards: int | None) -> bool:
    """Return whether a conversion has as many shards as are asked for."""
    # A shard all of whose records were left out has no file.
    return shards in (None, len(document.shards)) or bool(document.left_out)


def _check_free(target: Path, overwrite: bool) -> None:
    """Raise `DataError` unless a folder can be replaced: it is not there, empty, or may go."""
    held = set(os.listdir(target)) if target.exists() else set()
    if not held:
        return
    document = _document_in(target)
    others = sorted(held - _names(document)) if document else sorted(held)
    if others or document is None:
        raise DataError(
            f"{target} holds {clipped(others[0])}, which no conversion wrote; give a new folder, "
            f"or empty this one"
        )
    if not overwrite:
        raise DataError(
            f"{target} holds another conversion ({document.records:,} records as "
            f"{document.storage}, of other data, other stages, in other shards, or not whole); "
            f"give a new folder, or overwrite it (--overwrite)"
        )


def _names(document: Document) -> set[str]:
    return {SIDECAR, *(shard.file for shard in document.shards)}


def _document(plan: Plan, made: Sequence[Any]) -> Document:
    shards = [msgspec.convert(part.value, Shard) for part in made]
    records = sum(shard.records for shard in shards)
    if not records:
        raise DataError("none of the records can be read; there is nothing to convert")
    digest = hashlib.sha256()
    for shard in shards:
        digest.update(bytes.fromhex(shard.digest))
    return Document(
        storage=plan.storage,
        records=records,
        left_out=sum(part.left_out for part in made),
        made_from=plan.made_from,
        bytes=sum(shard.bytes for shard in shards),
        digest=digest.hexdigest(),
        fields=plan.fields,
        shards=tuple(shard for shard in shards if shard.file),
    )


def _put_in_place(partial: Path, target: Path, document: Document) -> None:
    """Rename the finished folder, after removing what it takes only while it is made."""
    for name in set(os.listdir(partial)) - _names(document):
        (partial / name).unlink()
    if target.exists() and any(target.iterdir()):
        _remove_replaced(target)
        os.replace(target, _replaced(target))
    os.replace(partial, target)
    _remove_replaced(target)


def _replaced(target: Path) -> Path:
    """Return the name under which what was in `target` lies until the new folder is there."""
    return target.with_name(f"{target.name}.replaced")


def _remove_replaced(target: Path) -> None:
    document = _document_in(_replaced(target))
    if document is not None and set(os.listdir(_replaced(target))) <= _names(document):
        shutil.rmtree(_replaced(target))


@contextlib.contextmanager
def _kept_if_any(partial: Path) -> Iterator[None]:
    """Note on an error where the shards are that were made; remove the folder if there is none."""
    try:
        yield
    except Exception as error:
        made = list(partial.glob("records-*"))
        if made:
            error.add_note(
                f"{len(made)} shards are in {partial}; the same conversion goes on from there"
            )
        else:
            shutil.rmtree(partial)
        raise


@contextlib.contextmanager
def _alone(partial: Path) -> Iterator[None]:
    """Hold a lock on the folder of a conversion; raise `FeedraceError` if another process does.

    Raises `DataError` for a folder that holds something else.
    """
    for name in os.listdir(partial):
        if not name.startswith((".", "part-", "records-")) and name not in (PLAN, SIDECAR):
            raise DataError(
                f"{partial} holds {clipped(name)}, which no conversion wrote, and shards are made "
                f"in that folder; move it away"
            )
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows: a file that is open cannot be replaced there
        yield
        return
    file = os.open(partial / _LOCK, os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FeedraceError(
                f"another process converts into {partial}; wait for it, or end it"
            ) from error
        for unfinished in partial.glob(".*"):  # of a process that was killed
            if unfinished.name != _LOCK:
                unfinished.unlink()
        yield
    finally:
        os.close(file)


def _report(target: Path, document: Document, bad: tuple[str, ...], began: float) -> Report:
    return Report(
        folder=str(target),
        storage=document.storage,
        records=document.records,
        left_out=document.left_out,
        bad=bad,
        bytes=document.bytes,
        shards=len(document.shards),
        digest=document.digest,
        seconds=time.perf_counter() - began,
        config=f'[source]\nuse = "{document.storage}"\npath = {_quoted(str(target))}\n',
    )


def _quoted(text: str) -> str:
    """Return a string of TOML, which are those of JSON."""
    return msgspec.json.encode(text).decode()
