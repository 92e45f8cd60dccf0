"""The hooks that a plugin can implement."""

from collections.abc import Iterable
from typing import Any

import pluggy

from feedrace.registry.component import Component
from feedrace.registry.records import Health

hookspec = pluggy.HookspecMarker("feedrace")


@hookspec
def feedrace_components() -> Iterable[Component]:  # type: ignore[empty-body]
    """Yield a `Component` for each thing the plugin offers by name; called once in a process."""


@hookspec
def feedrace_health() -> Iterable[Health]:  # type: ignore[empty-body]
    """Yield a `Health` for each thing that `feedrace doctor`, which calls it, should report."""


@hookspec
def feedrace_commands() -> Iterable[Any]:  # type: ignore[empty-body]
    """Yield a `click.Command` for each subcommand that the plugin adds to `feedrace`.

    Called when the command looks for a subcommand that the core does not have, or lists them. A
    `click.Group` with the name of a group of the core, such as `plugins`, adds its commands to that
    group. Commands of the core cannot be replaced.
    """
