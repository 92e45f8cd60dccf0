"""In which line of a TOML text a key stands, by means of the standard parser alone."""

import tomllib
from collections.abc import Sequence
from typing import Any

from feedrace.errors import Problem, join


def located(problems: Sequence[Problem], text: str) -> list[Problem]:
    """Return problems with the lines of their paths in a TOML text that parses.

    What is missing is told at the nearest table around it that is there.
    """
    lines = key_lines(text)
    return [problem._replace(line=_nearest(problem.path, lines)) for problem in problems]


def key_lines(text: str) -> dict[str, int]:
    """Return the line, from 1, where each path (`scheduler.callbacks[0].stream`) begins.

    Every statement of TOML parses by itself, so that the statements can be told apart by trying.
    """
    lines: dict[str, int] = {}
    lengths: dict[str, int] = {}  # of the arrays of tables so far
    table, statement, began = "", "", 0
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if not statement:
            began = number
        statement += line
        try:
            parsed = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue  # it goes on in the next line
        if statement.lstrip().startswith("["):
            table = _header(parsed, lengths)
            lines.setdefault(table, began)
        else:
            _note(parsed, table, began, lines)
        statement = ""
    return lines


def _header(parsed: Any, lengths: dict[str, int]) -> str:
    """Return the path of a table from its header alone, parsed: nested dicts of one key each."""
    path = ""
    while isinstance(parsed, dict) and parsed:
        ((key, parsed),) = parsed.items()
        path = join(path, key)
        if isinstance(parsed, list):
            lengths[path] = lengths.get(path, 0) + 1
        if path in lengths:
            path += f"[{lengths[path] - 1}]"
    return path


def _note(value: Any, path: str, line: int, lines: dict[str, int]) -> None:
    if path:
        lines.setdefault(path, line)
    if isinstance(value, dict):
        for key, inner in value.items():
            _note(inner, join(path, key), line, lines)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            _note(inner, f"{path}[{i}]", line, lines)


def _nearest(path: str, lines: dict[str, int]) -> int:
    while path:
        if path in lines:
            return lines[path]
        cut = max(path.rfind("."), path.rfind("["))
        path = path[:cut] if cut > 0 else ""
    return 0
