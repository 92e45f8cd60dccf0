"""Components that this process registers in code."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from feedrace.errors import ConfigError, Problem, UnknownComponentError
from feedrace.registry.component import CODE, Component

# By (kind, name); `temporary` replaces the whole dict.
components: dict[tuple[str, str], Component] = {}


def register(
    kind: str,
    name: str,
    target: Any,
    *,
    config: Any = None,
    summary: str = "",
    replace: bool = False,
) -> Component:
    """Offer a component under a name in this process only, before all installed ones.

    `target` and `config` may be objects or `"module:attribute"` strings. Raises `ConfigError` for
    a wrong declaration, and for a name that is registered already unless `replace` is true.
    """
    component = Component(
        kind=kind, name=name, target=target, config=config, summary=summary, namespace=CODE
    )
    if (kind, name) in components and not replace:
        message = f"{kind} {name!r} is registered already; give replace=True to replace it"
        raise ConfigError([Problem("name", message)])
    components[kind, name] = component
    return component


def unregister(component: Component) -> None:
    """Undo `register`; raises `UnknownComponentError` if the component is not registered."""
    if components.pop((component.kind, component.name), None) is None:
        raise UnknownComponentError(
            f"{component.kind} {component.name!r} is not registered in this process",
            fix="unregister what feedrace.register returned, and only once",
        )


def registered() -> tuple[Component, ...]:
    """Return what this process registered in code, for `adopt` in another process."""
    return tuple(components.values())


def adopt(found: Iterable[Component]) -> None:
    """Register what `registered` returned in another process; an initializer of spawned workers."""
    components.update({(component.kind, component.name): component for component in found})


@contextmanager
def temporary() -> Iterator[None]:
    """Undo, at the end of a `with` block, every `register` and `unregister` in it.

    Plugins that were installed meanwhile are visible only after `refresh`, as always.
    """
    global components
    before = dict(components)
    try:
        yield
    finally:
        components = before  # at once, since other threads may be looking names up
