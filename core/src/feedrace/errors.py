"""Every error that Feedrace raises itself: the thing, its value, the broken rule, and the fix."""

import reprlib
import shlex
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

_MOST_LINES = 50  # of problems, or of differences, in one message


def text_of(error: BaseException) -> str:
    """Return an error's text and notes, or its type alone if the text itself raises."""
    try:
        return "\n".join([cut(str(error), 20_000), *getattr(error, "__notes__", [])])
    except (Exception, SystemExit):  # noqa: BLE001 (an error class of a plugin may fail here)
        return type(error).__name__


def in_words(error: BaseException) -> str:
    """Return an error's type and text, or its type alone if the text itself raises."""
    try:
        return f"{type(error).__name__}: {cut(str(error), 2000)}"
    except (Exception, SystemExit):  # noqa: BLE001 (an error class of a plugin may fail here)
        return type(error).__name__


class FeedraceError(Exception):
    """Base of all errors that Feedrace raises itself."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({clipped(str(self))})"

    def _repr_html_(self) -> str:
        from feedrace import notebook

        return notebook.error(self)


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


class StorageError(DataError):
    """A file is not there any more, has changed, or lies in a store that does not answer.

    It concerns all of its records, so that `on_error` does not apply.
    """


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
        text = f"{plain(self.path)}: {self.message}" if self.path else self.message
        return f"{text} (line {self.line})" if self.line else text


class ConfigError(FeedraceError, ValueError):
    """A config, or a field of one, breaks its rules; `problems` holds every mistake."""

    def __init__(self, problems: Sequence[Problem], origin: str = "") -> None:
        self.problems = tuple(problems)
        self.origin = origin
        prefix = f"{origin}: " if origin else ""
        lines = [f"{prefix}{problem}" for problem in self.problems[:_MOST_LINES]]
        if len(self.problems) > _MOST_LINES:
            lines.append(f"{prefix}and {len(self.problems) - _MOST_LINES} problems more")
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[type["ConfigError"], tuple[tuple[Problem, ...], str]]:
        return type(self), (self.problems, self.origin)

    def at(self, path: str) -> list[Problem]:
        """Return the problems with `path` in front of each path."""
        return [p._replace(path=join(path, p.path)) for p in self.problems]


class StallWarning(RuntimeWarning):
    """No batch has come for a long time; the text names the blocked part."""


class WorkerWarning(RuntimeWarning):
    """A worker process died; another one makes its step again, and nothing is lost."""


class DataWarning(UserWarning):
    """Some records of a source never come, and nothing says that this is meant."""


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


class _Short(reprlib.Repr):
    """A `repr` of a few items, not deep: all of it may be exponentially long."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxlong, self.maxother = 4, 200, 400, sys.maxsize
        self.maxtuple = self.maxlist = self.maxdict = self.maxset = self.maxfrozenset = 10


def class_name(value: Any) -> str:
    """Return `module:name` of a function, or of an object's class."""
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{getattr(named, '__module__', '')}:{named.__qualname__}"


def clipped(value: object, most: int = 200) -> str:
    """Return `repr(value)`, cut to about `most` characters, for messages."""
    try:
        if isinstance(value, str | bytes) and len(value) > 4 * most:
            value = value[: 2 * most] + value[-2 * most :]  # type: ignore[operator]
        if isinstance(value, int) and value.bit_length() > 10_000:
            return f"an int of {value.bit_length():,} bits"
        text = repr(value) if isinstance(value, str | bytes) else _Short().repr(value)
    except (Exception, SystemExit):  # noqa: BLE001 (an object of the user's may fail here, too)
        text = f"a {type(value).__name__}"
    return cut(text, most)


def cut(text: str, most: int = 200) -> str:
    """Return a text, cut to about `most` characters."""
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 4 :]}"


def plain(name: str) -> str:
    """Return a name from outside for a message: cut, and in ASCII, so that nothing is hidden."""
    name = cut(name)
    return name if name.isascii() and name.isprintable() else ascii(name)[1:-1]


def join(path: str, key: object) -> str:
    """Return the dotted path of `key` below `path`."""
    key = key if isinstance(key, str) else clipped(key)
    return f"{path}.{key}" if path and key else path or key


def did_you_mean(wrong: object, candidates: Sequence[str]) -> str:
    """Return "; did you mean 'x'?" for the nearest candidate, or an empty string."""
    text = wrong[:100] if isinstance(wrong, str) else ""
    near = get_close_matches(text, candidates, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
