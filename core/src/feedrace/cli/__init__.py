"""The command `feedrace`: one file for each command or group, imported when it is used."""

import importlib
import warnings
from typing import Any

import click

from feedrace.errors import PluginWarning
from feedrace.registry import catalog

# Where each command is: a module of this package, and the command's name in it.
_HOMES = {
    "describe": "describe:describe",
    "doctor": "doctor:doctor",
    "fill": "config:fill",
    "plugins": "plugins:plugins",
    "run": "run:run",
    "schema": "config:schema",
    "validate": "config:validate",
    "verify-resume": "verify:verify_resume",
}


class _Commands(click.Group):
    """The commands here, then those that plugins add; no plugin can break or replace one here."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*sorted(_HOMES), *sorted(self._added().keys() - _HOMES.keys())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _HOMES:
            module, _, name = _HOMES[cmd_name].partition(":")
            found: click.Command = getattr(importlib.import_module(f"{__name__}.{module}"), name)
            return found
        return self._added().get(cmd_name)

    def _added(self) -> dict[str, click.Command]:
        quiet()
        added: dict[str, click.Command] = {}
        for namespace, command in catalog.collect("feedrace_commands"):
            if isinstance(command, click.Command) and command.name:
                added.setdefault(command.name, command)
            else:
                said = f"feedrace: the plugin {namespace!r} offers {command!r}, which is no command"
                click.echo(said, err=True)
        return added


def quiet() -> None:
    """Scan the plugins without warnings: the commands tell of broken ones in their own way."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)
        catalog.scan()


@click.group(cls=_Commands)
@click.version_option(package_name="feedrace")
def main(**_: Any) -> None:
    """Feed JAX programs from pipelines that a config assembles by name."""
