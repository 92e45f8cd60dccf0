"""A pipeline's figures for Prometheus: needs `pip install 'feedrace[prometheus]'`."""

import weakref
from collections.abc import Iterator
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from feedrace.errors import ConfigError, Problem
from feedrace.pipeline.pipeline import Pipeline

_FIGURES = (
    (CounterMetricFamily, "steps", "Steps handed out."),
    (CounterMetricFamily, "records", "Records handed out."),
    (GaugeMetricFamily, "queue_depth", "Batches ready when the last one was asked for."),
    (GaugeMetricFamily, "input_bound", "Share of the time that training waited for a batch."),
)


class PipelineCollector(Collector):  # type: ignore[misc]
    """Reports `Pipeline.stats()` at each scrape; nothing is added to a step."""

    def __init__(self) -> None:
        self.pipelines: weakref.WeakValueDictionary[str, Pipeline] = weakref.WeakValueDictionary()

    def collect(self) -> Iterator[Any]:
        """Yield the metrics of the pipelines that still exist."""
        every = {name: pipeline.stats() for name, pipeline in self.pipelines.items()}
        for family, figure, meaning in _FIGURES:
            metric = family(f"feedrace_{figure}", meaning, labels=["pipeline"])
            for name, stats in every.items():
                metric.add_metric([name], stats[figure])
            yield metric
        seconds = CounterMetricFamily(
            "feedrace_seconds", "Seconds spent in each part.", labels=["pipeline", "part"]
        )
        for name, stats in every.items():
            for part, value in stats["seconds"].items():
                seconds.add_metric([name, part], value)
        yield seconds


_collectors: "weakref.WeakKeyDictionary[CollectorRegistry, PipelineCollector]"
_collectors = weakref.WeakKeyDictionary()


def export_metrics(
    pipeline: Pipeline, *, name: str = "train", registry: CollectorRegistry = REGISTRY
) -> PipelineCollector:
    """Export a pipeline's figures through `registry`, and return the collector that yields them.

    name: the label `pipeline`, which distinguishes the pipelines of one process.

    A registry has one collector for all pipelines; `registry.unregister` removes it. The metrics
    are `feedrace_steps_total`, `feedrace_records_total`, `feedrace_seconds_total` (by `part`),
    `feedrace_queue_depth` and `feedrace_input_bound`. Raises `ConfigError` for a name that another
    pipeline has.
    """
    collector = _collectors.get(registry)
    if collector is None:
        collector = _collectors[registry] = PipelineCollector()
        registry.register(collector)
    if collector.pipelines.get(name, pipeline) is not pipeline:
        message = f"{name!r} is another pipeline's already; give each a different name"
        raise ConfigError([Problem("name", message)])
    collector.pipelines[name] = pipeline
    return collector
