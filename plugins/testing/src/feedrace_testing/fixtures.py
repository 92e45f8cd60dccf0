"""Pytest fixtures: no plugin at all, plugins for the duration of a test, a broken plugin.

Import those you use into a test module or a conftest.py.
"""

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

import feedrace

Install = Callable[..., str]


@pytest.fixture
def isolated_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hide all plugins but the built-in one; what a test registers ends with it."""
    monkeypatch.setattr("importlib.metadata.distributions", list)
    for variable in ("FEEDRACE_PLUGINS", "FEEDRACE_PLUGINS_DISABLE", "FEEDRACE_PREFER"):
        monkeypatch.delenv(variable, raising=False)
    feedrace.refresh()
    with feedrace.temporary():
        yield
    feedrace.refresh()


@pytest.fixture
def temporary_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Give a function that installs a plugin, with a real dist-info folder, during a test.

    It takes the plugin's namespace and the code of its declaring module, and returns the module's
    name, which also replaces `{module}` in the code. Optional: `dist`, `version` and `requires` of
    the dist, and `refresh=False`, which leaves the registry as it is.
    """
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    modules: list[str] = []
    feedrace.refresh()

    def install(
        namespace: str,
        code: str,
        *,
        dist: str | None = None,
        version: str = "1.0",
        requires: Sequence[str] = (),
        refresh: bool = True,
    ) -> str:
        module = "_".join(["plugin", namespace, *([dist] if dist else [])]).replace("-", "_")
        (folder / f"{module}.py").write_text(code.replace("{module}", module))
        name = dist or namespace
        info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        needs = "".join(f"Requires-Dist: {line}\n" for line in requires)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}"
        )
        (info / "entry_points.txt").write_text(f"[feedrace]\n{namespace} = {module}\n")
        modules.append(module)
        importlib.invalidate_caches()
        if refresh:
            feedrace.refresh()
        return module

    with feedrace.temporary():
        yield install
    feedrace.refresh()
    for module in modules:
        sys.modules.pop(module, None)


@pytest.fixture
def broken_plugin(temporary_plugin: Install) -> str:
    """Give the namespace of an installed plugin that raises `ImportError` when imported."""
    temporary_plugin("broken", "raise ImportError('this plugin is broken')", version="0.0")
    return "broken"
