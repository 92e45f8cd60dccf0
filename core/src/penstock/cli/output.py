"""What the commands have in common: errors told without a traceback, and JSON."""

import json
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from penstock.errors import ConfigError, PenstockError

json_option = click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
config_argument = click.argument("config", type=click.Path(exists=True, dir_okay=False))


def errors_told(command: Callable[..., None]) -> Callable[..., None]:
    """End a command with the message of a Penstock or file error, without a traceback.

    With `--json` it is a document `{"error": ..., "message": ..., "mend": ..., "problems": ...}`.
    """

    @wraps(command)
    def told(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (PenstockError, OSError) as error:
            if kwargs.get("as_json"):
                click.echo(json.dumps(error_document(error)))
                raise SystemExit(1) from error
            notes = getattr(error, "__notes__", [])
            raise click.ClickException("\n".join([str(error), *notes])) from error

    return told


def error_document(error: BaseException) -> dict[str, Any]:
    """Return an error as JSON: its type, its message, its cure, and a config's problems."""
    document = {
        "error": type(error).__name__,
        "message": "\n".join([str(error), *getattr(error, "__notes__", [])]),
        "mend": getattr(error, "mend", ""),
    }
    if isinstance(error, ConfigError):
        document["problems"] = [problem._asdict() for problem in error.problems]
    return document


def spec_texts(spec: Any) -> dict[str, str]:
    """Return `dtype[shape]` of each leaf of a spec, by its path."""
    import jax

    return {
        jax.tree_util.keystr(path, simple=True, separator="."): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(spec)
    }


def short(value: Any) -> str:
    """Return a value in at most 60 characters, an array by its shape."""
    text = repr(value) if not hasattr(value, "shape") else f"array{list(value.shape)}"
    return text if len(text) <= 60 else text[:57] + "..."
