"""Writes the lists of docs/plugins.toml into docs/directory.md, between its two marks."""

import textwrap
import tomllib
from pathlib import Path

from tests.documents.choose import row

DOCS = Path(__file__).parents[2] / "docs"
BEGIN, END = "<!-- made of plugins.toml -->\n", "<!-- end -->\n"


def read() -> dict:
    return tomllib.loads((DOCS / "plugins.toml").read_text())


def code(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def lists() -> str:
    """Return a table of each of the two lists."""
    plugins = read()
    text = "\n## Of this project\n\n"
    text += "One version fits all of them, which is that of `feedrace`, as are the Pythons.\n\n"
    text += HEAD + row(["dist", "what for", "names"])
    for one in plugins["of_this_project"]:
        text += row([f"[`{one['dist']}`]({one['link']})", one["what"], offers(one)])
    text += ":::\n\n## Of others\n\n"
    text += HEAD + row(["dist", "what for", "names", "author", "needs"])
    for one in plugins["others"]:
        needs = f"Python {one['python']}, feedrace {one['feedrace']}"
        dist = f"[`{one['dist']}`]({one['link']})"
        text += row([dist, one["what"], offers(one), one["author"], needs])
    return text + ":::\n\n"


HEAD = ":::{list-table}\n:header-rows: 1\n:class: features\n\n"


def offers(one: dict) -> str:
    """Return the names and commands of a plugin, one kind a line."""
    lines = []
    for kind in dict.fromkeys(name.partition("/")[0] for name in one["names"]):
        names = [name.partition("/")[2] for name in one["names"] if name.startswith(f"{kind}/")]
        lines.append(f"{kind}s: {code(names)}" if len(names) > 1 else f"{kind} {code(names)}")
    commands = [f"feedrace {command}" for command in one.get("commands", [])]
    if commands:
        lines.append(f"command{'s' * (len(commands) > 1)}: {code(commands)}")
    text = ";\n".join(lines)
    return textwrap.indent("\n".join(map(_filled, text.splitlines())), "    ").strip()


def _filled(line: str) -> str:
    return textwrap.fill(line, 130, break_on_hyphens=False)


def page() -> str:
    """Return the text of the page with the lists as they should be."""
    text = (DOCS / "directory.md").read_text()
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + lists() + END + rest.partition(END)[2]


if __name__ == "__main__":
    (DOCS / "directory.md").write_text(page())
