"""Text in batches, with workers of every kind, and resumed."""

import json

import numpy as np
import pytest
from tests.page_data import write_tokenizer

import feedrace
from feedrace.errors import StateError

tokenizers = pytest.importorskip("tokenizers")

WORKERS = [0, 2, {"kind": "process", "count": 2}]


@pytest.fixture
def tokenizer_json(tmp_path):
    """The tokenizer of the page on text."""
    write_tokenizer(tmp_path / "tokenizer.json")
    return tmp_path / "tokenizer.json"


def config(stage, batcher, **options):
    texts = [f"text {i} " + "x" * (i * 7 % 23) for i in range(40)]
    return {
        "batch_size": 3,
        "source": {"use": "memory", "data": {"text": texts}},
        "sampler": {"use": "epoch-aware", "num_epochs": 2, "seed": 1},
        "stages": [{"field": "text", "into": "tokens", "keep": False, **stage}],
        "batcher": batcher,
        **options,
    }


PACK = {"use": "pack", "fields": {"tokens": 40}, "window": 2}
BUCKET = {"use": "bucket", "fields": ["tokens"], "boundaries": [16, 40], "window": 2}


@pytest.fixture(params=["byte-tokens", "tokenize"])
def stage(request, tokenizer_json):
    tokenizer = {"tokenizer": str(tokenizer_json)} if request.param == "tokenize" else {}
    return {"use": request.param, **tokenizer}


def shown(step):
    return {name: np.asarray(value).tolist() for name, value in step.batch.items()}


@pytest.mark.parametrize("batcher", [PACK, BUCKET], ids=["pack", "bucket"])
def test_workers_of_every_kind_serve_the_same_batches_and_resume(stage, batcher):
    whole = [shown(step) for step in feedrace.build(config(stage, batcher, workers=0)).steps()]
    assert len(whole) > 4
    for workers in WORKERS[1:]:
        pipeline = feedrace.build(config(stage, batcher, workers=workers))
        steps = pipeline.steps()
        got = [shown(next(steps)) for _ in range(3)]
        state = json.loads(json.dumps(pipeline.get_state()))
        steps.close()
        assert got == whole[:3]
        other = feedrace.build(config(stage, batcher, workers=workers))
        other.set_state(state)
        assert [shown(step) for step in other.steps()] == whole[3:]


def test_another_tokenizer_refuses_the_state_and_a_moved_one_does_not(tokenizer_json, tmp_path):
    def build(path):
        stage = {"use": "tokenize", "tokenizer": str(path)}
        return feedrace.build(config(stage, BUCKET))

    state = build(tokenizer_json).get_state()
    moved = tmp_path / "moved.json"
    moved.write_bytes(tokenizer_json.read_bytes())
    build(moved).set_state(state)
    moved.write_text(tokenizer_json.read_text() + " ")
    with pytest.raises(StateError, match=r"stages\[0\]"):
        build(moved).set_state(state)
