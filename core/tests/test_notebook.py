"""What a notebook shows: HTML that is escaped, short, and moves nothing."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import feedrace
from feedrace import Step
from feedrace.config.fields import SamplerConfig
from feedrace.errors import ConfigError, DataError, Problem, RecordError
from feedrace.host.stages import LeafSpec
from feedrace.pipeline.jobs import all_records
from feedrace.plan.steps import TRAIN
from feedrace.plugin import SourceModule
from feedrace.registry.component import Component

DATA = {"image": np.zeros((20, 4, 4), np.uint8), "label": np.arange(20, dtype=np.int32)}
SCRIPT = "<script>alert(1)</script>"


def pipeline(**options):
    source = feedrace.create("source", "memory", data=DATA, shuffle=True)
    stages = [{"use": "rescale", "field": "image", "scale": 0.5}, feedrace.record(same)]
    return feedrace.Pipeline(source=source, batch_size=8, seed=1, stages=stages[::-1], **options)


def same(record):
    return record


def step_of(batch, count=3):
    numbers = np.arange(count)
    places = {"epoch": 0, "update": 1, "sample": count, "start": 0, "first": True, "last": False}
    return Step(stream=TRAIN, indices=numbers, after={"pass": 0}, batch=batch, **places)


def cells(html):
    """Return the rows of all tables, as lists of text."""
    rows = [row.split("</tr>")[0] for row in html.split("<tr>")[1:]]
    return [
        [cell.partition(">")[2] for cell in row.replace("</th>", "</td>").split("</td>")[:-1]]
        for row in (row.replace("<th ", "<td ").replace("<td ", "<") for row in rows)
    ]


def test_a_pipeline_shows_its_streams_parts_batches_and_options():
    html = pipeline(prefetch=1)._repr_html_()
    rows = cells(html)
    assert ["train", "20 records", "3 batches of 8 an epoch", "epochs in a pass: 1"] in rows
    assert [row[:4] for row in rows if row[0] == "stages[0]"] == [
        ["stages[0]", f"{__name__}:same", "", "record"]
    ]
    (rescale,) = (row for row in rows if row[0] == "stages[1]")
    assert rescale[1:2] + rescale[3:] == [
        "builtin/rescale",
        "device",
        "field=&#x27;image&#x27;, scale=0.5",
    ]
    assert ["image", "float32", "[8, 4, 4]"] in rows
    assert ["valid_mask", "bool", "[8]"] in rows
    assert ["prefetch", "1"] in rows
    assert not any(row[0] == "workers" for row in rows)


def test_showing_a_pipeline_in_the_middle_of_an_iteration_moves_nothing():
    expected = [step.indices.tolist() for step in pipeline().steps()]
    shown, seen = pipeline(), []
    with shown.steps() as steps:
        for step in steps:
            seen.append(step.indices.tolist())
            state = shown.get_state()
            assert f"at pass 0, update {step.update}" in shown._repr_html_()
            assert repr(steps) == f"PipelineIterator(steps after pass 0, update {step.update})"
            assert shown.get_state() == state
    assert seen == expected


@pytest.mark.together
def test_a_pipeline_with_evaluations_shows_both_streams():
    pytest.importorskip("feedrace_interleave")
    scheduler = {
        "use": "interleaved",
        "max_epochs": 1,
        "callbacks": [{"stream": "test", "source": {"use": "memory", "data": DATA}}],
    }
    scheduler["callbacks"][0]["every_n_epochs"] = 1
    html = pipeline(scheduler=scheduler)._repr_html_()
    assert "Batches of train" in html
    assert "Batches of test" in html
    assert any(row[0] == "test.source" for row in cells(html))


def test_a_step_shows_its_numbers_and_the_values_of_valid_rows():
    batch = {
        "x": jnp.array([[1.5, 2.0], [0.25, 4.0], [0.0, 0.0]]),
        "nested": {"label": np.array([3, 1, 0])},
        "name": np.array(["a", SCRIPT, ""], object),
        "valid_mask": np.array([True, True, False]),
    }
    html = step_of(batch, count=2)._repr_html_()
    assert "Step of train</strong> epoch 0, update 1, sample 2; 2 records from position 0" in html
    rows = cells(html)
    assert ["x", "float32", "[3, 2]", "0.25 to 4"] in rows
    assert ["nested.label", "int64", "[3]", "3, 1"] in rows
    assert ["valid_mask", "bool", "[3]", "2 of 3 true"] in rows
    assert SCRIPT not in html
    assert ["[0, 1]"] in rows


class Far:
    """An array on a device, too large to bring here."""

    shape, dtype = (1 << 20, 2), np.dtype(np.float32)

    def __array__(self, *arguments, **options):
        raise AssertionError("it was copied")


def test_a_large_field_is_not_copied():
    assert ["x", "float32", "[1048576, 2]", ""] in cells(step_of({"x": Far()})._repr_html_())


@pytest.mark.parametrize(
    "leaf",
    [
        jax.random.split(jax.random.key(0), 3),
        "text",
        None,
        np.zeros((0, 3)),
        object(),
        np.array([["a", "b"]]),
        np.array([["2026-01-01"]], "M8[D]"),
        np.zeros((2, 2), "i4,f4"),
        np.zeros((2, 2), "V3"),
        jnp.ones((2, 2), jnp.bfloat16),
        jnp.ones((2, 2), jnp.int4),
        jnp.ones((), bool),
    ],
    ids=lambda leaf: str(getattr(leaf, "dtype", type(leaf).__name__)),
)
def test_a_step_shows_whatever_is_in_a_batch(leaf):
    assert any(row[0] == "x" for row in cells(step_of({"x": leaf})._repr_html_()))
    assert any(row[0] == "" for row in cells(step_of(leaf)._repr_html_()))


def test_a_step_shows_arrays_whose_values_are_gone_or_traced():
    gone = jnp.arange(3)
    gone.delete()
    assert ["x", "int32", "[3]", ""] in cells(step_of({"x": gone})._repr_html_())
    shown = []

    @jax.jit
    def traced(x):
        shown.append(step_of({"x": x})._repr_html_())
        return x

    traced(jnp.arange(3))
    assert ["x", "int32", "[3]", ""] in cells(shown[0])


@pytest.mark.parametrize(
    ("kind", "name", "fields", "title", "row"),
    [
        ("source", "memory", {"data": DATA}, "source builtin/memory", ["label", "int32", "[]"]),
        ("sampler", "sequential", {"num_records": 9}, "sampler builtin", ["num_records", "9"]),
        ("stage", "cast", {"field": "x", "dtype": "int8"}, "stage builtin/cast", None),
        ("scheduler", "single", {}, "scheduler builtin/single", None),
    ],
)
def test_a_component_shows_its_name_fields_and_records(kind, name, fields, title, row):
    made = feedrace.create(kind, name, **fields)
    html = made._repr_html_()
    assert title in html
    assert "of feedrace " in html
    assert row is None or row in cells(html)
    assert (f"; {20} records" in html) == (kind == "source")


def test_a_function_shows_its_own_name():
    stage = feedrace.record(same)
    assert repr(stage) == f"record({__name__}:same)"
    assert f"stage {__name__}:same</strong>" in stage._repr_html_()


def test_a_source_that_is_not_finished_shows_what_it_has():
    class Half(SourceModule):
        pass

    html = Half(SamplerConfig(num_records=3))._repr_html_()
    assert "Half" in html
    assert ["num_records", "3"] in cells(html)


def test_a_declaration_names_the_component():
    component = Component(
        kind="sampler",
        name="odd",
        target="a.b:C",
        summary=SCRIPT,
        capabilities=("reshuffles",),
        namespace="own",
        dist="own-dist",
        version="1.0",
    )
    assert repr(component) == "Component(sampler 'own/odd' of own-dist 1.0)"
    html = component._repr_html_()
    assert "sampler own/odd</strong> of own-dist 1.0" in html
    assert ["target", "a.b:C"] in cells(html)
    assert ["capabilities", "reshuffles"] in cells(html)
    assert SCRIPT not in html


def test_the_problems_of_a_config_are_a_table():
    problems = [Problem("a.b", SCRIPT, 3), Problem("c", "missing; it is required")]
    html = ConfigError(problems, origin="c.toml")._repr_html_()
    assert "ConfigError</strong> 2 problems of c.toml" in html
    assert cells(html) == [
        ["a.b", "&lt;script&gt;alert(1)&lt;/script&gt;", "line 3"],
        ["c", "missing; it is required", ""],
    ]


def test_an_error_shows_its_text_and_notes():
    error = DataError(SCRIPT)
    error.add_note("at record 7")
    html = error._repr_html_()
    assert "&lt;script&gt;" in html
    assert "<p>at record 7</p>" in html
    assert SCRIPT not in html
    assert "record 2 of the window: too long" in RecordError(2, "too long")._repr_html_()


def test_what_is_long_is_cut():
    many = ConfigError([Problem(f"field{n}", "x" * 10_000) for n in range(1000)])
    assert len(repr(many)) < 300
    assert len(many._repr_html_()) < 60_000
    assert "and 950 more" in many._repr_html_()
    wide = step_of({f"field{n}": np.zeros(3) for n in range(1000)})
    assert "and 950 more" in wide._repr_html_()


def test_short_texts_of_specs_options_and_records():
    assert repr(LeafSpec((None, 3), np.dtype("uint8"))) == "uint8[?, 3]"
    assert repr(LeafSpec((), np.dtype(object))) == "object[]"
    source = feedrace.create("source", "memory", data=DATA)
    shown = "MemorySource(data={image: uint8[20, 4, 4], label: int32[20]})"
    assert repr(all_records(source)) == f"AllRecords({shown}, stages=())"
    options = pipeline()._parts.options
    assert repr(options).startswith("PipelineOptions(source=MemorySource(")
    assert "stall_seconds" not in repr(options)


def test_nothing_of_it_is_imported_before_a_notebook_asks():
    code = (
        "import sys, feedrace\n"
        "feedrace.available()\n"
        "import feedrace.pipeline.pipeline\n"
        "names = ('feedrace.notebook', 'feedrace.registry.html', 'feedrace.pipeline.html')\n"
        "print([name for name in names if name in sys.modules], 'tqdm' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] False\n"
