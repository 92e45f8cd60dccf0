"""`feedrace verify-resume`: stop and resume a pipeline, and compare."""

import attrs
import click

from feedrace.cli.output import config_argument, json_option, print_json, report_errors


@click.command("verify-resume")
@config_argument
@click.option("--stops", type=click.IntRange(min=1), default=3, help="How often to stop.")
@click.option("--steps", type=click.IntRange(min=2), help="Run this many steps instead of a pass.")
@click.option("--seed", type=int, default=0, help="Draws the steps at which to stop.")
@json_option
@report_errors
def verify_resume(config: str, stops: int, steps: int | None, seed: int, as_json: bool) -> None:
    """Check that a run that is stopped and resumed in new processes serves what one run serves."""
    from feedrace.pipeline.verify import verify_resume as verify

    verdict = verify(config, stops=stops, steps=steps, seed=seed)
    if as_json:
        print_json(attrs.asdict(verdict))
    else:
        places = ", ".join(map(str, verdict.stops))
        click.echo(f"{verdict.steps} steps, {verdict.records} records; stopped after {places}")
        click.echo(verdict.difference or "nothing lost, nothing repeated, same contents")
    if verdict.difference:
        raise SystemExit(1)
