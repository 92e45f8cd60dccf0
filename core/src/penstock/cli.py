"""The command `penstock`."""

import json
import sys
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from penstock import registry
from penstock.component import KINDS
from penstock.errors import PenstockError


def _errors_told(command: Callable[..., None]) -> Callable[..., None]:
    """End a command with the message of a Penstock or file error, without a traceback."""

    @wraps(command)
    def told(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (PenstockError, OSError) as error:
            notes = getattr(error, "__notes__", [])
            raise click.ClickException("\n".join([str(error), *notes])) from error

    return told


@click.group()
@click.version_option(package_name="penstock")
def main() -> None:
    """Feed JAX programs from pipelines that a config assembles by name."""


@main.command()
@click.argument("config", type=click.Path(exists=True, dir_okay=False))
@click.option("--steps", type=click.IntRange(min=1), help="Stop after this many steps.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@_errors_told
def run(config: str, steps: int | None, as_json: bool) -> None:
    """Iterate a pipeline for one pass and report what came, how fast."""
    from contextlib import closing

    import jax
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    from penstock.assemble import load

    pipeline = load(config)
    count = getattr(pipeline.scheduler, "steps_per_pass", None)
    total = steps or (None if count is None else count(pipeline.plans))
    report: dict[str, dict[str, Any]] = {}
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn())  # fmt: skip
    with (
        Progress(*columns, console=Console(stderr=True), disable=as_json) as progress,
        closing(pipeline.steps()) as made,
    ):
        task = progress.add_task("train", total=total)
        began = asked = time.perf_counter()
        for done, step in enumerate(made, 1):
            jax.block_until_ready([x for x in jax.tree.leaves(step.batch) if hasattr(x, "devices")])
            waited = time.perf_counter() - asked
            row = report.setdefault(step.stream, {"steps": 0, "records": 0, "waiting_s": 0.0})
            row["steps"] += 1
            row["records"] += len(step.indices)
            row["waiting_s"] += waited
            progress.update(task, advance=1, description=f"{step.stream} update {step.update}")
            if done == steps:
                break
            asked = time.perf_counter()
    elapsed = time.perf_counter() - began
    for stream, row in report.items():
        row["records_per_s"] = round(row["records"] / elapsed, 1)
        row["waiting_s"] = round(row["waiting_s"], 6)
        row["batch"] = _spec_texts(pipeline.batch_spec(stream))
    if as_json:
        shown = {"config": config, "elapsed_s": round(elapsed, 6), "streams": report}
        click.echo(json.dumps(shown))
        return
    click.echo(f"{elapsed:.3f} s in all")
    for stream, row in report.items():
        click.echo(
            f"{stream}: {row['steps']} steps, {row['records']} records, "
            f"{row['records_per_s']:,.0f} records/s, {row['waiting_s']:.3f} s waiting for data"
        )
        for field, text in row["batch"].items():
            click.echo(f"  {field}: {text}")


@main.command()
@click.argument("config", type=click.Path(exists=True, dir_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@_errors_told
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
                "config": fields,
            }
        )
    streams: dict[str, dict[str, Any]] = {
        name: {
            "records_per_epoch": plan.records_per_epoch,
            "batch_size": plan.batch_size,
            "steps_per_epoch": plan.batches_per_epoch,
            "epochs_per_pass": plan.epochs,
            "batch": _spec_texts(pipeline.batch_spec(name)),
        }
        for name, plan in pipeline.plans.items()
    }
    draw = getattr(pipeline.scheduler, "timeline", None)
    timeline: list[str] = [] if draw is None else draw(pipeline.plans)
    if as_json:
        document = {"components": parts, "streams": streams, "timeline": timeline}
        click.echo(json.dumps(document, default=_short))
        return
    for part in parts:
        shown = ", ".join(f"{key}={_short(value)}" for key, value in part["config"].items())
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


@main.group()
def plugins() -> None:
    """Look at the installed plugins."""


@plugins.command("list")
@click.option("--kind", type=click.Choice(KINDS), help="Only components of this kind.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@_errors_told
def list_plugins(kind: str | None, as_json: bool) -> None:
    """List the components that can be named in a config."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # broken plugins are listed below instead
        components = registry.available(kind)
        broken = registry.broken_plugins()
    if as_json:
        rows = [
            {
                "kind": c.kind,
                "name": c.name,
                "reference": c.reference,
                "summary": c.summary,
                "dist": c.dist,
                "version": c.version,
            }
            for c in components
        ]
        failures = {name: str(error) for name, error in broken.items()}
        click.echo(json.dumps({"components": rows, "broken": failures}))
        return
    for c in components:
        version = f"{c.dist} {c.version}"
        click.echo(f"{c.kind:<10}{c.name:<16}{c.reference:<25}{version:<26}{c.summary}")
    for error in broken.values():
        click.echo(f"left out: {error}", err=True)


def _spec_texts(spec: Any) -> dict[str, str]:
    import jax

    return {
        jax.tree_util.keystr(path, simple=True, separator="."): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(spec)
    }


def _short(value: Any) -> str:
    text = repr(value) if not hasattr(value, "shape") else f"array{list(value.shape)}"
    return text if len(text) <= 60 else text[:57] + "..."


if __name__ == "__main__":
    sys.exit(main())
