"""`feedrace precompute`: make ahead what the sources of a config keep."""

import time
from typing import Any

import click

from feedrace.cli.output import (
    config_argument,
    echo,
    job_options,
    json_option,
    print_json,
    report_errors,
)
from feedrace.protocols import Detailed, Precomputing, provides


@click.command()
@config_argument
@job_options
@json_option
@report_errors
def precompute(
    config: str,
    workers: int | None,
    runner: str | None,
    runner_option: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make ahead what the sources of a config keep: records of caches, tables of filters.

    What is there already is not made again, so that the command goes on if it was stopped.
    """
    from feedrace.pipeline.assemble import load
    from feedrace.pipeline.kept import JobRun, jobs_run

    began = time.perf_counter()
    made: dict[str, Any] = {}
    with jobs_run(JobRun(workers=workers, runner=runner, runner_options=runner_option)):
        components = load(config).components()
        built = time.perf_counter() - began
        sources = {id(source): (path, source) for path, (kind, source) in components.items()
                   if kind == "source" and provides(source, Precomputing)}  # fmt: skip
        for path, source in sources.values():
            began = time.perf_counter()
            source.precompute()
            seconds = round(time.perf_counter() - began, 3)
            details = source.details() if provides(source, Detailed) else []
            made[path] = {"records": len(source), "seconds": seconds, "details": details}
    if as_json:
        print_json({"config": config, "build_s": round(built, 3), "sources": made})
        return
    click.echo(f"built in {built:.1f} s, with the tables that this needs")
    for path, one in made.items():
        click.echo(f"{path}: {one['records']:,} records in {one['seconds']:.1f} s")
        for sentence in one["details"]:
            echo(f"  {sentence}")
    if not made:
        click.echo("no source of this config keeps records; there is nothing more to make")
