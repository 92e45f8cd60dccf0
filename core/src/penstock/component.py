"""The declaration a plugin makes for each thing it offers: plain strings, nothing imported."""

import importlib
import re
from typing import Any

import attrs
import pluggy

from penstock.errors import BrokenPluginError, ConfigError, Problem

API_LEVEL = 1
KINDS = ("source", "sampler", "batcher", "scheduler", "stage")

hookimpl = pluggy.HookimplMarker("penstock")

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


@attrs.frozen(kw_only=True)
class Component:
    """What a plugin offers under a name, and where its code is.

    `target` is called with an instance of the class that `config` names, or with nothing where
    `config` is None. Both are `"module:attribute"` strings; `penstock.register` also takes the
    objects themselves. The registry fills in `namespace`, `dist` and `version`.

    Raises `ConfigError` for an unknown kind, a name that is not kebab-case, or a target that is
    not of the form `module:attribute`.
    """

    kind: str
    name: str
    target: Any
    config: Any = None
    summary: str = ""
    namespace: str = ""
    dist: str = ""
    version: str = ""

    def __attrs_post_init__(self) -> None:
        problems = []
        if self.kind not in KINDS:
            problems.append(Problem("kind", f"{self.kind!r} is none of {', '.join(KINDS)}"))
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            problems.append(
                Problem("name", f"{self.name!r} is not kebab-case, such as 'epoch-aware'")
            )
        for field, value in (("target", self.target), ("config", self.config)):
            if isinstance(value, str) and not _TARGET.fullmatch(value):
                problems.append(
                    Problem(field, f"{value!r} is not of the form 'package.module:attribute'")
                )
        if problems:
            raise ConfigError(problems, origin=f"component {self.name!r}")

    @property
    def reference(self) -> str:
        """The qualified name, `namespace/name`."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    def load_target(self) -> Any:
        """Import and return what `target` names; raises `BrokenPluginError` with its cause."""
        return self._load("target", self.target)

    def load_config(self) -> Any:
        """Import and return the config class, or None; raises as `load_target` does."""
        return None if self.config is None else self._load("config", self.config)

    def _load(self, role: str, where: Any) -> Any:
        if not isinstance(where, str):
            return where
        module_name, _, attribute = where.partition(":")
        try:
            value: Any = importlib.import_module(module_name)
            for part in attribute.split("."):
                value = getattr(value, part)
        except Exception as error:  # a plugin's module may fail in any way; it is chained
            raise BrokenPluginError(
                f"{self.kind} {self.reference!r} of {self.dist or 'this process'} {self.version}: "
                f"its {role} {where!r} could not be loaded: {type(error).__name__}: {error}"
            ) from error
        return value

    def is_target(self, cls: type) -> bool:
        """Return whether `cls` is what `target` names, without importing anything."""
        if isinstance(self.target, str):
            return self.target == f"{cls.__module__}:{cls.__qualname__}"
        return self.target is cls
