"""All hooks that a plugin can implement, on one page; none is called once a record or a step."""

from collections.abc import Iterable, Mapping
from typing import Any

import pluggy

from feedrace.registry.component import Component, Health

hookspec = pluggy.HookspecMarker("feedrace")


@hookspec
def feedrace_components() -> Iterable[Component]:  # type: ignore[empty-body]
    """Yield a `Component` for each thing the plugin offers by name."""


@hookspec
def feedrace_health() -> Iterable[Health]:  # type: ignore[empty-body]
    """Yield a `Health` for each thing that `feedrace doctor` should tell about this plugin."""


@hookspec
def feedrace_commands() -> Iterable[Any]:  # type: ignore[empty-body]
    """Yield a `click.Command` for each subcommand that the plugin adds to `feedrace`.

    A `click.Group` with the name of a group of the core, such as `plugins`, adds its commands to
    that group. Commands of the core cannot be replaced.
    """


@hookspec
def feedrace_before_build(config: Mapping[str, Any]) -> None:
    """Look at the mapping that a pipeline is about to be built from; raise to refuse it."""


@hookspec
def feedrace_after_build(pipeline: Any) -> None:
    """Be handed a `Pipeline` that was just made, whether from a config or from Python."""


@hookspec
def feedrace_epoch_end(pipeline: Any, stream: str, epoch: int) -> None:
    """Be told that the caller is done with the last batch of an epoch (or evaluation) of a stream.

    For the train stream `epoch` counts its epochs from 0; for another, epochs of training done.
    """


@hookspec
def feedrace_state_saved(pipeline: Any, state: Mapping[str, Any]) -> None:
    """Be handed a state document that `Pipeline.get_state` is about to return."""


@hookspec
def feedrace_state_restored(pipeline: Any, state: Mapping[str, Any]) -> None:
    """Be handed a state document that `Pipeline.set_state` has just gone to."""
