"""A pipeline as HTML, for notebooks. Nothing is read, planned or moved for it."""

from typing import Any

import attrs

from feedrace import notebook
from feedrace.config.mapping import shown_fields, shown_values
from feedrace.pipeline.description import batches_text, components_of
from feedrace.pipeline.iteration import Progress
from feedrace.pipeline.options import PipelineOptions
from feedrace.pipeline.streams import Parts
from feedrace.protocols import place_of
from feedrace.registry.html import name_of

_PARTS = {field.name for field in attrs.fields(PipelineOptions) if field.type is Any} - {"sharding"}


def html_of(parts: Parts, progress: Progress) -> str:
    """Return a pipeline's position, streams and parts, and the specs of its batches, as HTML."""
    counters = ", ".join(f"{name} {value}" for name, value in progress.counters.items())
    rows = [
        (
            path,
            *name_of(kind, part),
            place_of(part) if kind == "stage" else "",
            ", ".join(shown_fields(getattr(part, "config", None))),
        )
        for path, (kind, part) in components_of(parts).items()
    ]
    streams = [
        (
            name,
            f"{plan.records_per_epoch:,} records",
            f"{batches_text(plan)} an epoch",
            "endless" if plan.epochs is None else f"epochs in a pass: {plan.epochs}",
        )
        for name, plan in parts.plans.items()
    ]
    options = shown_values(parts.options).items()
    batches = [
        notebook.fold(f"Batches of {name}", notebook.specs(stream.batch_specs()[-1]))
        for name, stream in parts.streams.items()
    ]
    return notebook.page(
        "Pipeline",
        f"at {counters}",
        notebook.table(streams),
        notebook.table(rows, ("part", "component", "of", "runs on", "settings")),
        *batches,
        notebook.fold("Options", notebook.table(row for row in options if row[0] not in _PARTS)),
    )
