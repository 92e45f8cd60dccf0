"""The commands that authors get: `feedrace plugins new` and `feedrace plugins check`."""

from pathlib import Path

import click

from feedrace.plugin import KINDS, catalog, json_option, print_findings, print_json, report_errors
from feedrace_testing.inspection import check as inspect
from feedrace_testing.scaffold import make


@click.group()
def plugins() -> None:
    """Hold the commands that are added to the core's group of this name."""


@plugins.command()
@click.argument("name")
@click.option(
    "--kind", type=click.Choice(KINDS), default="sampler", show_default=True, help="What it offers."
)
@click.option("--into", type=click.Path(file_okay=False), help="New folder; NAME by default.")
@json_option
@report_errors
def new(name: str, kind: str, into: str | None, as_json: bool) -> None:
    """Write a new plugin: an installable project with one component and its tests."""
    made = make(name, kind, Path(into or name))
    if as_json:
        print_json(made)
        return
    for file in made["files"]:
        click.echo(file)
    click.echo(f"next: {made['next']}")


@plugins.command()
@click.argument("which", metavar="[DIST|.]", required=False)
@json_option
@report_errors
def check(which: str | None, as_json: bool) -> None:
    """Report the faults of one plugin, by dist, namespace or project folder, or of all plugins.

    Everything the plugin declares is imported. Exit status 1 means that something is wrong.
    """
    every = {entry.dist for entry in catalog.installed()[0]}
    names = sorted(every) if which is None else [which]
    print_findings([finding for name in names for finding in inspect(name)], as_json)
