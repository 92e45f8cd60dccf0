"""All hooks that a plugin can implement, on one page."""

from collections.abc import Iterable

import pluggy

from penstock.component import Component

hookspec = pluggy.HookspecMarker("penstock")


@hookspec
def penstock_components() -> Iterable[Component]:  # type: ignore[empty-body]
    """Yield a `Component` for each thing the plugin offers by name."""
