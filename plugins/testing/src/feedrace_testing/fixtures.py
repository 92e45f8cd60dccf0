"""Pytest fixtures for tests that need plugins: none, one for the time of a test, a broken one.

Import those that you use into a test module or a conftest.py.
"""

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from feedrace.registry import catalog

Install = Callable[..., str]


@pytest.fixture
def isolated_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave no plugin but the built-in one; what a test registers goes with it."""
    monkeypatch.setattr("importlib.metadata.distributions", list)
    for variable in ("FEEDRACE_PLUGINS", "FEEDRACE_PLUGINS_DISABLE", "FEEDRACE_PREFER"):
        monkeypatch.delenv(variable, raising=False)
    catalog.refresh()
    with catalog.temporary():
        yield
    catalog.refresh()


@pytest.fixture
def temporary_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Give a function that installs a plugin for the time of a test: a real dist-info folder.

    It takes the plugin's namespace and the code of its declaring module, in which `{module}` is
    replaced by the module's name, which it returns; also `dist`, `version` and `requires` of the
    dist, and `refresh=False` to leave the registry as it is.
    """
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    modules: list[str] = []
    catalog.refresh()

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
            catalog.refresh()
        return module

    with catalog.temporary():
        yield install
    catalog.refresh()
    for module in modules:
        sys.modules.pop(module, None)


@pytest.fixture
def broken_plugin(temporary_plugin: Install) -> str:
    """Give the namespace of an installed plugin whose import raises `ImportError`."""
    temporary_plugin("broken", "raise ImportError('this plugin is broken')", version="0.0")
    return "broken"
