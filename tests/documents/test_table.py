"""The table of the interface documents holds, and the page made of it is current."""

import importlib
import inspect
import re
import runpy
import tomllib
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
TABLE = tomllib.loads(Path(__file__).with_name("table.toml").read_text())
CLASSES = TABLE["class"]
ids = [f"{c['document']}-{c['name']}" for c in CLASSES]
REST = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD


def load(entry):
    return getattr(importlib.import_module(entry["home"]), entry["name"])


def documented(text):
    """Return the signature that a text such as `a, *, b=1` describes."""
    return inspect.signature(eval(f"lambda {' '.join(text.split())}: None"))


def assert_serves(ours, text):
    """Assert that a call as the document describes it means the same here."""
    theirs = documented(text)
    ours = ours.replace(parameters=[p for p in ours.parameters.values() if p.name != "self"])
    takes_any = any(p.kind is p.VAR_KEYWORD for p in ours.parameters.values())
    place = 0
    for name, parameter in theirs.parameters.items():
        if parameter.kind in REST:
            continue
        if parameter.kind is parameter.POSITIONAL_ONLY:
            place += 1
            continue
        if name not in ours.parameters and takes_any:
            continue
        found = ours.parameters[name]
        assert found.default == parameter.default or parameter.default is parameter.empty, name
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            assert found.kind is parameter.POSITIONAL_OR_KEYWORD, f"{name} by position"
            assert list(ours.parameters)[place] == name, f"{name} at place {place}"
            place += 1
    extra = [p for p in ours.parameters.values() if p.name not in theirs.parameters]
    required = [p.name for p in extra if p.default is p.empty and p.kind not in REST]
    assert len(required) <= sum(p.kind is p.POSITIONAL_ONLY for p in theirs.parameters.values())


@pytest.mark.parametrize("entry", CLASSES, ids=ids)
def test_a_class_takes_the_documented_parameters_with_their_defaults(entry):
    assert_serves(inspect.signature(load(entry)), entry["signature"])


@pytest.mark.parametrize("entry", CLASSES, ids=ids)
def test_a_class_has_the_documented_methods(entry):
    for name, text in entry.get("methods", {}).items():
        method = getattr(load(entry), name)
        assert callable(method), name
        assert_serves(inspect.signature(method), text)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    pytest.importorskip("tensorflow", reason="preparing the digits needs TensorFlow")
    return str(tmp_path_factory.mktemp("digits"))


@pytest.mark.parametrize("entry", [c for c in CLASSES if "made" in c], ids=lambda c: c["name"])
def test_an_object_has_the_documented_attributes(entry, request):
    names = {"np": np}
    for home in ("feedrace.plugin", "feedrace_samplers", "feedrace_batchers", "feedrace_tfds",
                 "feedrace_interleave"):  # fmt: skip
        module = importlib.import_module(home)
        wanted = re.findall(r"[A-Z]\w+", entry["made"])
        names |= {name: getattr(module, name) for name in wanted if hasattr(module, name)}
    if "data_dir" in entry["made"]:
        names["data_dir"] = request.getfixturevalue("data_dir")
    made = eval(entry["made"], names)
    fields = documented(entry["signature"]).parameters if "Config" in entry["name"] else ()
    attributes = [*entry.get("attributes", ()), *fields]
    assert [name for name in attributes if not hasattr(made, name)] == []


def test_every_example_of_the_table_is_a_test():
    examples = {example for entry in CLASSES for example in entry.get("examples", ())}
    assert len(examples) > 5
    for example in examples:
        file, _, function = example.partition("::")
        assert f"def {function}(" in (ROOT / file).read_text(), example


def test_every_difference_of_the_table_is_a_test():
    tests = Path(__file__).with_name("test_differences.py").read_text()
    found = {
        line.partition("(")[0][4:] for line in tests.splitlines() if line.startswith("def test_")
    }
    assert {difference["test"] for difference in TABLE["difference"]} == found


def test_the_page_is_made_of_the_table():
    page = runpy.run_path(str(Path(__file__).with_name("page.py")))["page"]()
    assert (ROOT / "docs/coming_from.md").read_text() == page, "run tests/documents/page.py"
