"""`feedrace doctor`: check this installation."""

import click

from feedrace.cli.output import json_option, print_findings, report_errors


@click.command()
@json_option
@report_errors
def doctor(as_json: bool) -> None:
    """Check Python, the libraries and the plugins; the exit status is 1 if anything is wrong."""
    from feedrace.registry.health import findings

    print_findings(findings(), as_json)
