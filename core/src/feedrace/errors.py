"""Every error that Feedrace raises itself: the thing, its value, the broken rule, and the fix."""

import shlex
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple


def in_words(error: BaseException) -> str:
    """Return an error's type and text, or its type alone if the text itself raises."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 (an error class of a plugin may fail here)
        return type(error).__name__


class FeedraceError(Exception):
    """Base of all errors that Feedrace raises itself."""


class ComponentError(FeedraceError):
    """A name does not lead to a component.

    message: what is wrong. fix: what to do about it; the text of the error ends with it.
    """

    def __init__(self, message: str, *, fix: str = "") -> None:
        super().__init__(f"{message}; {fix}" if fix else message)
        self.message = message
        self.fix = fix


class UnknownComponentError(ComponentError, LookupError):
    """No installed or known plugin offers the name."""


class NotInstalledError(ComponentError, LookupError):
    """The name belongs to a known plugin that is not installed."""


class DisabledError(ComponentError, LookupError):
    """The name belongs to a plugin that an environment variable switches off."""


class AmbiguousNameError(ComponentError, LookupError):
    """Two plugins offer the name; a qualified reference chooses one."""


class BrokenPluginError(ComponentError):
    """A plugin, or something that it declares, does not load; the cause is chained."""


class IncompatiblePluginError(BrokenPluginError):
    """A plugin was written for another level of the plugin API."""


class StateError(FeedraceError, ValueError):
    """A state document does not fit what it should be restored into."""


class DataError(FeedraceError, ValueError):
    """Records, batches or a dataset differ from what their spec or config promises."""


class RecordError(DataError):
    """A record of a window does not fit; `row` is its place in the window."""

    def __init__(self, row: int, message: str) -> None:
        super().__init__(row, message)
        self.row, self.message = row, message

    def __str__(self) -> str:
        return f"record {self.row} of the window: {self.message}"


class Problem(NamedTuple):
    """One mistake in a config: its path (`scheduler.callbacks[0].stream`) and a sentence.

    line: the line of the file, from 1; 0 if it is unknown.
    """

    path: str
    message: str
    line: int = 0

    def __str__(self) -> str:
        text = f"{self.path}: {self.message}" if self.path else self.message
        return f"{text} (line {self.line})" if self.line else text


class ConfigError(FeedraceError, ValueError):
    """A config, or a field of one, breaks its rules; `problems` holds every mistake."""

    def __init__(self, problems: Sequence[Problem], origin: str = "") -> None:
        self.problems = tuple(problems)
        self.origin = origin
        prefix = f"{origin}: " if origin else ""
        super().__init__("\n".join(f"{prefix}{problem}" for problem in self.problems))

    def __reduce__(self) -> tuple[type["ConfigError"], tuple[tuple[Problem, ...], str]]:
        return type(self), (self.problems, self.origin)

    def at(self, path: str) -> list[Problem]:
        """Return the problems with `path` in front of each path."""
        return [p._replace(path=join(path, p.path)) for p in self.problems]


class StallWarning(RuntimeWarning):
    """No batch has come for a long time; the text names the blocked part."""


class WorkerWarning(RuntimeWarning):
    """A worker process died; another one makes its step again, and nothing is lost."""


class PluginWarning(UserWarning):
    """A plugin is left out; everything else works."""


class DeprecatedWarning(FutureWarning):
    """A component is used that its plugin is going to remove."""


def pip_line(*arguments: str) -> str:
    """Return the command that runs pip with these arguments for the current interpreter.

    An environment without pip was made by uv; its `uv pip` takes the same arguments.
    """
    import importlib.util

    shown, python = shlex.join(arguments), shlex.quote(sys.executable or "python")
    if importlib.util.find_spec("pip") is None:
        return f"uv pip {shown} --python {python}"
    return f"{python} -m pip {shown}"


# Extras of the core that stand for a workspace member, if not for the member of the same name.
_MEMBERS = {"tfds": "tfds[prepare]", "tfds-read": "tfds", "tokenize": "text[tokenize]"}


def install_line(extra: str) -> str:
    """Return the command that installs one of the core's extras, such as `tfds` or `orbax`.

    If this core comes from a checkout, the command installs the checkout's own member.
    """
    checkout = _checkout()
    if checkout is None:
        return pip_line("install", f"feedrace[{extra}]")
    member = _MEMBERS.get(extra, extra)
    if (checkout / "plugins" / member.partition("[")[0] / "pyproject.toml").is_file():
        return pip_line("install", "-e", str(checkout / "plugins" / member))
    return pip_line("install", "-e", f"{checkout / 'core'}[{extra}]")


def _checkout() -> Path | None:
    """Return the root of the checkout that this core runs or was installed from, if any."""
    for core in (Path(__file__).resolve().parents[2], *_installed_from()):
        if core.name == "core" and (core / "pyproject.toml").is_file():
            return core.parent
    return None


def _installed_from() -> list[Path]:
    """Return the local folder that pip installed the core from, as direct_url.json records it."""
    import json
    from importlib.metadata import PackageNotFoundError, distribution
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    try:
        text = distribution("feedrace").read_text("direct_url.json") or "{}"
        url = urlsplit(json.loads(text).get("url", ""))
    except (PackageNotFoundError, ValueError, AttributeError):  # not installed, or damaged
        return []
    return [Path(url2pathname(url.path))] if url.scheme == "file" else []


def class_name(value: Any) -> str:
    """Return `module:name` of a function, or of an object's class."""
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{getattr(named, '__module__', '')}:{named.__qualname__}"


def clipped(value: object, most: int = 200) -> str:
    """Return `repr(value)`, cut to about `most` characters, for messages."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 (an object of the user's may fail at this, too)
        text = f"a {type(value).__name__}"
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 4 :]}"


def join(path: str, key: str) -> str:
    """Return the dotted path of `key` below `path`."""
    return f"{path}.{key}" if path and key else path or key


def did_you_mean(wrong: str, candidates: Sequence[str]) -> str:
    """Return "; did you mean 'x'?" for the nearest candidate, or an empty string."""
    near = get_close_matches(wrong, candidates, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
