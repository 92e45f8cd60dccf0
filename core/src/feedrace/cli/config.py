"""`feedrace validate`, `fill` and `schema`: configs checked, completed and described."""

import json
import sys
import tempfile
from pathlib import Path

import click

from feedrace.cli import quiet
from feedrace.cli.output import config_argument, json_option, report_errors
from feedrace.errors import ConfigError

output_option = click.option(
    "--output", "-o", type=click.Path(dir_okay=False), help="Write it to this file."
)


@click.command()
@click.argument("config", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@json_option
@report_errors
def validate(config: str, as_json: bool) -> None:
    """Check a config without reading data; show every problem with its path and, in TOML, line.

    With - as CONFIG it reads TOML, or JSON that begins with a brace, from standard input. The exit
    status is 1 if there is a problem.
    """
    from feedrace.pipeline.options import read_options

    quiet()
    if config == "-":
        config = "stdin"
        _check_text(sys.stdin.read())
    else:
        read_options(config)
    document = {"config": config, "problems": []}
    click.echo(json.dumps(document) if as_json else f"{config}: good")


def _check_text(text: str) -> None:
    """Raise `ConfigError` as `read_options` does, for a text that is no file."""
    from feedrace.pipeline.options import read_options

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("stdin.json" if text.lstrip().startswith("{") else "stdin.toml")
        path.write_text(text, encoding="utf-8")
        try:
            read_options(path)
        except ConfigError as error:
            raise ConfigError(error.problems, origin="stdin") from error.__cause__


@click.command()
@config_argument
@output_option
@json_option
@report_errors
def fill(config: str, output: str | None, as_json: bool) -> None:
    """Write a config with every default in it, in the format of the file.

    TOML has no null: a field that is not set becomes a comment there.
    """
    from feedrace.config.files import write_text
    from feedrace.pipeline.options import read_options
    from feedrace.registry import filled

    quiet()
    suffix = ".json" if as_json else Path(output or config).suffix.lower()
    text = write_text(filled(read_options(config)), suffix)
    _write(text, output)


@click.command()
@output_option
@click.option("--json", "as_json", is_flag=True, help="On one line.")
@report_errors
def schema(output: str | None, as_json: bool) -> None:
    """Print one JSON Schema for configs, with the components that are installed."""
    from feedrace.pipeline.options import PipelineOptions
    from feedrace.registry.schema import schema as schema_of

    quiet()
    text = json.dumps(schema_of(PipelineOptions), indent=None if as_json else 2)
    _write(text + "\n", output)


def _write(text: str, output: str | None) -> None:
    if output is None:
        sys.stdout.write(text)
    else:
        Path(output).write_text(text, encoding="utf-8")
