"""What notebooks show of all installed components."""

import pytest

import feedrace
from feedrace.plugin import Configured

CLASSES = [c for c in feedrace.available() if isinstance(c.target, str)]


@pytest.mark.parametrize("component", CLASSES, ids=lambda c: c.reference)
def test_every_component_of_ours_has_a_short_repr_and_html(component):
    if component.dist == "feedrace-tfds":
        pytest.importorskip("tensorflow_datasets")
    target = component.load_target()
    assert not isinstance(target, type) or issubclass(target, Configured)
    assert not isinstance(target, type) or target.__repr__ is not object.__repr__


def test_ipython_shows_the_html():
    formatters = pytest.importorskip("IPython.core.formatters")
    pipeline = feedrace.build(
        {"source": {"use": "memory", "data": {"x": [1, 2, 3]}}, "batch_size": 2}
    )
    shown = [pipeline, next(iter(pipeline.steps())), *feedrace.available("sampler")[:1]]
    shown += [part for _, part in pipeline.components().values()]
    shown += [feedrace.errors.DataError("wrong")]
    for one in shown:
        bundle, _ = formatters.DisplayFormatter().format(one)
        assert bundle["text/html"].startswith("<div><strong>")
        assert bundle["text/plain"] == repr(one)
