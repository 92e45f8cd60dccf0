"""Prints docs/coming_from.md, which is made of table.toml."""

import textwrap
import tomllib
from pathlib import Path

INTRODUCTION = """\
# Coming from datarax or the reference sampler

Class names, parameters, defaults and methods of the documented interfaces hold here; imports
change. This page is made of `tests/documents/table.toml`, whose every line is a test.

## Where names are

| in the document | write |
| --- | --- |
"""

DIFFERENCES = """
## What differs on purpose
"""


def page() -> str:
    """Return the text of the page."""
    table = tomllib.loads(Path(__file__).with_name("table.toml").read_text())
    rows = sorted({(c["name"], c["home"]) for c in table["class"]})
    text = INTRODUCTION + "".join(
        f"| `{name}` | `from {home} import {name}` |\n" for name, home in rows
    )
    text += DIFFERENCES
    for document, title in table["documents"].items():
        text += f"\n### {title}\n\n"
        for difference in table["difference"]:
            if difference["document"] == document:
                item = f"- **{difference['topic']}.** {difference['text']}"
                text += textwrap.fill(item, 130, subsequent_indent="  ") + "\n"
    return text


if __name__ == "__main__":
    print(page(), end="")
