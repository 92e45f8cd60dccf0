"""What the commands share: errors without a traceback, JSON, findings, specs as text."""

import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from contextlib import nullcontext, redirect_stdout
from functools import reduce, wraps
from typing import Any

import attrs
import click

from feedrace.errors import ConfigError, FeedraceError, text_of
from feedrace.registry.component import Component
from feedrace.registry.records import Health

_OUT = "feedrace.stdout"  # of a command, in the `meta` of its context
json_option = click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
config_argument = click.argument("config", type=click.Path(exists=True, dir_okay=False))
_JOB_OPTIONS = (
    click.option("--workers", type=click.IntRange(min=0), help="Processes; by default as needed."),
    click.option("--runner", help="Run on Apache Beam, on this runner, such as DirectRunner."),
    click.option("--runner-option", multiple=True, help="A flag for Beam, such as --project=mine."),
)


def job_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of jobs: `workers`, `runner` and `runner_option`, a tuple."""
    return reduce(lambda made, option: option(made), reversed(_JOB_OPTIONS), command)


def report_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Make a command end with the message of a Feedrace or file error, without a traceback.

    With `--json` the command prints what `error_document` returns; what is printed other than by
    `print_json` goes to stderr then, since what a plugin or a stage prints is no JSON.
    """

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        as_json = bool(kwargs.get("as_json"))
        click.get_current_context().meta[_OUT] = sys.stdout
        try:
            with redirect_stdout(sys.stderr) if as_json else nullcontext():
                command(*args, **kwargs)
        except BrokenPipeError:  # click ends quietly if nobody reads on
            raise
        except (FeedraceError, OSError) as error:
            if as_json:
                print_json(error_document(error))
                raise SystemExit(1) from error
            raise click.ClickException(text_of(error)) from error

    return wrapped


def print_json(document: Any, *, default: Callable[[Any], Any] | None = None) -> None:
    """Print a document on one line of stdout, in a command with `report_errors`."""
    out = click.get_current_context().meta[_OUT]
    click.echo(json.dumps(document, default=default), file=out)


def error_document(error: BaseException) -> dict[str, Any]:
    """Return an error for JSON: its type, message and fix, and a config's problems."""
    document = {
        "error": type(error).__name__,
        "message": text_of(error),
        "fix": getattr(error, "fix", ""),
    }
    if isinstance(error, ConfigError):
        document["problems"] = [problem._asdict() for problem in error.problems]
    return document


def spec_texts(specs: Sequence[Any]) -> dict[str, str]:
    """Return `dtype[shape]` of each leaf by its path; joined by "or" if the specs differ."""
    import jax

    texts: dict[str, dict[str, None]] = {}  # each text once, in order
    for spec in specs:
        for path, leaf in jax.tree_util.tree_leaves_with_path(spec):
            field = jax.tree_util.keystr(path, simple=True, separator=".")
            texts.setdefault(field, {})[f"{leaf.dtype}{list(leaf.shape)}"] = None
    return {field: " or ".join(known) for field, known in texts.items()}


def batcher_of(pipeline: Any, stream: str) -> Any:
    """Return the batcher of a stream, or None."""
    from feedrace.plan.steps import TRAIN

    path = "batcher" if stream == TRAIN else f"{stream}.batcher"
    return pipeline.components().get(path, (None, None))[1]


def short(value: Any) -> str:
    """Return a value in at most 60 characters, an array by its shape."""
    text = repr(value) if not hasattr(value, "shape") else f"array{list(value.shape)}"
    return text if len(text) <= 60 else text[:57] + "..."


def echo(text: str, indent: int = 2) -> None:
    """Print a line, wrapped to the width of the terminal if it is one."""
    width = _width()
    if width is not None and len(text) > width:
        hanging = {"subsequent_indent": " " * indent, "break_on_hyphens": False}
        text = textwrap.fill(text, width, break_long_words=False, **hanging)  # type: ignore[arg-type]
    click.echo(text)


def echo_table(rows: Sequence[Sequence[str]], narrow: Sequence[int]) -> None:
    """Print rows in columns, the last one wrapped to the width of the terminal if it is one.

    narrow: the columns that are left if all of them leave too little room for the last.
    """
    width, columns = _width(), range(len(rows[0]) if rows else 0)
    if width is not None and sum(_widths(rows, columns)[:-1]) > width // 2:
        columns = narrow  # type: ignore[assignment]
    for row in rows:
        widths = _widths(rows, columns)[:-1]
        *cells, last = (row[column] for column in columns)
        line = "".join(cell.ljust(wide) for cell, wide in zip(cells, widths, strict=True))
        echo(line + last, sum(widths))


def _widths(rows: Sequence[Sequence[str]], columns: Sequence[int]) -> list[int]:
    return [max(len(row[column]) for row in rows) + 2 for column in columns]


def _width() -> int | None:
    """Return the width of the terminal, None if the output goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def print_findings(findings: Sequence[Health], as_json: bool) -> None:
    """Print findings; exit with status 1 unless all are ok."""
    if as_json:
        print_json([attrs.asdict(finding) for finding in findings])
    else:
        for finding in findings:
            echo(f"{'ok ' if finding.ok else 'BAD'} {finding.subject}: {finding.detail}", 4)
            if finding.fix:
                click.echo(f"      fix: {finding.fix}")
    if not all(finding.ok for finding in findings):
        raise SystemExit(1)


def as_row(component: Component) -> dict[str, Any]:
    """Return what a component's declaration says; nothing of it is imported."""
    plain = ("kind", "name", "reference", "summary", "dist", "version", "deprecated")
    return {field: getattr(component, field) for field in plain} | {
        "target": str(component.target),
        "config": None if component.config is None else str(component.config),
        "aliases": list(component.aliases),
        "capabilities": sorted(component.capabilities),
    }


def complete_reference(ctx: Any, param: Any, incomplete: str) -> list[str]:
    """Return the references that begin like this, for the shell's completion."""
    from feedrace.cli import quiet
    from feedrace.registry.listing import references

    quiet()
    known = references(ctx.params.get("kind"))
    return [reference for reference in known if reference.startswith(incomplete)]
