"""A folder on the path, into which tests install plugins as pip would: real dist-info folders."""

import importlib
import sys

import pytest

from feedrace import registry


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A function that puts a plugin's module and its dist-info folder on sys.path."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    registry.refresh()

    def install(namespace, code, *, dist=None, version="1.0", refresh=True, requires=(), info=None):
        module = f"plugin_{namespace.replace('-', '_')}_{dist or ''}".strip("_").replace("-", "_")
        (tmp_path / f"{module}.py").write_text(code.replace("{module}", module))
        name = dist or namespace
        folder = (info or tmp_path) / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir(parents=True)
        needs = "".join(f"Requires-Dist: {line}\n" for line in requires)
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}"
        )
        (folder / "entry_points.txt").write_text(f"[feedrace]\n{namespace} = {module}\n")
        importlib.invalidate_caches()
        if refresh:
            registry.refresh()
        return module

    yield install
    registry.refresh()
    for name in set(sys.modules) - before:
        if name.startswith("plugin_"):
            del sys.modules[name]
