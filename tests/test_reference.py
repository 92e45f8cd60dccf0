"""The reference has all that the code declares, and each of it has a description."""

import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import attrs
import click
import pytest

from feedrace import plugin
from feedrace.cli import main
from feedrace.pipeline.options import PipelineOptions
from feedrace.plan.state import MAX_BYTES
from feedrace.protocols import elements, kinds, optional
from feedrace.registry import available, hookspecs
from feedrace.registry.first_party import FIRST_PARTY
from feedrace.registry.making import config_class_of
from feedrace.registry.schema import field_documents

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs/reference"
reference = SimpleNamespace(**runpy.run_path(str(ROOT / "docs/reference.py")))
NAMES = {(*name.split("/"), space) for space, names in FIRST_PARTY.items() for name in names}
COMPONENTS = [c for kind in kinds.KINDS for c in available(kind)
              if c.namespace == "builtin" or (c.kind, c.name, c.namespace) in NAMES]  # fmt: skip


def page(name):
    """Return a page as it is built."""
    return reference.fill((REFERENCE / f"{name}.md").read_text())


def sections(text):
    """Return what is below each heading of a page."""
    _, *parts = re.split(r"^## (.*)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def rows(text):
    """Return the cells of the rows of all tables, by the first cell, which is code."""
    found = {}
    for row in re.findall(r"^\| `.*\|$", text, re.MULTILINE):
        first, *rest = (cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip("|")))
        found[first.strip("`")] = rest
    return found


def test_every_name_of_the_project_is_installed_here():
    assert {(c.kind, c.name, c.namespace) for c in COMPONENTS} >= NAMES


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda c: f"{c.kind}-{c.name}")
def test_every_component_is_there_with_its_summary_and_fields(component):
    text = sections(page(f"{component.kind}s"))[component.name].partition("Keys of")[0]
    assert component.summary
    assert component.summary in text
    assert f"From `{component.dist}`, as `{component.reference}`" in text
    config = config_class_of(component)
    shown, documents = rows(text), field_documents(config) if config else {}
    for field in attrs.fields(config) if config else ():
        if field.init and not field.metadata.get("feedrace_quiet"):
            kind, default, meaning = shown[field.name]
            assert kind
            assert default
            assert documents[field.name]
            assert documents[field.name][1:20].strip(";.") in meaning


def test_fields_of_tables_within_a_config_are_there():
    text = sections(page("schedulers"))["interleaved"]
    shown = rows(text.partition("Keys of `CallbackConfig`:")[2])
    assert shown["stream"][1:] == ["required", "Its name, which its steps carry."]
    assert all(meaning for _, _, meaning in shown.values())


def test_every_option_of_a_pipeline_is_there():
    shown = rows(page("options"))
    assert shown.keys() == {field.name for field in attrs.fields(PipelineOptions)}
    assert shown["batch_size"][:2] == ["int, 1 or more", "required"]
    assert all(meaning for _, _, meaning in shown.values())


def test_every_command_is_there_with_its_options():
    shown = sections(page("commands"))
    for name in main.list_commands(click.Context(main, **main.context_settings)):
        assert f"feedrace {name}" in shown
    assert {"feedrace plugins new", "feedrace convert", "feedrace preview"} <= shown.keys()
    for names, command, _ in reference.walk(main, ("feedrace",)):
        text = shown[" ".join(names)]
        assert f"Usage: {' '.join(names)}" in text
        assert command.help.split("\n")[0] in text
        options = [p for p in command.params if isinstance(p, click.Option)]
        written = rows(text)
        assert len(written) == len(options)
        for option in options:
            assert option.help, f"{names} {option.opts} has no help"
            (meaning,) = next(
                v for k, v in written.items() if option.opts[-1] in re.split("[ ,]", k)
            )
            assert option.help in meaning


def test_every_environment_variable_that_the_code_reads_is_there():
    sources = [p.read_text() for p in ROOT.glob("**/src/**/*.py") if ".tox" not in p.parts]
    read = r'"(FEEDRACE_(?!API)[A-Z_]+)"|os\.environ(?:\.get|\.setdefault)?[(\[]"([A-Z_]+)"'
    names = {name for text in sources for pair in re.findall(read, text) for name in pair if name}
    assert len(names) >= 8
    shown = rows(page("environment"))
    assert shown.keys() == names | {"_FEEDRACE_COMPLETE", "TQDM_DISABLE"}  # of libraries
    assert all(meaning for (meaning,) in shown.values())


def test_every_hook_is_described():
    hooks = [v for k, v in vars(hookspecs).items() if k.startswith("feedrace_")]
    assert len(hooks) >= 3
    assert "automodule:: feedrace.registry.hookspecs\n   :members:" in page("hooks")
    assert all(hook.__doc__ for hook in hooks)


@pytest.mark.parametrize(
    ("name", "modules"), [("kinds", [kinds]), ("protocols", [optional, elements])]
)
def test_every_protocol_and_all_that_it_asks_for_is_described(name, modules):
    own = [
        value
        for module in modules
        for value in vars(module).values()
        if getattr(value, "__module__", "") == module.__name__
    ]
    found = {value.__name__: value for value in own if getattr(value, "_is_protocol", False)}
    shown = re.findall(r"autoclass:: feedrace\.plugin\.protocols\.(\w+)\n   :members:", page(name))
    assert sorted(shown) == sorted(found)
    assert all(getattr(plugin.protocols, one) is found[one] for one in shown)
    assert "feedrace.protocols" not in page(name)  # it is private
    for each in found.values():
        assert each.__doc__
        for attribute in each.__annotations__:
            assert re.search(rf"^    {attribute}: ", each.__doc__, re.MULTILINE), attribute
        methods = [
            v for k, v in vars(each).items() if callable(v) and k[:4] not in ("__in", "__su")
        ]
        assert [one.__qualname__ for one in methods if not one.__doc__] == []


def test_optional_protocols_stand_by_the_kind_that_may_have_them():
    text = sections(page("protocols"))
    assert list(text)[:2] == ["For any kind", "For sources"]
    assert "protocols.Configured\n" in text["For any kind"]


def test_every_key_of_a_state_is_there_beside_a_real_one():
    made = reference.example_state()
    document, _, fingerprint = page("state").partition("The fingerprint has:")
    assert rows(document).keys() == made.keys()
    components = {"sampler", "scheduler", "stages[0]"}  # of which `source` is the example
    assert rows(fingerprint).keys() == made["fingerprint"].keys() - components
    assert made["counters"] == {"pass": 0, "update": 3}
    size = int(re.search(r"it takes ([\d,]+) bytes", page("state"))[1].replace(",", ""))
    assert 100 < size < MAX_BYTES


def test_every_metric_is_there():
    prometheus = pytest.importorskip("feedrace.integrations.prometheus")
    shown = rows(page("metrics"))
    said = re.findall(r"`(feedrace_\w+)`", prometheus.export_metrics.__doc__)
    assert sorted(shown) == sorted(said)
    assert all(meaning for _, meaning in shown.values())


def test_every_page_is_in_the_list_and_has_no_mark_left():
    listed = (REFERENCE / "index.md").read_text().partition(":maxdepth: 1")[2].split("```")[0]
    assert set(listed.split()) == {path.stem for path in REFERENCE.glob("*.md")} - {"index"}
    for name in listed.split():
        assert "<!-- made: " in (REFERENCE / f"{name}.md").read_text()
        assert "<!-- made" not in page(name)


def test_names_of_parameters_are_shown_as_they_are_written():
    pytest.importorskip("jupyter_cache")  # which the settings of the site import
    as_rest = runpy.run_path(str(ROOT / "docs/conf.py"))["as_rest"]
    text = "It is\nplain: text.\n\nstep_fn: takes `batch`es,\n    and more.\na, b: two.\n"
    as_rest(None, "function", "name", None, None, lines := text.split("\n"))
    assert lines == [
        *("It is", "plain: text.", ""),
        *("``step_fn``", r"    takes ``batch``\ es,", "    and more."),
        *("``a, b``", "    two.", ""),
    ]


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 2**63 - 1}, "int, 1 or more"),
        ({"type": "number", "exclusiveMinimum": 0}, "number, above 0"),
        ({"type": "integer", "minimum": -1, "not": {"const": 0}}, "int, -1 or more, not 0"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "text"),
        ({"type": "string", "enum": ["a", "b"]}, '`"a"` or `"b"`'),
        ({"type": "array", "items": {"$ref": "#/$defs/stage"}}, "list of [stage](stages.md)"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "table of number"),
        ({"type": "number", "minimum": 0, "maximum": 1}, "number, from 0 to 1"),
        ({}, "any"),
    ],
)
def test_a_schema_is_said_in_a_few_words(schema, words):
    assert reference.words(schema) == words
