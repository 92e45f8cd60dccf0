"""`penstock plugins`: look at what is installed, also where it is broken."""

import json
from typing import Any

import click

from penstock import catalog
from penstock.cli import quiet
from penstock.cli.output import errors_told, json_option
from penstock.component import KINDS, Component


@click.group()
def plugins() -> None:
    """Look at the installed plugins."""


@plugins.command("list")
@click.option("--kind", type=click.Choice(KINDS), help="Only components of this kind.")
@json_option
@errors_told
def list_plugins(kind: str | None, as_json: bool) -> None:
    """List the components that can be named in a config."""
    quiet()
    components = catalog.available(kind)
    broken = catalog.broken_plugins()
    if as_json:
        failures = {name: str(error) for name, error in broken.items()}
        rows = [as_row(component) for component in components]
        click.echo(json.dumps({"components": rows, "broken": failures}))
        return
    for c in components:
        version = f"{c.dist} {c.version}"
        mark = "  (deprecated)" if c.deprecated else ""
        click.echo(f"{c.kind:<10}{c.name:<16}{c.reference:<25}{version:<26}{c.summary}{mark}")
    for error in broken.values():
        click.echo(f"left out: {error}", err=True)


def as_row(component: Component) -> dict[str, Any]:
    """Return what is known of a component without importing anything of it."""
    c = component
    return {
        "kind": c.kind,
        "name": c.name,
        "reference": c.reference,
        "summary": c.summary,
        "dist": c.dist,
        "version": c.version,
        "target": str(c.target),
        "config": None if c.config is None else str(c.config),
        "aliases": list(c.aliases),
        "deprecated": c.deprecated,
        "capabilities": sorted(c.capabilities),
    }
