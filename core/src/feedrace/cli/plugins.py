"""`feedrace plugins`: look at what is installed, also where it is broken."""

import json
from pathlib import Path
from typing import Any

import click

from feedrace.cli import quiet
from feedrace.cli.output import as_row, complete_reference, errors_told, json_option, tell
from feedrace.registry import catalog
from feedrace.registry.component import KINDS

kind_option = click.option("--kind", type=click.Choice(KINDS), help="Only components of this kind.")
reference_argument = click.argument("reference", metavar="REF", shell_complete=complete_reference)


@click.group()
def plugins() -> None:
    """Look at the installed plugins, and write a new one."""


@plugins.command("list")
@kind_option
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


@plugins.command()
@reference_argument
@kind_option
@json_option
@errors_told
def show(reference: str, kind: str | None, as_json: bool) -> None:
    """Show all that is known of a component, with the fields of its config."""
    from feedrace.registry.explanation import fields_of, missing, offers

    quiet()
    found = offers(reference, kind)
    if not found:
        raise missing(reference, kind)
    documents = [{**as_row(c), "fields": fields_of(c)} for c in found]
    if as_json:
        click.echo(json.dumps({"components": documents}))
        return
    for document in documents:
        fields = document.pop("fields")
        for key, value in document.items():
            if value not in ("", None, []):
                shown = ", ".join(value) if isinstance(value, list) else value
                click.echo(f"{key:<13}{shown}")
        for field in fields:
            default = "required" if field["required"] else f"default {field['default']}"
            about = f": {field['description']}" if field["description"] else ""
            click.echo(f"  {field['name']} ({field['type']}, {default}){about}")


@plugins.command()
@reference_argument
@kind_option
@json_option
@errors_told
def why(reference: str, kind: str | None, as_json: bool) -> None:
    """Tell what a name means here and why, or why it means nothing; exit status 1 then."""
    from feedrace.registry.explanation import explain

    quiet()
    told = explain(reference, kind)
    if as_json:
        click.echo(json.dumps(told))
    else:
        for line in told["lines"]:
            click.echo(line)
    if not told["found"]:
        raise SystemExit(1)


@plugins.command()
@click.argument("which", metavar="[DIST|.]", required=False)
@json_option
@errors_told
def check(which: str | None, as_json: bool) -> None:
    """Look closely at one plugin, by dist, namespace or project folder, or at all of them.

    Everything that it declares is imported. The exit status is 1 where something is wrong.
    """
    from feedrace.registry.discovery import installed
    from feedrace.registry.inspection import check as inspect

    quiet()
    names = [which] if which else sorted({entry.dist for entry in installed()[0]})
    tell([finding for name in names for finding in inspect(name)], as_json)


@plugins.command()
@click.argument("name")
@click.option("--kind", type=click.Choice(KINDS), default="sampler", show_default=True)
@click.option("--into", type=click.Path(file_okay=False), help="The folder to make; NAME if none.")
@json_option
@errors_told
def new(name: str, kind: str, into: str | None, as_json: bool) -> None:
    """Write a new plugin, an installable project with one component."""
    from feedrace.registry.scaffold import make

    made: dict[str, Any] = make(name, kind, Path(into or name))
    if as_json:
        click.echo(json.dumps(made))
        return
    for file in made["files"]:
        click.echo(file)
    click.echo(f"next: {made['next']}")
