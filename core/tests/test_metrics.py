import gc

import numpy as np
import pytest

from feedrace import Pipeline, create
from feedrace.errors import ConfigError

prometheus_client = pytest.importorskip(
    "prometheus_client", reason="the extra `prometheus` is not installed"
)


def test_prometheus_sees_what_stats_say_and_nothing_once_the_pipeline_is_gone():
    from feedrace.integrations.prometheus import export_metrics

    registry = prometheus_client.CollectorRegistry()
    source = create("source", "memory", data={"x": np.arange(20)})
    pipeline = Pipeline(source=source, batch_size=4)
    export_metrics(pipeline, name="digits", registry=registry)
    list(pipeline)
    other = Pipeline(source=source, batch_size=5)
    export_metrics(other, name="other", registry=registry)
    with pytest.raises(ConfigError, match="name: 'digits' is another pipeline's already"):
        export_metrics(other, name="digits", registry=registry)
    next(iter(other))
    assert registry.get_sample_value("feedrace_steps_total", {"pipeline": "other"}) == 1
    label = {"pipeline": "digits"}
    stats = pipeline.stats()
    assert registry.get_sample_value("feedrace_steps_total", label) == 5
    assert registry.get_sample_value("feedrace_records_total", label) == 20
    waited = registry.get_sample_value("feedrace_seconds_total", {**label, "part": "waiting"})
    assert waited == stats["seconds"]["waiting"] > 0
    assert registry.get_sample_value("feedrace_input_bound", label) == stats["input_bound"]
    del pipeline
    gc.collect()
    assert registry.get_sample_value("feedrace_steps_total", label) is None
