"""What a plugin declares for each thing it offers: plain strings; nothing is imported."""

import pkgutil
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs
import pluggy

from feedrace.errors import BrokenPluginError, ConfigError, Problem, clipped, in_words
from feedrace.registry.kinds import CAPABILITIES, KINDS
from feedrace.registry.reprs import Declared

API_LEVEL = 1
CODE = "code"  # the namespace of what `feedrace.register` offers
hookimpl = pluggy.HookimplMarker("feedrace")

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _as_set(value: Any) -> frozenset[Any]:
    return frozenset(_as_tuple(value))


@attrs.frozen(kw_only=True, repr=False)
class Component(Declared):
    """What a plugin offers under a name, and where its code is.

    kind: one of `KINDS`. name: in kebab-case. summary: one sentence, for listings.
    target: called with an instance of the class that `config` names, or with nothing if that is
        None. Both are `"module:attribute"` strings; `feedrace.register` also takes the objects.
    aliases: other names that find it, such as its former one.
    deprecated: if not empty, using it warns with this text, which says what to use instead.
    capabilities: what it promises beyond its protocol, of those in `CAPABILITIES`.
    order_version: part of saved states. Raise it when a release changes which records come when;
        a state saved under another number is then refused, and under the same number restored.
    namespace, dist, version: where it comes from; the registry fills them in.

    Raises `ConfigError` for an unknown kind or capability, a name that is not kebab-case, or a
    target that is not of the form `module:attribute`.
    """

    kind: str
    name: str
    target: Any
    config: Any = None
    summary: str = ""
    aliases: Sequence[str] = attrs.field(default=(), converter=_as_tuple)
    deprecated: str = ""
    capabilities: Iterable[str] = attrs.field(default=(), converter=_as_set)
    order_version: int = 1
    namespace: str = ""
    dist: str = ""
    version: str = ""

    def __attrs_post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise ConfigError(problems, origin=f"component {self.name!a}")

    def _problems(self) -> Iterator[Problem]:
        if self.kind not in KINDS:
            yield Problem("kind", f"{clipped(self.kind)} is none of {', '.join(KINDS)}")
        for field, names in (("name", (self.name,)), ("aliases", self.aliases)):
            for name in names:
                if not isinstance(name, str) or not NAME.fullmatch(name):
                    yield Problem(field, f"{name!a} is not kebab-case, such as 'epoch-aware'")
        known = CAPABILITIES.get(self.kind, {})
        for capability in sorted(set(self.capabilities) - known.keys()):
            message = f"{capability!r} is unknown; a {self.kind} has: {', '.join(known) or 'none'}"
            yield Problem("capabilities", message)
        if type(self.order_version) is not int or self.order_version < 1:
            yield Problem("order_version", f"{self.order_version!r} is not an int of 1 or more")
        for field, value in (("target", self.target), ("config", self.config)):
            if isinstance(value, str) and not _TARGET.fullmatch(value):
                yield Problem(field, f"{value!r} is not of the form 'package.module:attribute'")

    @property
    def reference(self) -> str:
        """The qualified name, `namespace/name`."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    @property
    def origin(self) -> str:
        """The component and its dist, for messages."""
        of = f"{self.dist} {self.version}" if self.dist else "this process"
        return f"{self.kind} {self.reference!r} of {of}"

    def load_target(self) -> Any:
        """Import and return what `target` names; raises `BrokenPluginError` with its cause."""
        return self._load("target", self.target)

    def load_config(self) -> Any:
        """Import and return the config class, or None; raises as `load_target` does."""
        return None if self.config is None else self._load("config", self.config)

    def _load(self, role: str, where: Any) -> Any:
        try:
            return pkgutil.resolve_name(where) if isinstance(where, str) else where
        except (Exception, SystemExit) as error:  # a plugin's module may fail in any way
            message = f"{self.origin}: its {role} {where!r} does not load: {in_words(error)}"
            raise BrokenPluginError(message) from error
