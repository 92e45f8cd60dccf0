"""A cache folder for each test, and a function that makes sources."""

import sys
from pathlib import Path

import pytest

import feedrace

sys.path.insert(0, str(Path(__file__).parent))  # for `conftest_files`


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("FEEDRACE_CACHE_DIR", str(folder))
    return folder


@pytest.fixture
def make():
    """A function that makes a source, and one that gives all of its records."""

    def source(use, path, **config):
        return feedrace.create("source", use, path=str(path), **config)

    return source
