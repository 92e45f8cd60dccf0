"""`penstock describe`: what a config would build."""

import json
from typing import Any

import click

from penstock import registry
from penstock.cli.output import config_argument, errors_told, json_option, short, spec_texts


@click.command()
@config_argument
@json_option
@errors_told
def describe(config: str, as_json: bool) -> None:
    """Show what a config would build; no record is read, but a dataset may be prepared."""
    from penstock.assemble import load

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
            }
        )
    streams: dict[str, dict[str, Any]] = {
        name: {
            "records_per_epoch": plan.records_per_epoch,
            "batch_size": plan.batch_size,
            "steps_per_epoch": plan.batches_per_epoch,
            "epochs_per_pass": plan.epochs,
            "batch": spec_texts(pipeline.batch_spec(name)),
        }
        for name, plan in pipeline.plans.items()
    }
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
    for name, stream in streams.items():
        passes = "endless" if stream["epochs_per_pass"] is None else stream["epochs_per_pass"]
        click.echo(
            f"{name}: {stream['records_per_epoch']} records, {stream['steps_per_epoch']} steps of "
            f"{stream['batch_size']} per epoch, epochs in a pass: {passes}"
        )
        for field, text in stream["batch"].items():
            click.echo(f"  {field}: {text}")
    for line in timeline:
        click.echo(line)
