"""Damaged config files: every failure is a `FeedraceError`, soon, and in a few words."""

import json
import os
import tempfile
import time
from pathlib import Path

from feedrace.config.files import read_mapping, write_text
from feedrace.errors import FeedraceError
from feedrace.pipeline.options import read_options

MOST_SECONDS = 20  # of processor time
MOST_TEXT = 50_000

GOOD = {
    "batch_size": 4,
    "seed": 1,
    "prefetch": 0,
    "source": {"use": "memory", "data": {"x": [1, 2, 3, 4], "t": ["a", "b", "c", "d"]}},
    "stages": [{"use": "rescale", "field": "x", "scale": 0.5}, {"use": "flip", "field": "x"}],
    "sampler": {"use": "epoch-aware", "num_epochs": 2},
    "scheduler": {
        "use": "interleaved",
        "callbacks": [
            {
                "stream": "test",
                "every_n_epochs": 1,
                "source": {"use": "memory", "data": {"x": [1]}},
                "batcher": {"use": "pack", "fields": {"x": 3}},
            }
        ],
    },
}
WORDS = ["use", "x", "[[stages]]", "[source]", "=", ":", "{", "}", "[", "]", ",", '"', "'", "\n",
         '"""', "'''", "#", "- ", "&a ", "*a", "<<: *a", "!!python/object:os.system ", "? ", "|",
         "---\n", "null", "nan", "inf", "1e999", "0x", "-", "\\u0000", "\\", "\t", "\0", "\u202e",
         "\u0455", "\ud7ff", "\ufeff", "9" * 5000, "2020-02-30", "59:" * 50, "$HOME", "${", "~",
         "a." * 300, "[" * 300, '{"a":' * 300, "- " * 300, "\r", "\x85"]  # fmt: skip


def mutated(rng, value, depth=0):
    """Return a copy of a config with parts replaced, left out, repeated or moved."""
    if depth and rng.random() < 0.04:
        return rng.choice([None, True, -1, 0, 2**63, 2**80, 1e308, "", "x", [], {}, [[1]], GOOD])
    if isinstance(value, dict):
        made = {}
        for key, item in value.items():
            if rng.random() < 0.05:
                continue
            key = key if rng.random() > 0.04 else rng.choice(["use", "\u202ex", "k" * 999, "a b"])
            made[key] = mutated(rng, item, depth + 1)
        return made
    if isinstance(value, list):
        made = [mutated(rng, item, depth + 1) for item in value]
        return made * rng.choice([1, 1, 1, 0, 3, 200]) if rng.random() < 0.2 else made
    return value


def damaged(rng, text):
    """Return a text with pieces cut, moved, repeated or put in."""
    for _ in range(rng.choice([0, 1, 1, 2, 5, 30])):
        start = rng.randrange(len(text) + 1)
        stop = min(len(text), start + rng.choice([0, 1, 1, 5, 80]))
        piece = rng.choice(["", text[start:stop] * rng.choice([1, 2, 2000]), rng.choice(WORDS),
                            rng.choice(WORDS) * rng.choice([1, 50, 3000])])  # fmt: skip
        text = (text[:start] + piece + text[stop:])[:400_000]
    return text


def attack(rng):
    suffix = rng.choice([".toml", ".json", ".yaml"])
    try:
        text = write_text(mutated(rng, GOOD), suffix)
    except FeedraceError:  # TOML cannot hold it
        text = write_text(GOOD, suffix)
    data = damaged(rng, text).encode("utf-8", "surrogatepass")
    if rng.random() < 0.1:
        place = rng.randrange(len(data) + 1)
        data = data[:place] + rng.randbytes(rng.randrange(9)) + data[place:]
    file = Path(tempfile.gettempdir()) / f"feedrace-attack-{os.getpid()}{suffix}"
    file.write_bytes(data)
    began = time.process_time()
    try:
        options = read_options(file)
    except FeedraceError as error:
        message = str(error)
        assert len(message) < MOST_TEXT, len(message)
        assert json.dumps([problem._asdict() for problem in getattr(error, "problems", ())])
        outcome = type(error).__name__
    else:
        assert options.batch_size >= 1
        assert isinstance(read_mapping(file), dict)
        outcome = "read"
    finally:
        seconds = time.process_time() - began
        file.unlink()
    assert seconds < MOST_SECONDS, f"{seconds:.0f} s"
    return f"{suffix}: {outcome}"
