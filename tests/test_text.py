"""Text in batches: the configs of the page on text, with workers of every kind, and resumed."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import feedrace
from feedrace.errors import StateError

tokenizers = pytest.importorskip("tokenizers")

ROOT = Path(__file__).parents[1]
TEXTS = ["Feed the mill.", "Grüße", "A race is a channel."]
WORKERS = [0, 2, {"kind": "process", "count": 2}]


@pytest.fixture
def tokenizer_json(tmp_path, monkeypatch):
    """A tokenizer whose tokens are characters and <s>, which comes before each text."""
    vocabulary = {"<s>": 0, **{c: i for i, c in enumerate(sorted(set("".join(TEXTS))), 1)}}
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    path = tmp_path / "tokenizer.json"
    made.save(str(path))
    monkeypatch.setenv("MODEL", str(tmp_path))
    return path


def configs_of_the_page(folder):
    """Return the paths of the page's configs, written into a folder."""
    blocks = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/text.md").read_text(), re.DOTALL)
    paths = []
    for i, block in enumerate(blocks):
        paths.append(folder / f"{i}.toml")
        paths[-1].write_text(block)
    return paths


def test_the_configs_of_the_page_run(tokenizer_json, tmp_path):
    packed, bucketed = configs_of_the_page(tmp_path)
    batches = list(feedrace.load(packed))
    texts = {
        bytes(np.asarray(row - 3, np.uint8)[(segments == n) & (row != 1)].tobytes()).decode()
        for batch in batches
        for row, segments in zip(
            np.asarray(batch["tokens"]), np.asarray(batch["tokens_segmentation"]), strict=True
        )
        for n in range(1, segments.max() + 1)
    }
    assert texts == set(TEXTS)
    rows = [
        np.asarray(ids)[np.asarray(mask)].tolist()
        for batch in feedrace.load(bucketed)
        for ids, mask, valid in zip(
            batch["text"], batch["text_mask"], batch["valid_mask"], strict=True
        )
        if valid
    ]
    tokenizer = tokenizers.Tokenizer.from_file(str(tokenizer_json))
    assert sorted(rows) == sorted(tokenizer.encode(text).ids for text in TEXTS)


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
