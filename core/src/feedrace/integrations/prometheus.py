"""A pipeline's figures for Prometheus: needs `pip install 'feedrace[prometheus]'`."""

import weakref
from collections.abc import Iterator
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from feedrace.errors import ConfigError, Problem
from feedrace.pipeline.pipeline import Pipeline


class PipelineCollector(Collector):  # type: ignore[misc]
    """Tells what `Pipeline.stats()` tells, whenever it is asked; nothing is added to a step."""

    def __init__(self) -> None:
        self.pipelines: weakref.WeakValueDictionary[str, Pipeline] = weakref.WeakValueDictionary()

    def collect(self) -> Iterator[Any]:
        """Yield the metrics of the pipelines that are still there."""
        every = {name: pipeline.stats() for name, pipeline in self.pipelines.items()}
        for figure, what in (("steps", "Steps handed out."), ("records", "Records handed out.")):
            counter = CounterMetricFamily(f"feedrace_{figure}", what, labels=["pipeline"])
            for name, stats in every.items():
                counter.add_metric([name], stats[figure])
            yield counter
        seconds = CounterMetricFamily(
            "feedrace_seconds", "Seconds spent in each part.", labels=["pipeline", "part"]
        )
        for name, stats in every.items():
            for part, value in stats["seconds"].items():
                seconds.add_metric([name, part], value)
        yield seconds
        for figure, what in (
            ("queue_depth", "Batches ready when the last one was asked for."),
            ("input_bound", "Share of the time that training waited for a batch."),
        ):
            gauge = GaugeMetricFamily(f"feedrace_{figure}", what, labels=["pipeline"])
            for name, stats in every.items():
                gauge.add_metric([name], stats[figure])
            yield gauge


_collectors: "weakref.WeakKeyDictionary[CollectorRegistry, PipelineCollector]"
_collectors = weakref.WeakKeyDictionary()


def export_metrics(
    pipeline: Pipeline, *, name: str = "train", registry: CollectorRegistry = REGISTRY
) -> PipelineCollector:
    """Have a registry tell the pipeline's figures, and return the collector that does so.

    name: tells pipelines of one process apart, as the label `pipeline`.

    A registry has one collector for all pipelines; `registry.unregister` takes it back. The metrics
    are `feedrace_steps_total`, `feedrace_records_total`, `feedrace_seconds_total` (by `part`),
    `feedrace_queue_depth` and `feedrace_input_bound`. Raises `ConfigError` for a name that another
    pipeline has.
    """
    collector = _collectors.get(registry)
    if collector is None:
        collector = _collectors[registry] = PipelineCollector()
        registry.register(collector)
    if collector.pipelines.get(name, pipeline) is not pipeline:
        said = f"{name!r} is another pipeline's already; give each a name of its own"
        raise ConfigError([Problem("name", said)])
    collector.pipelines[name] = pipeline
    return collector
