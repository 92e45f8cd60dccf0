"""`feedrace describe`: what a config would build."""

import json
from typing import Any

import click

from feedrace import registry
from feedrace.cli.output import (
    batcher_of,
    config_argument,
    errors_told,
    json_option,
    short,
    spec_texts,
)


@click.command()
@config_argument
@json_option
@errors_told
def describe(config: str, as_json: bool) -> None:
    """Show what a config would build; no record is read, but a dataset may be prepared."""
    from feedrace.pipeline.assemble import load

    pipeline = load(config)
    parts: list[dict[str, Any]] = []
    for path, (kind, value) in pipeline.components().items():
        component = registry.component_of(kind, value)
        fields = {k: v for k, v in registry.describe(kind, value).items() if k != "use"}
        parts.append(
            {
                "path": path,
                "kind": kind,
                "name": component.reference,
                "dist": component.dist,
                "version": component.version,
                "target": str(component.target),
                "config": fields,
                "details": value.details() if hasattr(value, "details") else [],
            }
        )
    streams = {name: _stream(pipeline, name) for name in pipeline.plans}
    draw = getattr(pipeline.scheduler, "timeline", None)
    timeline: list[str] = [] if draw is None else draw(pipeline.plans)
    if as_json:
        document = {"components": parts, "streams": streams, "timeline": timeline}
        click.echo(json.dumps(document, default=short))
        return
    for part in parts:
        shown = ", ".join(f"{key}={short(value)}" for key, value in part["config"].items())
        click.echo(
            f"{part['path']}: {part['name']} ({part['dist']} {part['version']})  {shown}".rstrip()
        )
        for sentence in part["details"]:
            click.echo(f"  {sentence}")
    for name, stream in streams.items():
        passes = "endless" if stream["epochs_per_pass"] is None else stream["epochs_per_pass"]
        if stream["window_size"] is None:
            steps = f"{stream['steps_per_epoch']} steps of {stream['batch_size']} per epoch"
        else:
            steps = (
                f"{stream['windows_per_epoch']} windows of {stream['window_size']} records per "
                f"epoch, in batches of {stream['batch_size']}"
            )
        click.echo(
            f"{name}: {stream['records_per_epoch']} records, {steps}, epochs in a pass: {passes}"
        )
        for field, text in stream["batch"].items():
            click.echo(f"  {field}: {text}")
    for line in timeline:
        click.echo(line)


def _stream(pipeline: Any, name: str) -> dict[str, Any]:
    """Return what there is to tell of a stream.

    How many steps a batcher makes that works in windows is not known before the records are read.
    """
    from feedrace.host.records import VALID_MASK
    from feedrace.protocols import Grouping, provides

    plan, specs = pipeline.plans[name], pipeline.batch_specs(name)
    (batch_size,) = specs[-1][VALID_MASK].shape
    windowed = provides(batcher_of(pipeline, name), Grouping)
    return {
        "records_per_epoch": plan.records_per_epoch,
        "batch_size": batch_size,
        "steps_per_epoch": None if windowed else plan.batches_per_epoch,
        "window_size": plan.batch_size if windowed else None,
        "windows_per_epoch": plan.batches_per_epoch if windowed else None,
        "epochs_per_pass": plan.epochs,
        "batch": spec_texts(specs),
    }
