"""The state document: counters and a fingerprint, as JSON of under 2 KB."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from feedrace.errors import StateError, clipped
from feedrace.plan import order

FORMAT = 1
MAX_BYTES = 2048
_DIGEST = "blake2:"
_FINGERPRINT_BYTES = MAX_BYTES - 512  # the counters need room, too


def fingerprint(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return `parts`, the longest replaced by digests until the whole is small enough.

    parts: name (`"source"`, `"stages[0]"`) to a JSON-able description.
    """
    texts = {name: json.dumps(part, sort_keys=True) for name, part in parts.items()}
    short = dict(parts)
    for name in sorted(texts, key=lambda name: len(texts[name]), reverse=True):
        if len(json.dumps(short)) <= _FINGERPRINT_BYTES:
            return short
        short[name] = _digest(texts[name])
    if len(json.dumps(short)) <= _FINGERPRINT_BYTES:
        return short
    return {"all": _digest(json.dumps(texts, sort_keys=True))}


def document(counters: Mapping[str, int], fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state document of a pipeline at these counters."""
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
            f"the state document has format {state['format']!r}; this feedrace reads format "
            f"{FORMAT}; a newer release may read it"
        )
    counters = state["counters"]
    good = isinstance(counters, dict) and all(
        isinstance(v, int) and not isinstance(v, bool) and v >= 0 for v in counters.values()
    )
    if not good or "pass" not in counters:
        raise StateError(
            f"the state's counters are {counters!r}; they need to be ints of 0 or more, with 'pass'"
        )
    if not ignore_fingerprint:
        saved_order = state.get("order", 1)
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
                + "\n  ".join(differences)
                + "\npass ignore_fingerprint=True to restore it all the same"
            )
    return dict(counters)


def diff(saved: Any, here: Any, path: str = "") -> list[str]:
    """Return one line for each place where two JSON values differ."""
    if isinstance(saved, Mapping) and isinstance(here, Mapping):
        return [
            line
            for key in sorted(saved.keys() | here.keys(), key=str)
            for line in diff(
                saved.get(key, _Absent),
                here.get(key, _Absent),
                f"{path}.{key}" if path else str(key),
            )
        ]
    return [] if saved == here else [f"{path}: {_show(saved)} -> {_show(here)}"]


def save(path: str | os.PathLike[str], state: Mapping[str, Any]) -> None:
    """Write a state document so that the file holds either the old one or the new one, whole."""
    target = Path(path)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
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


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the state document in a file; raise `StateError` if it is cut or something else."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise StateError(f"{os.fspath(path)} is not a state document: {error}") from error
    return parse(text, os.fspath(path))


def parse(text: str, origin: str) -> dict[str, Any]:
    """Return the state document in a text; raise `StateError` if it is cut or something else."""
    try:
        state = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise StateError(f"{origin} is not a whole state document: {error}") from error
    if not isinstance(state, dict):
        raise StateError(f"{origin} holds {type(state).__name__}, not a state document")
    return state


class _Absent:
    """Stands for a key that one of two documents lacks."""


def _show(value: Any) -> str:
    return "absent" if value is _Absent else json.dumps(value)


def _digest(text: str) -> str:
    return _DIGEST + hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
