"""`feedrace plugins`: look at what is installed, even if it is broken."""

import click

from feedrace.cli import Group, quiet
from feedrace.cli.output import (
    as_row,
    complete_reference,
    echo,
    echo_table,
    json_option,
    print_json,
    report_errors,
)
from feedrace.errors import NotInstalledError, install_line
from feedrace.registry import available, broken_plugins
from feedrace.registry.kinds import KINDS

kind_option = click.option("--kind", type=click.Choice(KINDS), help="Only components of this kind.")
reference_argument = click.argument("reference", metavar="REF", shell_complete=complete_reference)
_FOR_AUTHORS = ("check", "new")


class _Plugins(Group):
    """The group `plugins`; if feedrace-testing is missing, its commands report that."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        return _missing(cmd_name) if found is None and cmd_name in _FOR_AUTHORS else found


def _missing(name: str) -> click.Command:
    @click.command(name, context_settings={"ignore_unknown_options": True}, add_help_option=False)
    @click.argument("rest", nargs=-1, type=click.UNPROCESSED)
    @json_option
    @report_errors
    def command(**_: object) -> None:
        from feedrace.registry.explanation import left_out

        raise left_out("testing", f"`plugins {name}`") or NotInstalledError(
            f"`plugins {name}` comes with feedrace-testing, which is not installed",
            fix=install_line("testing"),
        )

    return command


@click.group(cls=_Plugins)
def plugins() -> None:
    """Look at the installed plugins; with feedrace-testing, also check them and write new ones."""


@plugins.command("list")
@kind_option
@json_option
@report_errors
def list_plugins(kind: str | None, as_json: bool) -> None:
    """List the components that a config can name."""
    quiet()
    components, broken = available(kind), broken_plugins()
    if as_json:
        document = {"components": [as_row(component) for component in components]}
        print_json({**document, "broken": broken}, default=str)
        return
    rows = [
        (c.kind, c.name, c.reference, f"{c.dist} {c.version}",
         c.summary + ("  (deprecated)" if c.deprecated else ""))
        for c in components
    ]  # fmt: skip
    echo_table(rows, narrow=(0, 2, 4))
    for error in broken.values():
        click.echo(f"left out: {error}", err=True)


@plugins.command()
@reference_argument
@kind_option
@json_option
@report_errors
def show(reference: str, kind: str | None, as_json: bool) -> None:
    """Show everything about a component, including the fields of its config."""
    from feedrace.registry.explanation import fields_of, missing, offers

    quiet()
    found = offers(reference, kind)
    if not found:
        raise missing(reference, kind)
    documents = [{**as_row(c), "fields": fields_of(c)} for c in found]
    if as_json:
        print_json({"components": documents})
        return
    for document in documents:
        fields = document.pop("fields")
        for key, value in document.items():
            if value not in ("", None, []):
                shown = ", ".join(value) if isinstance(value, list) else value
                echo(f"{key:<13}{shown}", 13)
        for field in fields:
            default = "required" if field["required"] else f"default {field['default']}"
            about = f": {field['description']}" if field["description"] else ""
            echo(f"  {field['name']} ({field['type']}, {default}){about}", 6)


@plugins.command()
@reference_argument
@kind_option
@json_option
@report_errors
def why(reference: str, kind: str | None, as_json: bool) -> None:
    """Explain what a name means here, or why it means nothing (exit status 1)."""
    from feedrace.registry.explanation import explain

    quiet()
    found = explain(reference, kind)
    print_json(found) if as_json else click.echo("\n".join(found["lines"]))
    if not found["found"]:
        raise SystemExit(1)
