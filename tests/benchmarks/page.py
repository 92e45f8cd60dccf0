"""The table of all figures, those that miss their target first, and the page about them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from string import Template

from results import Figure

Row = tuple[str, str, Figure]  # program, what, figure
_RED = '<span style="color: var(--color-problematic, #d1242f)">{}</span>'  # furo's, light and dark


def on_page(text: str) -> str:
    """Return a cell of a page in red, readable on a light and on a dark background."""
    return _RED.format(text)


def in_terminal(text: str) -> str:
    """Return a cell in the red of a terminal."""
    return f"\33[31m{text}\33[0m"


def ranked(results: dict[str, dict]) -> list[Row]:
    """Return the rows of all figures, what misses its target most first."""
    rows = [
        (program, what, Figure(*figure))
        for program, made in results.items()
        for what, figure in made["figures"].items()
    ]
    return sorted(rows, key=lambda row: -row[2].missed_by)  # stable: the others in their order


def table(rows: list[Row], mark: Callable[[str], str] = str) -> Iterator[str]:
    """Yield the lines of a table; `mark` colours the results that are short."""
    yield "| program | what | result | target |"
    yield "| --- | --- | ---: | ---: |"
    for program, what, figure in rows:
        shown = mark(f"{figure}, short") if figure.is_short else str(figure)
        what = what.replace("|", "\\|")
        yield f"| {program} | {what} | {shown} | {figure.target} |"


def origins(results: dict[str, dict]) -> Iterator[str]:
    """Yield the lines of a table of what each program ran with."""
    yield "| program | commit | Python | cores | load | libraries |"
    yield "| --- | --- | --- | ---: | ---: | --- |"
    for program, made in results.items():
        libraries = ", ".join(f"{name} {version}" for name, version in made["libraries"].items())
        libraries += "".join(f"; {peer}: {them}" for peer, them in made.get("peers", {}).items())
        cells = [program, made["commit"], made.get("python", ""), made["cpus"],
                 made.get("load", ""), libraries]  # fmt: skip
        yield "| " + " | ".join(map(str, cells)) + " |"


def document(results: dict[str, dict], pictures: dict[str, tuple[str, str]]) -> str:
    """Return the page. pictures: title and words of each picture by the name of its file."""
    rows = ranked(results)
    short = [row for row in rows if row[2].is_short]
    met = [row for row in rows if row[2].has_target and not row[2].is_short]
    rest = [row for row in rows if not row[2].has_target]
    lost = [f"- {program}: {line}" for program, made in results.items()
            for line in made.get("left_out", [])]  # fmt: skip
    shown = [
        f"### {title}\n\n![{title}]({file})\n\n{words}" for file, (title, words) in pictures.items()
    ]
    template = Template(Path(__file__).with_suffix(".md").read_text(encoding="utf-8"))
    return template.substitute(
        short=len(short),
        aimed=len(short) + len(met),
        short_table="\n".join(table(short, on_page)),
        other_table="\n".join(table(met + rest)),
        pictures="\n\n".join(shown),
        origins="\n".join(origins(results)),
        left_out="\n".join(lost or ["- nothing"]),
    )
