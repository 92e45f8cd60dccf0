"""What the configs of all sources that read stored records share."""

import os
from typing import Any

import attrs

from feedrace.config.fields import (
    EXPAND,
    IDENTITY,
    MAX_SEED,
    MAX_SIZE,
    Rule,
    StructuralConfig,
    boolean,
    integer,
    one_of,
    path_field,
    string_keys,
)
from feedrace.errors import clipped

_PATH = Rule(
    lambda value: value != () and all(isinstance(one, str) and one for one in _listed(value)),
    lambda value: (
        f"{clipped(value)} is neither a file, folder, pattern or address nor a list of them"
    ),
)
_COLUMNS = Rule(
    lambda value: (
        isinstance(value, tuple)
        and value != ()
        and all(isinstance(name, str) for name in value)
        and len(set(value)) == len(value)
    ),
    "a list of different column names",
    {"minItems": 1, "uniqueItems": True},
    optional=True,
)
_BUDGET = Rule(
    lambda value: (
        integer(0, MAX_SIZE).holds(value) or (isinstance(value, float) and 0 <= value <= 1)
    ),
    lambda value: (
        f"{clipped(value)} is neither a count (an int from 0 to {MAX_SIZE}) nor a share of the "
        f"records (a float from 0.0 to 1.0)"
    ),
    {"minimum": 0, "maximum": MAX_SIZE},
)


def _listed(value: Any) -> Any:
    return value if isinstance(value, tuple) else (value,)


def _as_names(value: Any) -> Any:
    """Return a list as a tuple, and paths as text."""
    if isinstance(value, list | tuple):
        return tuple(map(_as_names, value))
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _as_paths(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(map(_as_paths, value))
    path = _as_names(value)
    return local_path(path) if isinstance(path, str) else path


def local_path(path: str) -> str:
    """Return the path that an address file:///folder/file stands for; any other as it is."""
    return path[len("file://") :] if path[:8].lower() == "file:///" else path


@attrs.frozen(kw_only=True, slots=False)
class StoredConfig(StructuralConfig):
    """What every source that reads stored records needs to know.

    shuffle: shuffle the source's own order, which holds if there is no sampler, differently in each
        epoch.
    seed: chooses that order.
    on_error: what to do with a record that cannot be read or decoded, or for which a record stage
        raises `DataError`: "raise" an error; "skip" it; "substitute" the next good record.
    error_budget: how many different bad records to tolerate: a count, or a share of all records.
    cache_dir: folder for what is kept of the files, such as tables of where records begin; None
        for the user's cache folder.
    storage_options: what fsspec needs for the addresses of files, such as `{"anon": True}`.
    cache_bytes: bytes of remote files to keep in the cache folder, at the most.
    """

    shuffle: bool = attrs.field(default=False, validator=boolean)
    seed: int = attrs.field(default=42, validator=integer(0, MAX_SEED))
    on_error: str = attrs.field(default="raise", validator=one_of("raise", "skip", "substitute"))
    error_budget: int | float = attrs.field(
        default=0.01, validator=_BUDGET, metadata={IDENTITY: False}
    )
    cache_dir: str | None = path_field(default=None)
    storage_options: dict[str, Any] | None = attrs.field(
        default=None, validator=string_keys, hash=False, repr=False, metadata={IDENTITY: False}
    )
    cache_bytes: int = attrs.field(
        default=10 * 2**30, validator=integer(0), metadata={IDENTITY: False}
    )


@attrs.frozen(kw_only=True, slots=False)
class FileConfig(StoredConfig):
    """What every source of files needs to know.

    path: a file, a folder, a pattern such as `data/**/*.csv`, an address such as gs://bucket/folder,
        or a list of these.
    columns: the fields to keep, in this order; None for all.
    """

    path: str | tuple[str, ...] = attrs.field(
        converter=_as_paths, validator=_PATH, metadata={EXPAND: True, IDENTITY: False}
    )
    columns: tuple[str, ...] | None = attrs.field(
        default=None, converter=_as_names, validator=_COLUMNS
    )
