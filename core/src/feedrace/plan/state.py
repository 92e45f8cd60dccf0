"""The state document: counters and a fingerprint, as JSON of under 2 KB."""

import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from feedrace.config.fields import MAX_INT
from feedrace.errors import StateError, clipped, cut, join, plain
from feedrace.plan import order

FORMAT = 1
MAX_BYTES = 2048
_MOST_BYTES_READ = 1_000_000  # of a file that may be something else
_MOST_LINES = 20  # of differences in one message
_OLD = 3600.0  # seconds after which a temporary file was left by a process that was killed
_DIGEST = "blake2:"
_FINGERPRINT_BYTES = MAX_BYTES - 512  # the counters need room, too


def fingerprint(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return `parts`, the longest replaced by digests until the whole is small enough.

    parts: name (`"source"`, `"stages[0]"`) to a JSON-able description.
    """
    parts = {name: _without_nan(part) for name, part in parts.items()}
    texts = {name: json.dumps(part, sort_keys=True) for name, part in parts.items()}
    short = dict(parts)
    for name in sorted(texts, key=lambda name: len(texts[name]), reverse=True):
        if len(json.dumps(short)) <= _FINGERPRINT_BYTES:
            return short
        short[name] = _digest(texts[name])
    if len(json.dumps(short)) <= _FINGERPRINT_BYTES:
        return short
    return {"all": _digest(json.dumps(texts, sort_keys=True))}


def _without_nan(part: Any) -> Any:
    """Return a description with text for NaN, which equals nothing and has no JSON."""
    if isinstance(part, Mapping):
        return {name: _without_nan(value) for name, value in part.items()}
    if isinstance(part, list | tuple):
        return [_without_nan(value) for value in part]
    return "nan" if isinstance(part, float) and part != part else part


def document(counters: Mapping[str, int], fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state document of a pipeline at these counters.

    format: the version of the document's form.
    order: the version of the shuffled order; under another one other records would follow.
    counters: ints. `pass` is the number of passes that have ended. The others are the scheduler's:
        `update`, the train batches since the start of the run, and within an evaluation `callback`,
        its number, and `batch`. A stream whose batcher groups windows of records adds where it
        stands in them, such as `train.window` and `train.batch`.
    fingerprint: what the pipeline is made of. Digests replace its longest parts until it is short
        enough.
    """
    return {
        "format": FORMAT,
        "order": order.VERSION,
        "counters": dict(counters),
        "fingerprint": dict(fingerprint),
    }


def counters_of(
    state: Any, fingerprint: Mapping[str, Any], *, ignore_fingerprint: bool = False
) -> dict[str, int]:
    """Return the counters in a state document, after checking that it is one of this pipeline.

    Raises `TypeError` for anything but a dict; `StateError` for a document that is incomplete, of
    another format; and, unless `ignore_fingerprint`, for one saved under another version of the
    shuffled order, or of another pipeline (saying what differs).
    """
    if not isinstance(state, dict):
        raise TypeError(f"a pipeline's state is a dict, not {type(state).__name__}")
    missing = sorted({"format", "counters", "fingerprint"} - state.keys())
    if missing:
        raise StateError(
            f"the state document lacks {', '.join(missing)}; it was cut, or is something else"
        )
    if state["format"] != FORMAT:
        raise StateError(
            f"the state document has format {clipped(state['format'])}; this feedrace reads format "
            f"{FORMAT}; a newer release may read it"
        )
    counters = state["counters"]
    good = isinstance(counters, dict) and all(
        isinstance(v, int) and not isinstance(v, bool) and 0 <= v <= MAX_INT
        for v in counters.values()
    )
    if not good or "pass" not in counters:
        raise StateError(
            f"the state's counters are {clipped(counters)}; they need to be ints from 0 to "
            f"{MAX_INT}, with 'pass'"
        )
    if not ignore_fingerprint:
        saved_order: Any = state.get("order", 1)
        if saved_order != order.VERSION:
            raise StateError(
                f"the state was saved under version {clipped(saved_order)} of the shuffled order, "
                f"and this feedrace shuffles by version {order.VERSION}: other records would "
                f"follow; use the feedrace that saved it, or pass ignore_fingerprint=True if no "
                f"stream is shuffled"
            )
        differences = diff(state["fingerprint"], fingerprint)
        if differences:
            raise StateError(
                "the state is of another pipeline; this differs (saved -> here):\n  "
                + "\n  ".join(differences[:_MOST_LINES])
                + "\npass ignore_fingerprint=True to restore it all the same"
            )
    return dict(counters)


def diff(saved: Any, here: Any, path: str = "") -> list[str]:
    """Return one line for each place where two JSON values differ."""
    if isinstance(saved, Mapping) and isinstance(here, Mapping):
        return [
            line
            for key in sorted(saved.keys() | here.keys(), key=clipped)
            for line in diff(
                saved.get(key, _Absent),
                here.get(key, _Absent),
                join(path, key),
            )
        ]
    return [] if saved == here else [f"{plain(path)}: {_show(saved)} -> {_show(here)}"]


def save(path: str | os.PathLike[str], state: Mapping[str, Any]) -> None:
    """Write a state document so that the file holds either the old one or the new one, whole.

    Temporary files of saves that were killed an hour ago or earlier are removed.
    """
    target = Path(path)
    _sweep(target)
    handle, temporary = tempfile.mkstemp(".tmp", f".{target.name}.", target.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(state, file)
            file.flush()
            os.fsync(file.fileno())
        # Readable by whoever could read the old one; a temporary file is so for its owner alone.
        os.chmod(temporary, target.stat().st_mode if target.exists() else 0o644)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def _sweep(target: Path) -> None:
    """Remove the old temporary files of a target."""
    name = re.compile(rf"\.{re.escape(target.name)}\.[a-z0-9_]{{8}}\.tmp")
    for entry in os.scandir(target.parent):
        if name.fullmatch(entry.name):
            with suppress(OSError):  # another process was faster
                if entry.stat(follow_symlinks=False).st_mtime < time.time() - _OLD:
                    os.unlink(entry)


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the state document in a file; raise `StateError` if it is cut or something else."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(_MOST_BYTES_READ + 1)
    except UnicodeDecodeError as error:
        raise StateError(f"{os.fspath(path)} is not a state document: {error}") from error
    if len(text) > _MOST_BYTES_READ:
        raise StateError(f"{os.fspath(path)} is not a state document: it is far too long")
    return parse(text, os.fspath(path))


def parse(text: str, origin: str) -> dict[str, Any]:
    """Return the state document in a text; raise `StateError` if it is cut or something else."""
    try:
        state = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StateError(f"{origin} is not a whole state document: {error}") from error
    if not isinstance(state, dict):
        raise StateError(f"{origin} holds {type(state).__name__}, not a state document")
    return state


class _Absent:
    """Stands for a key that one of two documents lacks."""


def _show(value: Any) -> str:
    try:
        return "absent" if value is _Absent else cut(json.dumps(value))
    except (TypeError, ValueError, RecursionError):  # a document that was never JSON
        return clipped(value)


def _digest(text: str) -> str:
    return _DIGEST + hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
