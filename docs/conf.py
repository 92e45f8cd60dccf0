"""Settings of the documentation site."""

import functools
import importlib.metadata
import os
import re
import sys
from pathlib import Path

from jupyter_cache.executors import utils

sys.path.insert(0, str(Path(__file__).parent))  # for reference.py

project = "Feedrace"
author = "The Feedrace developers"
version = release = importlib.metadata.version("feedrace")
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx_design", "reference"]
exclude_patterns = ["_build", "examples/*"]
html_theme = "furo"
html_show_copyright = False
html_static_path = ["static"]
html_css_files = ["pages.css"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
nitpicky = False
# Tutorials are notebooks in text. They run while the site is built, in empty folders, unless a
# cache has them, as in `tox -e docs`: `-D nb_execution_mode=cache -D nb_execution_cache_path=DIR`.
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
# What a command prints may come in parts, which end anywhere in a line; myst-nb would end the line.
utils.executenb = functools.partial(utils.executenb, coalesce_streams=True)
# Cells call `feedrace`, `pip` and `pytest` of this environment, which need not be activated.
os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]
os.environ["TQDM_DISABLE"] = "1"  # whether a bar comes depends on how busy the machine is

_FIELD = re.compile(r"^([a-z_]\w*(?:, [a-z_]\w*)*): (.*)")
_CODE = re.compile(r"`([^`]+)`(\w*)")


def as_rest(app, what, name, obj, options, lines):
    """Turn the docstrings' plain fields and code marks into those of reStructuredText.

    Fields become a list of definitions: of a field list, Sphinx would capitalize the names.
    """
    made, may = [], False  # whether a field may come: after an empty line, or another field
    for line in lines:
        marked = _CODE.sub(lambda m: f"``{m[1]}``" + (f"\\ {m[2]}" if m[2] else ""), line)
        field = _FIELD.fullmatch(marked) if may else None
        made += [f"``{field[1]}``", f"    {field[2]}"] if field else [marked]
        may = not line or field is not None or (may and line.startswith(" "))
    lines[:] = made


def by_number(path):
    """Return what sorts 15.feature before 15.feature.2, and that before 15.feature.10."""
    return [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", path.name.removesuffix(".md"))]


def with_news(app, page, text):
    """Append what comes with the next release to the changelog."""
    if page != "changelog":
        return
    changes = Path(app.srcdir).parent / "changes"
    for kind, title in (("feature", "Features"), ("bugfix", "Bugfixes"), ("removal", "Removals")):
        fragments = sorted(changes.glob(f"*.{kind}.*md"), key=by_number)
        text[0] += f"\n### {title}\n\n" if fragments else ""
        for fragment in fragments:
            news = fragment.read_text(encoding="utf-8").strip()
            item = news if news.startswith("- ") else "- " + news.replace("\n", "\n  ")
            text[0] += item + "\n"


def setup(app):
    app.connect("source-read", with_news)
    app.connect("autodoc-process-docstring", as_rest)
