"""Declarations of this plugin's components."""

from collections.abc import Iterator

from feedrace.plugin import Component, hookimpl

FEEDRACE_API = 1


@hookimpl
def feedrace_components() -> Iterator[Component]:
    yield from ()
