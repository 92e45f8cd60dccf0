"""Writes the tables of docs/choose.toml into docs/choose.md, between its two marks."""

import textwrap
import tomllib
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
BEGIN, END = "<!-- made of choose.toml -->\n", "<!-- end -->\n"
SIGNS = {"yes": "●", "partly": "◐", "no": "○"}


def read() -> dict:
    return tomllib.loads((DOCS / "choose.toml").read_text())


def address(peer: dict, link: str) -> str:
    """Return where a cell of a peer leads."""
    return link if link.startswith("https://") else peer["files"] + link


def tables() -> str:
    """Return one table for each group of features."""
    table = read()
    peers = table["peers"]
    text = ""
    for group in table["group"]:
        text += f"\n### {group['title']}\n\n"
        text += ":::{list-table}\n:header-rows: 1\n:stub-columns: 1\n:class: features\n\n"
        text += row(["", "Feedrace", *(peer["name"] for peer in peers.values())])
        for feature in group["feature"]:
            own = cell(*feature["feedrace"][:3])
            others = [
                cell(answer, note, address(peer, link))
                for name, peer in peers.items()
                for answer, note, link in [feature[name]]
            ]
            text += row([feature["name"], own, *others])
        text += ":::\n"
    looked = ", ".join(f"{peer['name']} {peer['version']}" for peer in peers.values())
    return text + "\n" + textwrap.fill(f"Looked at on {table['looked']}: {looked}.", 140) + "\n\n"


def cell(answer: str, note: str, link: str) -> str:
    return f"{SIGNS[answer]} [{answer}]({link})" + (f":\n    {note}" if note else "")


def row(cells: list[str]) -> str:
    return "".join(f"{'  ' if i else '* '}- {text}\n" for i, text in enumerate(cells))


def page() -> str:
    """Return the text of the page with the tables as they should be."""
    text = (DOCS / "choose.md").read_text()
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + tables() + END + rest.partition(END)[2]


if __name__ == "__main__":
    (DOCS / "choose.md").write_text(page())
