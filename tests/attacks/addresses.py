"""Files on a server that fails at random, and changes them: the same records, or an error."""

import json
import os
import tempfile

import numpy as np

import feedrace
import feedrace_files  # noqa: F401 (what is attacked; the family is left out without it)
from feedrace.errors import FeedraceError
from feedrace.storage import remote
from feedrace.storage.retries import Retries
from feedrace_testing.servers import RangeServer

FAULTS = (503, 500, 429, "reset", "cut", 404, 403)


def lines(name, count, width):
    return b"".join(b"%s %d %s\n" % (name, i, b"x" * (i * 7 % width)) for i in range(count))


def attack(rng):
    remote.RETRIES = Retries(sleep=lambda _: None, at_once=5.0)
    counts = [rng.randrange(1, 400) for _ in range(rng.randrange(1, 4))]
    width = rng.choice([1, 50, 5000])
    files = {f"{i}.txt": lines(b"%d" % i, count, width) for i, count in enumerate(counts)}
    wanted = b"".join(files.values()).decode().splitlines()
    often, changes = rng.choice([0, 0.05, 0.3]), rng.random() < 0.3
    with tempfile.TemporaryDirectory() as folder, RangeServer(files) as server:
        os.environ["FEEDRACE_CACHE_DIR"] = folder
        server.broken = lambda _: rng.choice(FAULTS) if rng.random() < often else None
        paths = [f"{server.url}/{name}" for name in files]
        try:
            source = feedrace.create("source", "text-lines", path=paths)
            if rng.random() < 0.3:  # before another program uses the cache
                spoil(rng, folder)
                source = feedrace.create("source", "text-lines", path=paths)
            if changes:
                name = rng.choice(sorted(files))
                files[name] = files[name].swapcase()
            numbers = np.array([rng.randrange(len(wanted)) for _ in range(rng.randrange(1, 300))])
            got = source.fetch(numbers)["text"].tolist()
        except FeedraceError as error:
            assert often or changes, error
            assert len(str(error)) < 20_000
            return f"faults {often}, changes {changes}: {type(error).__name__}"
    expected = [wanted[number] for number in numbers]
    assert got == expected, json.dumps([got[:3], expected[:3]])
    return f"faults {often}, changes {changes}: read"


def spoil(rng, folder):
    """Change, cut or remove a file of the cache."""
    kept = [os.path.join(root, name) for root, _, names in os.walk(folder) for name in names]
    if not kept:
        return
    file = rng.choice(sorted(kept))
    how = rng.randrange(3)
    if how == 0:
        os.unlink(file)
    elif how == 1:
        os.truncate(file, rng.randrange(os.path.getsize(file) + 1))
    else:
        with open(file, "r+b") as out:
            out.seek(rng.randrange(os.path.getsize(file) + 1))
            out.write(rng.randbytes(3))
