"""Declarations of this plugin's components."""

from collections.abc import Iterator
from typing import Any

from feedrace.plugin import Component, hookimpl

FEEDRACE_API = 1


@hookimpl
def feedrace_commands() -> Iterator[Any]:
    from feedrace_files.commands import convert  # imports click

    yield convert


@hookimpl
def feedrace_components() -> Iterator[Component]:
    yield from ()
