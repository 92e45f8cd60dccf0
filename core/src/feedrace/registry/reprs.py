"""What the reprs of components and of their declarations are, as text and in notebooks."""

from typing import Any

from feedrace.config.mapping import shown_fields


class Configured:
    """A component whose repr shows the fields of its config that differ from their defaults.

    A base class without state, for components that have no other, such as stages.
    """

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(shown_fields(getattr(self, 'config', None)))})"

    def _repr_html_(self) -> str:
        from feedrace.registry import html

        return html.component(self)


class Declared:
    """A declaration, whose repr names the component."""

    origin: Any

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.origin})"

    def _repr_html_(self) -> str:
        from feedrace.registry import html

        return html.declaration(self)
