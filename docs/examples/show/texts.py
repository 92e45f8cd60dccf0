"""Python's own standard library as texts, in files of JSON Lines."""

import json
import re
import sysconfig
from pathlib import Path

LENGTH = 2048
FILES = 16
DEFINITION = re.compile(r"\n(?=(?:async )?def |class |@)")
LEFT_OUT = {"site-packages", "test", "tests", "idlelib", "lib2to3"}


def documents(share):
    """Yield (whether it is held out, text) of the texts of Python's standard library.

    A text is a stretch of a file from one definition at the left margin to the next, of at most
    2,048 bytes; longer ones are cut between lines. Of `share` files one is taken. Of those taken,
    each twentieth is held out.
    """
    library = Path(sysconfig.get_paths()["stdlib"])
    files = sorted(file for file in library.rglob("*.py") if not LEFT_OUT & set(file.parts))
    for number, file in enumerate(files[::share]):
        for stretch in DEFINITION.split(file.read_text("utf-8", "replace")):
            for text in cut(stretch):
                yield number % 20 == 7, text


def cut(stretch):
    """Yield the pieces of a text, of at most `LENGTH` bytes; longer lines lose their end."""
    piece, size = [], 0
    for line in stretch.splitlines():
        line = line[: LENGTH // 4 - 1]
        more = len(line.encode()) + 1
        if size + more > LENGTH:
            yield "\n".join(piece)
            piece, size = [], 0
        piece.append(line)
        size += more
    if size > 1:
        yield "\n".join(piece)


def write(folder, share):
    """Write the texts as JSON Lines, 16 files to train and one held out; return their numbers."""
    parts = {True: [], False: []}
    for held, text in documents(share):
        parts[held].append(json.dumps({"id": len(parts[held]), "text": text}) + "\n")
    for name, lines, files in (("train", parts[False], FILES), ("held-out", parts[True], 1)):
        (folder / name).mkdir(parents=True)
        for number in range(files):
            part = lines[number * len(lines) // files : (number + 1) * len(lines) // files]
            (folder / name / f"{number:02}.jsonl").write_text("".join(part), encoding="utf-8")
    return len(parts[False]), len(parts[True])
