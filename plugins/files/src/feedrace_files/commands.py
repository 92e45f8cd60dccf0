"""The command `feedrace convert`."""

import attrs
import click

from feedrace.plugin import job_options, json_option, print_json, report_errors

_STORAGES = ("array-record", "parquet")


@click.command()
@click.argument("config", type=click.Path(exists=True, dir_okay=False))
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False))
@click.option("--to", type=click.Choice(_STORAGES), required=True, help="What to write.")
@click.option("--shards", type=click.IntRange(min=1), help="Files to write; by size if left out.")
@job_options
@click.option("--overwrite", is_flag=True, help="Replace an earlier conversion in DIR.")
@json_option
@report_errors
def convert(
    config: str,
    folder: str,
    to: str,
    shards: int | None,
    workers: int | None,
    runner: str | None,
    runner_option: tuple[str, ...],
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write what a config's source and record stages give as a data set in DIR.

    Records come in the stored order, each once, whatever the sampler; the batcher and the stages
    that work on batches are left out. DIR appears when every shard was read back and compared.
    Until then they lie in DIR.partial, where the same command goes on if it was stopped.
    """
    from feedrace_files.convert import convert as convert_records  # imports JAX

    made = convert_records(
        config,
        to,
        folder,
        shards=shards,
        workers=workers,
        runner=runner,
        runner_options=runner_option,
        overwrite=overwrite,
        warn=lambda text: click.echo(f"feedrace: {text}", err=True),
    )
    if as_json:
        print_json(attrs.asdict(made))
        return
    shown = f"{made.shards} shard{'s' * (made.shards > 1)}, {made.bytes:,} bytes"
    seconds = f"{made.seconds:.1f} s"
    click.echo(f"{made.records:,} records in {shown}, {seconds}, digest {made.digest}")
    if made.left_out:
        click.echo(f"{made.left_out:,} records could not be read and were left out")
        for text in made.bad[:10]:
            click.echo(f"  {text}")
    click.echo(f"read it with:\n{made.config}", nl=False)
