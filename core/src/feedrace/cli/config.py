"""`feedrace validate`, `fill` and `schema`: configs checked, completed and described."""

import json
import sys
import tempfile
from pathlib import Path

import click

from feedrace.cli import quiet
from feedrace.cli.output import config_argument, json_option, print_json, report_errors
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
    print_json(document) if as_json else click.echo(f"{config}: good")


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
    mapping = filled(read_options(config))
    if as_json and output is None:
        print_json(mapping)
        return
    _write(
        write_text(mapping, ".json" if as_json else Path(output or config).suffix.lower()), output
    )


@click.command()
@output_option
@click.option("--json", "as_json", is_flag=True, help="On one line.")
@report_errors
def schema(output: str | None, as_json: bool) -> None:
    """Print one JSON Schema for configs, with the components that are installed."""
    from feedrace.pipeline.options import PipelineOptions
    from feedrace.registry.schema import schema as schema_of

    quiet()
    document = schema_of(PipelineOptions)
    if as_json and output is None:
        print_json(document)
        return
    _write(json.dumps(document, indent=None if as_json else 2) + "\n", output)


def _write(text: str, output: str | None) -> None:
    if output is None:
        sys.stdout.write(text)
    else:
        Path(output).write_text(text, encoding="utf-8")
