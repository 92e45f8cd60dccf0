"""A pipeline's figures for Prometheus: needs `pip install 'penstock[prometheus]'`."""

import weakref
from collections.abc import Iterator
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from penstock.pipeline import Pipeline


class PipelineCollector(Collector):  # type: ignore[misc]
    """Tells what `Pipeline.stats()` tells, whenever it is asked; nothing is added to a step."""

    def __init__(self, pipeline: Pipeline, name: str) -> None:
        self._pipeline = weakref.ref(pipeline)
        self._name = name

    def collect(self) -> Iterator[Any]:
        """Yield the metrics; none once the pipeline is gone."""
        pipeline = self._pipeline()
        if pipeline is None:
            return
        stats = pipeline.stats()
        for figure, what in (("steps", "Steps handed out."), ("records", "Records handed out.")):
            counter = CounterMetricFamily(f"penstock_{figure}", what, labels=["pipeline"])
            counter.add_metric([self._name], stats[figure])
            yield counter
        seconds = CounterMetricFamily(
            "penstock_seconds", "Seconds spent in each part.", labels=["pipeline", "part"]
        )
        for part, value in stats["seconds"].items():
            seconds.add_metric([self._name, part], value)
        yield seconds
        for figure, what in (
            ("queue_depth", "Batches ready when the last one was asked for."),
            ("input_bound", "Share of the time that training waited for a batch."),
        ):
            gauge = GaugeMetricFamily(f"penstock_{figure}", what, labels=["pipeline"])
            gauge.add_metric([self._name], stats[figure])
            yield gauge


def export_metrics(
    pipeline: Pipeline, *, name: str = "train", registry: CollectorRegistry = REGISTRY
) -> PipelineCollector:
    """Return a collector of the pipeline's figures that is registered already.

    name: tells pipelines of one process apart, as the label `pipeline`.

    `registry.unregister` takes it back. The metrics are `penstock_steps_total`,
    `penstock_records_total`, `penstock_seconds_total` (by `part`), `penstock_queue_depth` and
    `penstock_input_bound`.
    """
    collector = PipelineCollector(pipeline, name)
    registry.register(collector)
    return collector
