"""`penstock doctor`: whether this installation is sound, and what to do where it is not."""

import json

import attrs
import click

from penstock.cli.output import errors_told, json_option


@click.command()
@json_option
@errors_told
def doctor(as_json: bool) -> None:
    """Tell how Python, the libraries and the plugins are; exit status 1 where one is not well."""
    from penstock.health import findings

    found = findings()
    if as_json:
        click.echo(json.dumps([attrs.asdict(finding) for finding in found]))
    else:
        for finding in found:
            click.echo(f"{'ok ' if finding.ok else 'BAD'} {finding.subject}: {finding.detail}")
            if finding.mend:
                click.echo(f"      mend: {finding.mend}")
    if not all(finding.ok for finding in found):
        raise SystemExit(1)
