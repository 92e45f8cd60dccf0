"""`feedrace doctor`: check this installation."""

import click

from feedrace.cli.output import errors_told, json_option, tell


@click.command()
@json_option
@errors_told
def doctor(as_json: bool) -> None:
    """Check Python, the libraries and the plugins; the exit status is 1 if anything is wrong."""
    from feedrace.registry.health import findings

    tell(findings(), as_json)
