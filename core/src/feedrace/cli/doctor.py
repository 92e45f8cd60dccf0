"""`feedrace doctor`: whether this installation is sound, and what to do where it is not."""

import click

from feedrace.cli.output import errors_told, json_option, tell


@click.command()
@json_option
@errors_told
def doctor(as_json: bool) -> None:
    """Tell how Python, the libraries and the plugins are; exit status 1 where one is not well."""
    from feedrace.registry.health import findings

    tell(findings(), as_json)
