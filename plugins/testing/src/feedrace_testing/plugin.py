"""Declarations of this plugin: the commands `feedrace plugins new` and `feedrace plugins check`."""

from collections.abc import Iterator
from typing import Any

from feedrace.plugin import hookimpl

FEEDRACE_API = 1


@hookimpl
def feedrace_commands() -> Iterator[Any]:
    from feedrace_testing.commands import plugins  # imports click

    yield plugins
