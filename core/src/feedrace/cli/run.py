"""`feedrace run`: iterate a pipeline and report what came."""

import json
import time
from typing import Any

import click

from feedrace.cli.output import batcher_of, config_argument, errors_told, json_option, spec_texts


@click.command()
@config_argument
@click.option("--steps", type=click.IntRange(min=1), help="Stop after this many steps.")
@click.option("--metrics-port", type=int, help="Serve Prometheus metrics there meanwhile.")
@json_option
@errors_told
def run(config: str, steps: int | None, metrics_port: int | None, as_json: bool) -> None:
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

    from feedrace.host.timing import advice
    from feedrace.pipeline.assemble import load
    from feedrace.protocols import Grouping, provides

    pipeline = load(config)
    if metrics_port is not None:
        _serve_metrics(pipeline, metrics_port)
    count = getattr(pipeline.scheduler, "steps_per_pass", None)
    if any(provides(batcher_of(pipeline, stream), Grouping) for stream in pipeline.plans):
        count = None  # how many batches a window makes is seen when it is read
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
    stats = pipeline.stats()
    for stream, row in report.items():
        row["records_per_s"] = round(row["records"] / elapsed, 1)
        row["waiting_s"] = round(row["waiting_s"], 6)
        fill = getattr(batcher_of(pipeline, stream), "fill", None)
        if fill is not None:
            row["fill"] = round(fill, 4)
        row["batch"] = spec_texts(pipeline.batch_specs(stream))
    if as_json:
        shown = {
            "config": config,
            "elapsed_s": round(elapsed, 6),
            "streams": report,
            "stats": stats,
            "advice": advice(stats),
        }
        click.echo(json.dumps(shown))
        return
    click.echo(f"{elapsed:.3f} s in all")
    for stream, row in report.items():
        click.echo(
            f"{stream}: {row['steps']} steps, {row['records']} records, "
            f"{row['records_per_s']:,.0f} records/s, {row['waiting_s']:.3f} s waiting for data"
        )
        if "fill" in row:
            click.echo(f"  {row['fill']:.2%} of the positions of its sequences hold data")
        for field, text in row["batch"].items():
            click.echo(f"  {field}: {text}")
    parts = {part: value for part, value in stats["seconds"].items() if value >= 0.0005}
    click.echo("seconds: " + ", ".join(f"{part} {value:.3f}" for part, value in parts.items()))
    click.echo(advice(stats))


def _serve_metrics(pipeline: Any, port: int) -> None:
    try:
        from prometheus_client import start_http_server

        from feedrace.integrations.prometheus import export_metrics
    except ModuleNotFoundError as error:
        raise click.UsageError(
            "--metrics-port needs prometheus-client: pip install 'feedrace[prometheus]'"
        ) from error
    export_metrics(pipeline)
    start_http_server(port)
