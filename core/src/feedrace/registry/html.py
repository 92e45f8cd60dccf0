"""Components and declarations as HTML, for notebooks."""

from typing import Any

import attrs

from feedrace import notebook
from feedrace.config.mapping import shown_values
from feedrace.errors import FeedraceError, UnknownComponentError, class_name, clipped
from feedrace.protocols import check
from feedrace.registry.describing import component_of
from feedrace.registry.kinds import KINDS


def name_of(kind: str, value: Any) -> tuple[str, str]:
    """Return (reference, dist and version) of a component; its class if it has no name."""
    try:
        found = component_of(kind, value)
    except UnknownComponentError:
        return class_name(value), ""
    return found.reference, f"{found.dist} {found.version}".strip()


def component(value: Any) -> str:
    """Return a component as HTML: its name, fields and, of a source, its records."""
    kind = next((kind for kind in KINDS if not check(kind, value)), "")
    name, dist = name_of(kind, value) if kind else (class_name(value), "")
    config: Any = getattr(value, "config", None)
    fields: Any = attrs.fields(type(config)) if attrs.has(type(config)) else ()
    given = shown_values(config)
    others = [
        (field.name, clipped(getattr(config, field.name), 80))
        for field in fields
        if field.repr and field.name not in given
    ]
    about, spec = f"of {dist}" if dist else "", ""
    if kind == "source":
        about += _known(lambda: f"; {len(value):,} records")
        spec = _known(lambda: notebook.specs(value.element_spec()))
    defaults = notebook.fold("Defaults", notebook.table(others))
    title = f"{kind} {name}".strip()
    return notebook.page(title, about.strip("; "), notebook.table(given.items()), spec, defaults)


def declaration(declared: Any) -> str:
    """Return what a plugin declares of a component as HTML."""
    rows = [
        (name, ", ".join(sorted(value)) if isinstance(value, frozenset | tuple) else value)
        for name in ("target", "config", "aliases", "capabilities", "deprecated")
        if (value := getattr(declared, name))
    ]
    about = f"of {declared.dist} {declared.version}" if declared.dist else ""
    title = f"{declared.kind} {declared.reference}"
    return notebook.page(
        title, about, f"<p>{notebook.text(declared.summary)}</p>", notebook.table(rows)
    )


def _known(found: Any) -> str:
    """Return a text about a source; an empty one if it does not know, as one half made does not."""
    try:
        return str(found())
    except (FeedraceError, NotImplementedError, AttributeError, TypeError, ValueError, OSError):
        return ""
