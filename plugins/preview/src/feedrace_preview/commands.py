"""The command `feedrace preview`."""

from pathlib import Path

import click

from feedrace.plugin import report_errors


@click.command()
@click.argument("config", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False), help="The page; CONFIG.html if left out."
)
@click.option("--terminal", is_flag=True, help="Print the essentials here, and write no page.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    default=2.0,
    show_default=True,
    help="How long to serve batches for the timing.",
)
@report_errors
def preview(config: str, output: str | None, terminal: bool, seconds: float) -> None:
    """Show what a config serves: its parts, the first batch of each stream, the order, the time.

    The page is one file that needs no network. The pipeline is built once for each stage, and
    some batches are read.
    """
    if terminal and output:
        raise click.UsageError("--terminal writes no page; leave out it or --output.")
    from feedrace_preview.gather import gather  # imports JAX

    facts = gather(config, seconds)
    if terminal:
        from feedrace_preview.terminal import lines

        for line in lines(facts):
            click.echo(line)
        return
    from feedrace_preview.page import page

    place = Path(output) if output else Path(config).with_suffix(".html")
    place.write_text(page(facts), encoding="utf-8")
    click.echo(f"written: {place} ({place.stat().st_size / 1024:,.0f} KiB)")
