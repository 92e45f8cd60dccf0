import json

import numpy as np
import pytest

import feedrace
from feedrace import build, load, registry
from feedrace.errors import ConfigError, DataError, NotInstalledError, UnknownComponentError
from feedrace.pipeline.options import parse_options, read_options

GOOD = """
seed = 3
batch_size = 2

[source]
use = "memory"
data = { x = [1.0, 2.0, 3.0], y = [0, 1, 0] }

[sampler]
use = "sequential"

[[stages]]
use = "rescale"
field = "x"
scale = 2
"""


def found(mapping):
    with pytest.raises(ConfigError) as caught:
        parse_options(mapping)
    return {p.path: p.message for p in caught.value.problems}


def test_toml_json_and_yaml_build_the_same_pipeline(tmp_path):
    import tomllib

    import yaml

    mapping = tomllib.loads(GOOD)
    (tmp_path / "c.toml").write_text(GOOD)
    (tmp_path / "c.json").write_text(json.dumps(mapping))
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(mapping))
    states = [load(tmp_path / f"c.{suffix}").get_state() for suffix in ("toml", "json", "yaml")]
    assert states[0] == states[1] == states[2]
    pipeline = load(tmp_path / "c.toml")
    assert [b["x"].tolist() for b in pipeline] == [[2.0, 4.0], [6.0, 0.0]]


def test_all_problems_of_a_config_come_in_one_error():
    problems = found(
        {
            "batch_sise": 3,
            "source": {"use": "memori"},
            "sampler": {"use": "sequential", "num_epoch": 2, "num_records": "x"},
            "stages": [
                {"use": "rescale"},
                {"field": "x"},
                {"use": "cast", "field": 1, "dtype": "f"},
            ],
            "prefetch": -1,
        }
    )
    assert sorted(problems) == [
        "batch_sise",
        "batch_size",
        "prefetch",
        "sampler.num_epoch",
        "sampler.num_records",
        "source.use",
        "stages[0].field",
        "stages[1]",
        "stages[2].dtype",
        "stages[2].field",
    ]
    assert "did you mean 'memory'" in problems["source.use"]
    assert "did you mean 'num_epochs'" in problems["sampler.num_epoch"]


def test_rules_across_fields_are_reported_beside_unknown_keys():
    problems = found(
        {
            "batch_size": 1,
            "source": {"use": "memory", "data": {"x": [1]}},
            "sampler": {"use": "sequential", "num_epochs": 0, "seeed": 1},
            "stages": {"use": "rescale"},
        }
    )
    assert sorted(problems) == ["sampler.num_epochs", "sampler.seeed", "stages"]
    assert "[[stages]]" in problems["stages"]


def test_what_a_component_finds_wrong_carries_its_path():
    wrong = {"use": "sequential", "stochastic": True, "stream_name": "a"}
    with pytest.raises(ConfigError, match=r"sampler\.stochastic: .*give a seed"):
        build({"batch_size": 1, "source": {"use": "memory", "data": {"x": [1]}}, "sampler": wrong})


def test_a_stage_that_cannot_be_made_causes_no_problem_of_the_batcher():
    class TokensBatcher:
        def process(self, elements, *, batch_size, drop_remainder): ...

        def batch_spec(self, element_spec, *, batch_size):
            raise DataError(f"there is no field 'tokens'; there are {', '.join(element_spec)}")

    whole = {"source": {"x": np.arange(2)}, "batcher": TokensBatcher(), "batch_size": 2}
    with pytest.raises(ConfigError, match=r"^batcher: there is no field 'tokens'; there are x$"):
        feedrace.Pipeline(**whole)
    with pytest.raises(ConfigError) as caught:
        feedrace.Pipeline(**whole, stages=[{"use": "rescale", "field": "x", "scale": "much"}])
    assert [problem.path for problem in caught.value.problems] == ["stages[0].scale"]


def test_a_failed_look_up_is_the_cause():
    with pytest.raises(ConfigError) as caught:
        build({"batch_size": 1, "source": {"use": "memori"}})
    assert isinstance(caught.value.__cause__, UnknownComponentError)


def test_a_component_that_is_not_installed_gives_the_pip_line(monkeypatch):
    import importlib.metadata

    monkeypatch.setattr(importlib.metadata, "distributions", list)
    monkeypatch.setattr("feedrace.errors._checkout", lambda: None)
    registry.refresh()
    try:
        with pytest.raises(ConfigError, match=r"pip install 'feedrace\[tfds\]'") as caught:
            build({"batch_size": 1, "source": {"use": "tfds-eager"}})
        assert isinstance(caught.value.__cause__, NotInstalledError)
    finally:
        registry.refresh()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.toml", "batch_size = \n", r"c\.toml: does not parse: .*line 1, column 14"),
        ("c.json", '{"batch_size": 1,}', r"c\.json: does not parse: .*line 1 column 1[78]"),
        ("c.yaml", "a: [1,\n", r"c\.yaml: does not parse: .*line 2, column 1"),
        ("c.json", '{"batch_size": 1, "batch_size": 2}', "the key 'batch_size' comes twice"),
        ("c.json", "[1]", r"c\.json: holds list, not a table"),
        ("c.ini", "a = 1", r"'\.ini' is none of \.toml, \.json"),
        ("c.toml", 'batch_size = 0\n[source]\nuse = "memory"\ndata = {x = [1]}\n',
         r"c\.toml: batch_size: 0 is not an int of 1 or more"),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_is_named(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load(path)


def test_a_file_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "c.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(path)


def test_the_top_level_seed_is_that_of_components_that_give_none():
    config = parse_options(
        {"batch_size": 1, "seed": 9, "source": {"use": "memory", "data": {"x": [1]}}}
    )
    assert config.source.config.seed == 9
    own = {"use": "memory", "data": {"x": [1]}, "seed": 4}
    config = parse_options({"batch_size": 1, "seed": 9, "source": own})
    assert config.source.config.seed == 4
    assert list(found({"batch_size": 1, "seed": "x", "source": own})) == ["seed"]


def test_numbers_of_numpy_are_kept_as_those_of_python(tmp_path):
    source = feedrace.create("source", "memory", data={"x": np.arange(1000)})
    made = feedrace.Pipeline(
        source=source, batch_size=np.int8(100), prefetch=np.int8(1), seed=np.int32(5),
        stall_seconds=np.float32(30),
    )  # fmt: skip
    plain = feedrace.Pipeline(source=source, batch_size=100, prefetch=1, seed=5, stall_seconds=30.0)
    assert [int(batch["x"][0]) for batch in made] == list(range(0, 1000, 100))
    list(plain)
    feedrace.save_state(tmp_path / "state.json", made.get_state())
    assert feedrace.load_state(tmp_path / "state.json") == plain.get_state()
    numbers = ("batch_size", "prefetch", "seed", "stall_seconds")
    assert [type(made.config[name]) for name in numbers] == [int, int, int, float]


@pytest.mark.parametrize("sharding", ["3", '"two words"', '""'])
def test_what_cannot_be_a_mesh_axis_is_refused_before_a_pipeline_is_made(tmp_path, sharding):
    path = tmp_path / "c.toml"
    path.write_text(
        f'sharding = {sharding}\nbatch_size = 1\n[source]\nuse = "memory"\ndata = {{x = [1]}}\n'
    )
    for read in (read_options, load):
        with pytest.raises(ConfigError, match=r"sharding: .* the name of a mesh axis"):
            read(path)


def test_stages_and_specs_show_their_config():
    mapping = {"use": "rescale", "field": "x", "scale": 0.5}
    assert repr(feedrace.create("stage", "rescale", field="x", scale=0.5)) == (
        "Rescale(field='x', scale=0.5)"
    )
    shown = repr(registry.parse("stage", mapping))
    assert shown.startswith(
        "ComponentSpec(component=builtin/rescale, config=RescaleConfig(field='x'"
    )
