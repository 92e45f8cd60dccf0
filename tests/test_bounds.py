"""Numbers that no run meets are problems of the config, at their path, before anything is made."""

import pytest

from feedrace.errors import ConfigError
from feedrace.pipeline.options import parse_options

MEMORY = {"use": "memory", "data": {"x": [1, 2], "tokens": [[1], [1, 2]]}}
LARGEST, AXIS = 2**63 - 1, 2**31 - 1


def sampler(use, **fields):
    return lambda number, field: {"sampler": {"use": use, **fields, field: number}}


def batcher(use, **fields):
    return lambda number, field: {"batcher": {"use": use, "fields": ["x"], **fields, field: number}}


def callback(number, field):
    made = {"stream": "test", "source": MEMORY, "batch_size": 1, field: number}
    if "every" not in field:
        made["every_n_updates"] = 1
    return {"scheduler": {"use": "interleaved", "callbacks": [made]}}


@pytest.mark.parametrize(
    ("field", "path", "most", "options"),
    [
        ("num_epochs", "sampler.num_epochs", LARGEST, sampler("sequential")),
        ("num_epochs", "sampler.num_epochs", LARGEST, sampler("epoch-aware")),
        ("num_records", "sampler.num_records", LARGEST, sampler("shuffle")),
        ("epoch_size", "sampler.epoch_size", LARGEST, sampler("mixture", sizes=[2])),
        ("sizes", r"sampler.sizes\[1\]", LARGEST, lambda n, f: sampler("mixture")([1, n], f)),
        ("block_size", "sampler.block_size", LARGEST, sampler("block-shuffle")),
        ("window_blocks", "sampler.window_blocks", LARGEST, sampler("block-shuffle")),
        ("stride", "sampler.stride", LARGEST, sampler("sliding-window", window_size=1)),
        ("window_size", "sampler.window_size", AXIS, sampler("sliding-window")),
        ("step", "sampler.step", LARGEST, sampler("range")),
        ("stop", "sampler.stop", LARGEST, sampler("range")),
        ("num_classes", r"stages\[0\].num_classes", AXIS,
         lambda n, f: {"stages": [{"use": "one-hot", "field": "x", f: n}]}),
        ("boundaries", r"batcher.boundaries\[1\]", AXIS, lambda n, f: batcher("bucket")([1, n], f)),
        ("max_segments", "batcher.max_segments", AXIS, batcher("pack", fields={"tokens": 4})),
        ("fields", "batcher.fields.tokens", AXIS,
         lambda n, f: batcher("pack")({"tokens": n}, f)),
        ("fields", "batcher.fields.tokens", AXIS,
         lambda n, f: batcher("multi-rate")({"tokens": n}, f)),
        ("every_n_updates", r"scheduler.callbacks\[0\].every_n_updates", LARGEST, callback),
        ("every_n_samples", r"scheduler.callbacks\[0\].every_n_samples", LARGEST, callback),
        ("every_n_epochs", r"scheduler.callbacks\[0\].every_n_epochs", LARGEST, callback),
        ("batch_size", r"scheduler.callbacks\[0\].batch_size", AXIS, callback),
        ("batch_size", "batch_size", AXIS, lambda n, f: {f: n}),
        ("prefetch", "prefetch", LARGEST, lambda n, f: {f: n}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("beyond", [1, 10**5000], ids=["little", "much"])
def test_a_number_beyond_its_bound_is_a_problem_at_its_path(field, path, most, options, beyond):
    limits = rf"is not an int from -?\d+ to {most}|is neither from 1 to {most}"
    with pytest.raises(ConfigError, match=rf"^{path}: .* ({limits})") as caught:
        parse_options({"source": MEMORY, "batch_size": 1, **options(most + beyond, field)})
    assert len(str(caught.value)) < 1000
