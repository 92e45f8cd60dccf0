"""Configs as files: lines of problems, expansion, defaults written out, and the JSON Schema."""

import datetime
import functools
import itertools
import json
import time
import tomllib

import attrs
import jsonschema
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import feedrace
from feedrace import registry
from feedrace.cli import main
from feedrace.config import files
from feedrace.config.fields import one_of, path_field
from feedrace.config.files import key_lines, located, read_mapping, write_text
from feedrace.config.mapping import structure, unstructure
from feedrace.errors import ConfigError, Problem
from feedrace.pipeline.options import PipelineOptions, parse_options, read_options
from feedrace.plugin import StructuralConfig
from feedrace.registry import filled
from feedrace.registry.schema import schema
from feedrace_testing import isolated_registry

__all__ = ["isolated_registry"]  # a fixture
GOOD = """\
batch_size = 2
[source]
use = "memory"
data = { x = [1.0, 2.0, 3.0] }

[[stages]]
use = "rescale"
field = "x"
"""
BAD = """\
# a comment
batch_size = 0

[source]
use = "memory"
data = { x = [
  1.0,
], y = 3 }
shufle = true

[[stages]]
use = "rescale"
field = "x"
[[stages]]
use = "cast"
field = "x"
dtype = "float33"

[sampler]
num_epochs = 2
"""


def write(folder, text, name="c.toml"):
    path = folder / name
    path.write_text(text)
    return str(path)


def call(*arguments):
    return CliRunner().invoke(main, arguments)


def test_problems_of_a_toml_file_have_their_lines(tmp_path):
    path = write(tmp_path, BAD)
    with pytest.raises(ConfigError) as caught:
        feedrace.load(path)
    assert sorted((p.path, p.line) for p in caught.value.problems) == [
        ("batch_size", 2),
        ("sampler", 19),
        ("source.shufle", 9),
        ("stages[1].dtype", 17),
    ]
    assert f"{path}: source.shufle: unknown key; did you mean 'shuffle'? (line 9)" in str(
        caught.value
    )


def test_a_problem_that_only_the_data_shows_has_its_line_too(tmp_path):
    path = write(tmp_path, GOOD + '[sampler]\nuse = "sequential"\nnum_records = 9\n')
    with pytest.raises(ConfigError, match=r"c\.toml: sampler\.num_records: 9 is .* \(line 11\)"):
        feedrace.load(path)


def test_other_formats_have_paths_without_lines(tmp_path):
    path = write(tmp_path, json.dumps({"batch_size": 0}), "c.json")
    with pytest.raises(ConfigError, match=r"c\.json: batch_size: 0") as caught:
        feedrace.load(path)
    assert {problem.line for problem in caught.value.problems} == {0}


def test_lines_of_nested_arrays_dotted_keys_and_text_of_several_lines():
    text = (
        '[[a.b]]\nx.y = 1\n"q r" = """\n[no]\nz = 2\n"""\n\n[[a.b]]\n[a.b.c]\n'
        "k = [\n  {m = 1},\n  {m = 2}]\n"
    )
    assert key_lines(text) == {
        "a.b[0]": 1, "a.b[0].x": 2, "a.b[0].x.y": 2, "a.b[0].q r": 3, "a.b[1]": 8,
        "a.b[1].c": 9, "a.b[1].c.k": 10, "a.b[1].c.k[0]": 10, "a.b[1].c.k[0].m": 10,
        "a.b[1].c.k[1]": 10, "a.b[1].c.k[1].m": 10,
    }  # fmt: skip
    assert located([Problem("a.b[1].c.missing", "")], text)[0].line == 9
    assert located([Problem("nowhere", "")], text)[0].line == 0


def lines_by_trying(text):
    """The lines of `key_lines` by brute force: a statement ends where its lines first parse."""
    lines, lengths = {}, {}
    table, statement, began = "", "", 0
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        began = began if statement else number
        statement += line
        try:
            parsed = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        if statement.lstrip().startswith("["):
            table = files._header(parsed, lengths)
            lines.setdefault(table, began)
        else:
            files._note(parsed, table, began, lines)
        statement = ""
    return lines


STATEMENTS = [
    "",
    "# a [ comment with \"quotes' and { braces",
    "k# = 1",
    "'q [#' = 2 # ]",
    "[t#]",
    "[[a.b]]",
    '[ "x@#" . y ]',
    "k# = [",
    'k# = { a = [1], b = "}" }',
    "k# = [1, # ]\n  [2, \"]\"],\n\n  '[', { c = ']' },\n]",
    'k# = """',
    'k# = """\n[no]\n# no\nx = \'\'\'\n\\""" \\\\"""',
    "k# = ''''quoted' \\'''",
    "a.b#.c = 1",
    "k# = '''\n\"\"\"\n''' # '''",
    'k# = """"two"""""',
    'k# = "" # """',
    "k# = ''",
    'k# = "\\"[\\\\" # "',
]


@settings(max_examples=400)
@given(st.lists(st.sampled_from(STATEMENTS), max_size=8))
def test_the_lines_of_statements_are_those_of_trying_to_parse_each(statements):
    text = "\n".join(s.replace("k#", f"k{n}") for n, s in enumerate(statements)) + "\n"
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        assume(False)
    assert key_lines(text) == lines_by_trying(text)


def test_every_short_text_of_quotes_brackets_and_escapes_has_the_lines_of_trying_to_parse():
    tried = 0
    for characters in itertools.product("\"'[]#\\\n", repeat=6):
        text = "a = [" + "".join(characters) + "]\nb = 1\n"
        try:
            tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            continue
        tried += 1
        assert key_lines(text) == lines_by_trying(text), text
    assert tried > 500


@pytest.mark.parametrize("statements", [1, 4_000])
def test_finding_lines_takes_time_in_proportion_to_the_file(statements):
    """An array of 4,000 lines took 13 s when each line was tried anew."""
    rows = "".join(f"  [{i}, 'a]', \"b\"], # c\n" for i in range(4_000 // statements))
    text = "".join(f"k{i} = [\n{rows}]\n" for i in range(statements))
    began = time.process_time()
    (problem,) = located([Problem(f"k{statements - 1}", "")], text)
    assert time.process_time() - began < 1
    assert problem.line == text.count("\n", 0, text.index(f"k{statements - 1} =")) + 1


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("c.yaml", "batch_size: 1\nsource:\n  use: memory\n  use: other\n", 4),
        ("c.yaml", "- {x: 1, 'x': 2}", 1),
        ("c.yml", "a: 1\n1: x\n0x1: y\n", 3),
        ("c.json", '{"a": [{"use": 1, "use": 2}]}', 0),
    ],
)
def test_equal_keys_of_a_table_are_an_error_with_the_line(tmp_path, name, text, line):
    with pytest.raises(ConfigError, match="comes twice in one table") as caught:
        read_mapping(write(tmp_path, text, name))
    assert caught.value.problems[0].line == line


def test_keys_that_yaml_merges_from_an_anchor_may_be_given_anew(tmp_path):
    text = (
        "d:\n  base: &base {a: 1, b: 1}\n  mid: &mid {<<: *base, a: 2}\n"
        "top: {<<: *mid, b: 3}\nboth: {<<: [*base, *mid]}\n"
    )
    assert read_mapping(write(tmp_path, text, "c.yaml"))["top"] == {"a": 2, "b": 3}


def test_equal_keys_of_a_large_json_table_are_found_quickly(tmp_path):
    rows = ", ".join(f'"k{i}": {i}' for i in range(100_000))
    began = time.process_time()
    with pytest.raises(ConfigError, match="the key 'k7' comes twice"):
        read_mapping(write(tmp_path, f'{{{rows}, "k7": 1}}', "c.json"))
    assert time.process_time() - began < 2


@pytest.mark.parametrize("value", [datetime.date(2020, 1, 2), [1, [2.5, {"a b": "\x7f\n\t"}]]])
def test_values_of_toml_survive_writing(value):
    assert tomllib.loads(write_text({"x": value, "not set": None}, ".toml")) == {"x": value}


def test_a_field_that_is_not_set_is_a_comment_in_toml():
    text = write_text({"a": None, "t": {"b c": None, "d": 1}, "u": []}, ".toml")
    assert text == '# a is not set\nu = []\n\n[t]\n# "b c" is not set\nd = 1\n'


def test_what_toml_cannot_hold_is_an_error():
    with pytest.raises(ConfigError, match="cannot be written as TOML"):
        write_text({"a": [1, None]}, ".toml")


KEYS = st.text("abc_-", min_size=1, max_size=3)
VALUES = st.recursive(
    st.integers(0, 9) | st.booleans() | st.text("xy\n", max_size=4) | st.lists(st.integers(0, 9)),
    lambda inner: (
        st.dictionaries(KEYS, inner, max_size=3)
        | st.lists(st.dictionaries(KEYS, inner, max_size=2), min_size=1, max_size=3)
    ),
    max_leaves=12,
)


@pytest.mark.slow
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_written_toml_parses_to_the_same_and_every_key_has_its_line(mapping):
    text = write_text(mapping, ".toml")
    assert tomllib.loads(text) == mapping
    lines, rows = key_lines(text), text.splitlines()

    def check(value, path, key):
        if path:
            assert key in rows[lines[path] - 1]
        if isinstance(value, dict):
            for inner, v in value.items():
                check(v, f"{path}.{inner}" if path else inner, inner)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for i, v in enumerate(value):
                check(v, f"{path}[{i}]", key)

    # An empty table has no line where a header below it stands for it.
    if all(mapping.values()) and not any(isinstance(v, dict) for v in mapping.values()):
        check({k: v for k, v in mapping.items() if not isinstance(v, list)}, "", "")


def test_validate_says_that_a_config_is_good_or_lists_every_problem(tmp_path):
    good = call("validate", write(tmp_path, GOOD))
    assert (good.exit_code, good.stdout.endswith("c.toml: good\n")) == (0, True), good.output
    bad = call("validate", write(tmp_path, BAD), "--json")
    assert bad.exit_code == 1
    shown = json.loads(bad.stdout)
    assert shown["error"] == "ConfigError"
    assert {("batch_size", 2)} <= {
        (problem["path"], problem["line"]) for problem in shown["problems"]
    }
    assert len(shown["problems"]) == 4
    assert json.loads(call("validate", write(tmp_path, GOOD), "--json").stdout)["problems"] == []


FLIP = '[[stages]]\nuse = "flip"\nfield = "x"\naxis = 0\n'
WINDOWED = """\
from feedrace.plugin import Component, hookimpl
FEEDRACE_API = 1

@hookimpl
def feedrace_components():
    yield Component(kind="batcher", name="windows", target="{module}:Windows",
                    capabilities=["windowed"])

class Windows:
    def process(self, elements, *, batch_size, drop_remainder=False): ...
    def batch_spec(self, element_spec, *, batch_size): ...
    def window_size(self, batch_size): return batch_size
    def collate_window(self, records, *, batch_size): ...
"""


@pytest.mark.parametrize(
    ("old", "new", "path", "line"),
    [
        ("batch_size = 2", "batch_size = 2\nstall_seconds = -1", "stall_seconds", 2),
        ("batch_size = 2", "batch_size = 2\nstall_seconds = 0", "stall_seconds", 2),
        ("batch_size = 2", 'batch_size = 2\nsharding = ""', "sharding", 2),
        ("batch_size = 2", "batch_size = 2\nprefetch = -1", "prefetch", 2),
        ("batch_size = 2", f"batch_size = 2\nseed = {2**63}", "seed", 2),
        ("[[stages]]", f"{FLIP}[[stages]]", "stages[0]", 6),
        ("[source]", '[source]\nstochastic = true\nstream_name = "x"', "source.stochastic", 3),
        ("[source]",
         '[sampler]\nuse = "sequential"\nstochastic = true\nstream_name = "x"\n[source]',
         "sampler.stochastic", 4),
        ("[source]", 'drop_remainder = true\nbatcher = {use = "windows"}\n[source]',
         "drop_remainder", 2),
    ],
)  # fmt: skip
def test_validate_refuses_what_load_refuses(tmp_path, site, old, new, path, line):
    site("windows", WINDOWED)
    file = write(tmp_path, GOOD.replace(old, new))
    done = call("validate", file, "--json")
    assert done.exit_code == 1, done.output
    problems = json.loads(done.stdout)["problems"]
    assert [(p["path"], p["line"]) for p in problems] == [(path, line)]
    with pytest.raises(ConfigError) as caught:
        feedrace.load(file)
    assert [(p.path, p.line) for p in caught.value.problems] == [(path, line)]


def test_a_seed_is_all_that_a_stochastic_stage_needs(tmp_path):
    file = write(tmp_path, "seed = 1\n" + GOOD.replace("[[stages]]", f"{FLIP}[[stages]]"))
    assert call("validate", file).exit_code == 0


@pytest.mark.parametrize("suffix", [".toml", ".json", ".yaml"])
def test_fill_writes_every_default_and_the_result_builds_the_same(tmp_path, suffix):
    mapping = tomllib.loads(GOOD)
    first = write(tmp_path, write_text(mapping, suffix), f"first{suffix}")
    second = str(tmp_path / f"second{suffix}")
    assert call("fill", first, "-o", second).exit_code == 0
    assert filled(read_options(second)) == filled(read_options(first))
    text = (tmp_path / f"second{suffix}").read_text()
    for word in ("prefetch", "drop_remainder", "shuffle", "offset"):
        assert word in text
    for inherited in ("cacheable", "batch_stats_fn", "stream_name"):
        assert inherited not in text
    assert feedrace.load(second).config == feedrace.load(first).config
    again = json.loads(call("fill", first, "--json").stdout)
    assert again["stages"] == [{"use": "rescale", "field": "x", "scale": 1.0, "offset": 0.0}]
    assert again["sampler"] is None


@attrs.frozen(kw_only=True)
class PathsConfig(StructuralConfig):
    folder: str | None = path_field(default=None)
    text: str = ""


def test_variables_are_expanded_only_where_a_field_says_so(monkeypatch):
    monkeypatch.setenv("FEEDRACE_TEST_FOLDER", "/data")
    monkeypatch.setenv("HOME", "/home/someone")
    made = structure(PathsConfig, {"folder": "${FEEDRACE_TEST_FOLDER}/a$$b", "text": "$HOME ~"})
    assert (made.folder, made.text) == ("/data/a$b", "$HOME ~")
    assert structure(PathsConfig, {"folder": "~/x"}).folder == "/home/someone/x"
    assert structure(PathsConfig, {"folder": None}).folder is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("$FEEDRACE_NOT_SET/x", "needs the environment variable FEEDRACE_NOT_SET, which is not"),
        ("cost: 5$", "a \\$ that begins no variable"),
        (3, "expected 'str"),
        ("", "not a non-empty string"),
    ],
)
def test_a_path_that_cannot_be_expanded_is_reported_at_its_path(value, message):
    with pytest.raises(ConfigError, match=f"source.folder: .*{message}"):
        structure(PathsConfig, {"folder": value}, path="source")


@functools.cache  # to check a schema takes a third of a second
def validator(text):
    made = json.loads(text)
    jsonschema.Draft202012Validator.check_schema(made)
    return jsonschema.Draft202012Validator(made)


def problems_by_schema(mapping):
    return list(validator(json.dumps(schema(PipelineOptions))).iter_errors(mapping))


@pytest.mark.slow
def test_the_schema_accepts_good_configs_filled_ones_and_their_own_schema_key(tmp_path):
    mapping = tomllib.loads(GOOD)
    assert problems_by_schema(mapping) == []
    assert problems_by_schema({"$schema": "feedrace.json", **mapping}) == []
    assert problems_by_schema(filled(read_options(write(tmp_path, GOOD)))) == []
    path = write(tmp_path, json.dumps({"$schema": "feedrace.json", **mapping}), "c.json")
    assert call("validate", path).exit_code == 0


@pytest.mark.parametrize(
    "change",
    [
        {"batch_size": 0},
        {"batch_size": "2"},
        {"batch": 2},
        {"source": {"use": "memori"}},
        {"source": {"use": "memory", "data": 3}},
        {"source": "memory"},
        {"sampler": {"use": "sequential", "num_epochs": 0}},
        {"sampler": {"use": "sequential", "num_records": 0}},
        {"stages": {"use": "rescale", "field": "x"}},
        {"stages": [{"use": "rescale"}]},
        {"stages": [{"use": "rescale", "field": "x", "scale": "1"}]},
        {"stages": [{"use": "flip", "field": "x", "probability": 1.5}]},
        {"stages": [{"use": "cast", "field": "x", "dtype": "float33"}]},
    ],
)
def test_schema_and_validate_refuse_the_same_configs(tmp_path, change):
    mapping = {**tomllib.loads(GOOD), **change}
    assert problems_by_schema(mapping)
    assert call("validate", write(tmp_path, json.dumps(mapping), "c.json")).exit_code == 1


def test_the_schema_allows_null_if_a_choice_is_optional():
    @attrs.frozen
    class Config:
        one: str = attrs.field(validator=one_of("a", "b"))
        maybe: str | None = attrs.field(
            default=None, validator=attrs.evolve(one_of("a", "b"), optional=True)
        )

    properties = schema(Config)["properties"]
    assert properties["one"]["enum"] == ["a", "b"]
    assert properties["maybe"]["enum"] == ["a", "b", None]


def test_the_schema_has_names_defaults_and_what_the_docstrings_say():
    rescale = schema(PipelineOptions)["$defs"]["stage.builtin.rescale"]
    assert rescale["properties"]["use"]["enum"] == ["rescale", "builtin/rescale"]
    assert rescale["properties"]["scale"] == {
        "type": "number",
        "description": "the result is field * scale + offset.",
        "default": 1.0,
    }
    assert rescale["required"] == ["use", "field"]
    assert schema(PipelineOptions)["properties"]["seed"]["description"].startswith(
        "of every component that"
    )


def test_the_schema_of_an_unloadable_config_class_takes_any_keys(site):
    site(
        "hollow",
        "from feedrace.plugin import Component, hookimpl\nFEEDRACE_API = 1\n@hookimpl\n"
        "def feedrace_components():\n"
        "    yield Component(kind='sampler', name='gone', target='gone:A', config='gone:B',\n"
        "                    deprecated='use sequential')\n",
    )
    made = schema(PipelineOptions)["$defs"]["sampler.hollow.gone"]
    assert "No module named 'gone'" in made["description"]
    assert made["deprecated"]
    mapping = {**tomllib.loads(GOOD), "sampler": {"use": "gone", "whatever": 1}}
    assert problems_by_schema(mapping) == []


def test_the_schema_of_the_core_alone_allows_no_component_of_a_kind_without_any(isolated_registry):
    mapping = tomllib.loads(GOOD)
    assert problems_by_schema(mapping) == []
    assert problems_by_schema({**mapping, "batcher": {"use": "default"}})
    assert problems_by_schema({**mapping, "batcher": None}) == []


def test_a_config_round_trips_through_each_format(tmp_path):
    path = write(tmp_path, GOOD)
    config = {**feedrace.load(path).config, "source": tomllib.loads(GOOD)["source"]}
    for suffix, parse in (
        (".toml", tomllib.loads),
        (".json", json.loads),
        (".yaml", yaml.safe_load),
    ):
        assert parse(write_text(config, suffix)) == json.loads(json.dumps(config))


def test_a_config_imports_nothing_by_path(tmp_path):
    for wrong in ("os:system", "os.path", "feedrace.builtin.memory:MemorySource", "../x", ""):
        path = write(tmp_path, json.dumps({"batch_size": 1, "source": {"use": wrong}}), "c.json")
        with pytest.raises(ConfigError, match=r"source\.use: no source is called"):
            feedrace.load(path)
    with pytest.raises(ConfigError, match="unknown key"):
        registry.parse("stage", {"use": "rescale", "field": "x", "target": "os:system"})


def test_schema_is_printed_or_written(tmp_path):
    assert json.loads(call("schema").stdout)["title"] == "Feedrace pipeline"
    assert call("schema", "--json").stdout.count("\n") == 1
    call("schema", "-o", str(tmp_path / "s.json"))
    assert json.loads((tmp_path / "s.json").read_text())["$defs"]["source"]


def test_a_dollar_in_a_path_survives_every_round_trip(tmp_path):
    @attrs.frozen(kw_only=True)
    class Config(StructuralConfig):
        folder: str | None = path_field(default=None)
        other: str | None = path_field(default=None)

    made = structure(Config, {"folder": "a$$HOME"})
    assert made.folder == "a$HOME"
    for mapping in (filled(made), unstructure(made, name_component=lambda kind, value: value)):
        assert mapping["folder"] == "a$$HOME"
        again = structure(Config, {"folder": mapping["folder"]})
        assert again == made


@pytest.mark.parametrize("wrong", [None, b"x", {1}])
def test_what_cannot_be_a_component_is_no_live_object(wrong):
    with pytest.raises(ConfigError, match="source"):
        parse_options({"batch_size": 1, "source": wrong})


def test_a_file_of_another_kind_is_not_written():
    with pytest.raises(ConfigError, match=r"'\.txt' is none of \.toml, \.json, \.yaml"):
        write_text({}, ".txt")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["deep.json", "deep.yaml"])
def test_a_file_that_nests_without_end_does_not_parse(tmp_path, name):
    (tmp_path / name).write_text("[" * 50_000)
    with pytest.raises(ConfigError, match="does not parse"):
        read_mapping(tmp_path / name)


@pytest.mark.parametrize("text", ["batch_size: &a [*a]", "a: &x {b: *x}", "- &a [1, [*a]]"])
def test_yaml_that_holds_itself_is_refused_with_the_line(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"an alias stands within what it names .line 1"):
        read_mapping(path)
