"""Batchers together with schedulers and samplers of other plugins."""

import numpy as np
import pytest

from feedrace import build
from feedrace.errors import ConfigError


def test_a_callback_stream_can_have_another_batcher():
    ragged = {"x": [np.arange(n) + 1 for n in (1, 2, 3, 4)]}
    config = {
        "batch_size": 2,
        "source": {"use": "memory", "data": ragged},
        "batcher": {"use": "pack", "fields": {"x": 6}, "window": 1},
        "scheduler": {
            "use": "interleaved",
            "callbacks": [
                {
                    "stream": "valid",
                    "source": {"use": "memory", "data": ragged},
                    "batcher": {"use": "bucket", "fields": ["x"], "boundaries": [2, 4]},
                    "every_n_updates": 1,
                }
            ],
        },
    }
    shapes = {"train": set(), "valid": set()}
    totals = {"train": [], "valid": []}
    for step in build(config).steps():
        shapes[step.stream].add(step.batch["x"].shape)
        totals[step.stream].append(int(step.batch["x"].sum()))
    assert shapes == {"train": {(2, 6)}, "valid": {(2, 2), (2, 4)}}
    assert sum(totals["train"]) == 20
    # An update is a window of two records, so the stream runs after each of two windows.
    assert sum(totals["valid"]) % 20 == 0
    assert len(totals["valid"]) >= 2 * 2


WINDOWS = {"use": "sliding-window", "window_size": 4, "stride": 2}


def test_windows_of_a_sampler_are_sequences_too():
    source = {"use": "memory", "data": {"x": np.arange(10)}}
    batcher = {"use": "bucket", "fields": ["x"], "boundaries": [6], "window": 2}
    pipeline = build({"batch_size": 3, "source": source, "sampler": WINDOWS, "batcher": batcher})
    rows = [row.tolist() for b in pipeline for row in np.asarray(b["x"][b["valid_mask"]])]
    assert sorted(rows) == [[i, i + 1, i + 2, i + 3, 0, 0] for i in (0, 2, 4, 6)]


def test_windows_of_ragged_records_cannot_be_batched():
    source = {"use": "memory", "data": {"x": [np.arange(n) for n in range(1, 11)]}}
    batcher = {"use": "bucket", "fields": ["x"], "boundaries": [10]}
    with pytest.raises(ConfigError, match="a sampler's windows of records that differ in length"):
        build({"batch_size": 3, "source": source, "sampler": WINDOWS, "batcher": batcher})
