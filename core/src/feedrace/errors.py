"""Every error Feedrace raises on its own account: what was wrong, where, and how to mend it."""

import shlex
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import NamedTuple


def in_words(error: BaseException) -> str:
    """Return an error's type and text; the type alone where its text cannot be had."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 (a plugin's error class may fail at this, too)
        return type(error).__name__


class FeedraceError(Exception):
    """Base of all errors raised by Feedrace itself."""


class ComponentError(FeedraceError):
    """A component could not be had by its name.

    said: what is wrong. mend: the cure, with which the message ends.
    """

    def __init__(self, said: str, *, mend: str = "") -> None:
        super().__init__(f"{said}; {mend}" if mend else said)
        self.said = said
        self.mend = mend


class UnknownComponentError(ComponentError, LookupError):
    """No installed or known plugin offers the name."""


class NotInstalledError(ComponentError, LookupError):
    """The name belongs to a known plugin that is not installed."""


class DisabledError(ComponentError, LookupError):
    """The name belongs to a plugin that the environment variables switch off."""


class AmbiguousNameError(ComponentError, LookupError):
    """Two plugins offer the name, so that only a qualified reference can tell them apart."""


class BrokenPluginError(ComponentError):
    """A plugin, or something it declares, could not be loaded; the cause is chained."""


class IncompatiblePluginError(BrokenPluginError):
    """A plugin was written for another level of the plugin API."""


class StateError(FeedraceError, ValueError):
    """A state document does not fit what it should be restored into."""


class DataError(FeedraceError, ValueError):
    """Records, batches or a dataset are not what their spec or config promises."""


class RecordError(DataError):
    """A record of a window does not fit; `row` is its place in the window."""

    def __init__(self, row: int, message: str) -> None:
        super().__init__(row, message)
        self.row, self.message = row, message

    def __str__(self) -> str:
        return f"record {self.row} of the window: {self.message}"


class Problem(NamedTuple):
    """One thing wrong in a config: its path (`scheduler.callbacks[0].stream`) and a sentence.

    line: the line of a TOML file where it is, from 1; 0 where that is not known.
    """

    path: str
    message: str
    line: int = 0

    def __str__(self) -> str:
        told = f"{self.path}: {self.message}" if self.path else self.message
        return f"{told} (line {self.line})" if self.line else told


class ConfigError(FeedraceError, ValueError):
    """A config, or a config's field, breaks its rules; `problems` holds all of them."""

    def __init__(self, problems: Sequence[Problem], origin: str = "") -> None:
        self.problems = tuple(problems)
        self.origin = origin
        lines = [str(problem) for problem in self.problems]
        if origin:
            lines = [f"{origin}: {line}" for line in lines]
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[type["ConfigError"], tuple[tuple[Problem, ...], str]]:
        return type(self), (self.problems, self.origin)

    def at(self, path: str) -> list[Problem]:
        """Return the problems with `path` put in front of each path."""
        return [p._replace(path=join(path, p.path)) for p in self.problems]


class StallWarning(RuntimeWarning):
    """No batch has come for long; the text says what the thread that makes them is at."""


class PluginWarning(UserWarning):
    """A plugin was left out; everything else works."""


class DeprecatedWarning(FutureWarning):
    """A component was used whose plugin says that it will go."""


def pip_line(*arguments: str) -> str:
    """Return the command that runs pip with these arguments for the interpreter in use.

    An environment without pip was made by uv, whose own `pip` does the same.
    """
    import importlib.util

    shown = " ".join(
        f"'{argument}'" if "[" in argument else shlex.quote(argument) for argument in arguments
    )
    python = shlex.quote(sys.executable or "python")
    if importlib.util.find_spec("pip") is None:
        return f"uv pip {shown} --python {python}"
    return f"{python} -m pip {shown}"


def join(path: str, key: str) -> str:
    """Return the dotted path of `key` below `path`."""
    return f"{path}.{key}" if path and key else path or key


def did_you_mean(wrong: str, candidates: Sequence[str]) -> str:
    """Return "; did you mean 'x'?" for the nearest candidate, or an empty string."""
    near = get_close_matches(wrong, candidates, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
