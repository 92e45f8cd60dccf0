"""`feedrace run`: iterate a pipeline and report what came."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, nullcontext
from itertools import islice
from typing import Any

import click

from feedrace.cli.output import (
    batcher_of,
    config_argument,
    echo,
    json_option,
    print_json,
    report_errors,
    spec_texts,
)
from feedrace.errors import NotInstalledError, install_line
from feedrace.host.progress import progress
from feedrace.protocols import CountedAtLeast, Filling, provides

Report = dict[str, dict[str, Any]]  # by stream
_SHORT = 0.05  # seconds after the first step that show nothing


@click.command()
@config_argument
@click.option("--steps", type=click.IntRange(min=1), help="Stop after this many steps.")
@click.option("--metrics-port", type=int, help="Serve Prometheus metrics at this port meanwhile.")
@click.option("--trace", type=click.Path(dir_okay=False), help="Write a trace for Perfetto here.")
@json_option
@report_errors
def run(
    config: str, steps: int | None, metrics_port: int | None, trace: str | None, as_json: bool
) -> None:
    """Iterate a pipeline for one pass and report what came, and how fast.

    XLA compiles while the first step of a stream is made: its seconds are shown apart, and the
    rates and the advice leave it out.
    """
    from feedrace.pipeline.assemble import load

    pipeline = load(config)
    if metrics_port is not None:
        _serve_metrics(pipeline, metrics_port)
    report: Report = {}
    after_first: dict[str, Any] = {}
    least = "" if steps else _least(pipeline)
    began = time.perf_counter()
    with (
        pipeline.traced(trace) if trace else nullcontext(),
        closing(pipeline.steps()) as made,
        progress("run", steps or _length(pipeline), "steps") as advance,
    ):
        for step in _timed(
            islice(made, steps), report, lambda: after_first.update(pipeline.stats())
        ):
            advance(1, f"{step.stream} update {step.update}{least}")
    elapsed = time.perf_counter() - began
    stats = pipeline.stats()
    later = _advice(stats, after_first)
    for stream, row in report.items():
        _complete(row, pipeline, stream)
    if as_json:
        document = {"config": config, "elapsed_s": round(elapsed, 6), "streams": report}
        print_json({**document, "stats": stats, "advice": later})
        return
    click.echo(f"{elapsed:.3f} s in all")
    for stream, row in report.items():
        echo(
            f"{stream}: {row['steps']} steps, {row['records']} records, "
            f"{row['records_per_s']:,.0f} records/s, {row['waiting_s']:.3f} s waiting for data, "
            f"{row['first_s']:.3f} s of them for the first step, which XLA compiles"
        )
        if "fill" in row:
            click.echo(f"  {row['fill']:.2%} of the positions of its sequences hold data")
        for field, text in row["batch"].items():
            click.echo(f"  {field}: {text}")
    parts = {part: value for part, value in stats["seconds"].items() if value >= 0.0005}
    echo("seconds: " + ", ".join(f"{part} {value:.3f}" for part, value in parts.items()))
    for name, worker in stats["workers"].items():
        shares = ("works {work:.0%}, waits for input {input:.0%}, for room {room:.0%}").format(
            **worker
        )
        # Workers load windows whole: only the thread that makes batches of them counts steps.
        what = "steps" if name == "batches" or not _is_windowed(pipeline) else "steps or windows"
        echo(f"{name}: {worker['steps']} {what}, {shares}")
    echo(later)


def _is_windowed(pipeline: Any) -> bool:
    """Return whether a stream has batches of windows of records."""
    from feedrace.plan.windows import WindowPlan

    return any(isinstance(plan, WindowPlan) for plan in pipeline.plans.values())


def _length(pipeline: Any) -> int | None:
    """Return the number of steps in a pass; None if only reading the records shows it."""
    try:
        return len(pipeline)
    except TypeError:
        return None


def _least(pipeline: Any) -> str:
    """Return how many steps a pass has at least, in words, if that is all that is known."""
    if _length(pipeline) is not None or not provides(pipeline.scheduler, CountedAtLeast):
        return ""
    least = pipeline.scheduler.least_steps_per_pass(pipeline.plans)
    return "" if least is None else f"; at least {least} step{'s' * (least != 1)} in all"


def _timed(steps: Iterable[Any], report: Report, after_first: Callable[[], None]) -> Iterator[Any]:
    """Yield each step, after counting in `report` what came and how long it took.

    after_first: called after the first step of all, and after the first one that trains.
    """
    from feedrace.plan.steps import TRAIN

    asked = time.perf_counter()
    for step in steps:
        await_batch(step)
        took = time.perf_counter() - asked
        if not report or (step.stream == TRAIN and TRAIN not in report):
            after_first()
        first = {"first_records": len(step.indices), "first_s": took}
        zeros = {"steps": 0, "records": 0, "waiting_s": 0.0}
        row = report.setdefault(step.stream, zeros | first)
        row["steps"] += 1
        row["records"] += len(step.indices)
        row["waiting_s"] += took
        yield step
        asked = time.perf_counter()


def await_batch(step: Any) -> None:
    """Return when the batch of a step is on the device, with all that its stages compute."""
    import jax

    jax.block_until_ready([x for x in jax.tree.leaves(step.batch) if hasattr(x, "devices")])


def _advice(stats: dict[str, Any], after_first: dict[str, Any]) -> str:
    """Return the advice on what followed the first step, from the statistics after it."""
    from feedrace.host.timing import advice

    if stats["steps"] < 2:
        return "One step shows nothing of the speed, since XLA compiles in it."
    before = after_first["seconds"]
    seconds = {part: value - before[part] for part, value in stats["seconds"].items()}
    whole = seconds["waiting"] + seconds["training"]
    if whole < _SHORT:
        return f"{whole * 1e3:.1f} ms after the first step are too few to show what limits a run."
    return advice({**stats, "seconds": seconds, "input_bound": seconds["waiting"] / whole})


def _complete(row: dict[str, Any], pipeline: Any, stream: str) -> None:
    """Add what the sums of a stream's row show; a stream's rate counts its own time alone."""
    first = row.pop("first_records")
    later, rest = row["waiting_s"] - row["first_s"], row["records"] - first
    row["records_per_s"] = round(rest / later if rest else first / row["first_s"], 1)
    row |= {name: round(row[name], 6) for name in ("waiting_s", "first_s")}
    batcher = batcher_of(pipeline, stream)
    if provides(batcher, Filling) and batcher.fill is not None:
        row["fill"] = round(batcher.fill, 4)
    row["batch"] = spec_texts(pipeline.batch_specs(stream))


def _serve_metrics(pipeline: Any, port: int) -> None:
    try:
        from prometheus_client import start_http_server

        from feedrace.integrations.prometheus import export_metrics
    except ModuleNotFoundError as error:
        message = "--metrics-port needs prometheus-client, which is not installed"
        raise NotInstalledError(message, fix=install_line("prometheus")) from error
    export_metrics(pipeline)
    start_http_server(port)
