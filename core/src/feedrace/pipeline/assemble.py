"""From a mapping of names, or a file of one, to a pipeline."""

import os
from collections.abc import Mapping
from typing import Any

from feedrace.config.files import problems_located, read_mapping
from feedrace.errors import ConfigError
from feedrace.pipeline.options import parse_options
from feedrace.pipeline.pipeline import Pipeline


def build(mapping: Mapping[str, Any], *, origin: str = "") -> Pipeline:
    """Return the pipeline that a mapping of names describes.

    origin: where the mapping came from, for error messages.

    Raises `ConfigError` with every problem and its path, before any data is read; and whatever the
    components raise when they are made.
    """
    options = parse_options(mapping, origin)
    try:
        return Pipeline(options)
    except ConfigError as error:
        raise ConfigError(error.problems, origin=origin) from error.__cause__


def load(path: str | os.PathLike[str]) -> Pipeline:
    """Return the pipeline that a TOML, JSON or YAML file describes.

    Raises `ConfigError` if the file does not parse (with line and column) and as `build` does (in
    TOML, with the line of each problem); `OSError` if it cannot be read.
    """
    with problems_located(path):
        return build(read_mapping(path), origin=os.fspath(path))
