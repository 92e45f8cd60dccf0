"""Find a dataset on disk, or have TFDS prepare it there."""

import contextlib
import importlib.util
import json
import os
import re
import sys
import tempfile
from typing import Any

import attrs
import tensorflow_datasets as tfds
from tensorflow_datasets.core import read_only_builder
from tensorflow_datasets.core.utils import error_utils

from feedrace.plugin import (
    DataError,
    bars_are_shown,
    clipped,
    did_you_mean,
    install_line,
    is_remote,
    pip_line,
    storage_of,
)
from feedrace_tfds.config import TFDSConfig
from feedrace_tfds.metadata import described_builder
from feedrace_tfds.remote import DOCUMENTS, copy_metadata
from feedrace_tfds.tensorflow_runtime import import_tensorflow

_DIGITS = "feedrace_digits"
# What TFDS raises for a wrong version, config, folder or argument.
_TFDS_ERRORS = (tfds.core.DatasetNotFoundError, AssertionError, OSError, TypeError, ValueError)


def prepared_builder(config: TFDSConfig) -> tuple[Any, str]:
    """Return a TFDS builder of the dataset, prepared first if needed, and the folder of its files.

    Finding a prepared dataset does not need TensorFlow; preparing one does. Raises `DataError` for
    an unknown dataset, and for one that is not prepared and cannot or must not be.
    """
    if config.directory is not None:
        return _described(config.directory.rstrip("/"), config)
    name = str(config.name)
    data_dir = config.data_dir or os.environ.get("TFDS_DATA_DIR") or ""
    at_address = is_remote(data_dir)
    found = _found_at(data_dir.rstrip("/"), config) if at_address else _found(name, config)
    if found is not None:
        return found
    _check_known(name)
    if config.local_files_only:
        folders = [data_dir] if at_address else _data_dirs(config)
        raise DataError(
            f"dataset {name!r} is not prepared in {', '.join(map(str, folders))}, and "
            f"local_files_only forbids preparing it"
        )
    _check_tensorflow(name)
    try:
        import_tensorflow(config.num_threads)
        builder = _code_builder(config, name)
        if not bars_are_shown():
            tfds.disable_progress_bar()
        with contextlib.redirect_stdout(sys.stderr):  # TFDS prints; stdout is the program's own
            print(f"feedrace: preparing {builder.info.full_name} in {builder.data_dir}", flush=True)
            builder.download_and_prepare(**_prepare_arguments(config))
    except _TFDS_ERRORS as error:
        found = None if at_address else _found(name, config)
        if found is None:  # or another process prepared it meanwhile
            raise DataError(f"TFDS cannot prepare dataset {name!r}: {error}") from error
        return found
    return _described(str(builder.data_dir), config)


def _described(folder: str, config: TFDSConfig) -> tuple[Any, str]:
    """Return the builder of the dataset in a folder, which may be at an address, and the folder."""
    if not is_remote(folder):
        missing = [name for name in DOCUMENTS if not os.path.exists(f"{folder}/{name}")]
        if missing:
            raise DataError(
                f"{folder!r} is not a prepared dataset: it holds no {' and no '.join(missing)}; "
                f"give the folder of one version"
            )
        return described_builder(folder, config.trusted_features), folder
    with tempfile.TemporaryDirectory(prefix="feedrace-") as copy:
        copy_metadata(storage_of(config), folder, copy)
        try:
            return _described(copy, config)[0], folder
        except DataError as error:
            raise DataError(str(error).replace(copy, folder)) from error


def _found(name: str, config: TFDSConfig) -> tuple[Any, str] | None:
    """Return the builder of a prepared dataset and its folder, or None if there is none."""
    folder = _folder_of(name, config)
    return None if folder is None else _described(folder, config)


def _found_at(data_dir: str, config: TFDSConfig) -> tuple[Any, str] | None:
    """Return the builder of a dataset that is prepared below an address, and the address of it."""
    if data_dir.startswith(("http:", "https:")):
        raise DataError(
            f"a server of HTTP lists no files, so that {clipped(config.name)} is not found in "
            f"data_dir; give the address of the folder of its version in `directory`"
        )
    base = re.split("[/:]", str(config.name), maxsplit=1)[0]
    with tempfile.TemporaryDirectory(prefix="feedrace-") as copy:
        try:
            copy_metadata(storage_of(config), f"{data_dir}/{base}", f"{copy}/{base}")
        except DataError as error:
            if "does not exist" not in str(error):
                raise
            return None
        folder = _folder_of(str(config.name), attrs.evolve(config, data_dir=copy))
        return None if folder is None else _described(folder.replace(copy, data_dir), config)


def _data_dirs(config: TFDSConfig) -> list[Any]:
    return list(tfds.core.utils.file_utils.list_data_dirs(config.data_dir))


def _folder_of(name: str, config: TFDSConfig) -> str | None:
    """Return the folder of a prepared dataset, or None if there is none."""
    try:  # as `builder_from_files` does, which also reads what it finds
        with error_utils.reraise_with_context(tfds.core.DatasetNotFoundError):
            folder = read_only_builder._find_builder_dir(name, **_where(config))
    except tfds.core.DatasetNotFoundError:
        return None
    except json.JSONDecodeError as error:
        raise DataError(
            f"the .config/metadata.json of dataset {name!r} is damaged ({error}); prepare it again"
        ) from error
    except ValueError as error:
        raise DataError(f"{name!r} is not a TFDS dataset name: {error}") from error
    return None if folder is None else str(folder)


def _where(config: TFDSConfig) -> dict[str, Any]:
    return {} if config.data_dir is None else {"data_dir": config.data_dir}


def _check_known(name: str) -> None:
    base, colon, rest = name.partition("/")[0].partition(":")
    if colon and not rest[:1].isdigit() and rest[:1] != "*":
        return  # a community dataset, "namespace:name", which TFDS looks up itself
    known = [*tfds.list_builders(with_community_datasets=False), _DIGITS]
    if base not in known:
        raise DataError(
            f"TFDS knows no dataset {name!r}{did_you_mean(base, known)}; "
            f"tfds.list_builders() lists all"
        )


def _check_tensorflow(name: str) -> None:
    if not _has_tensorflow():
        raise DataError(
            f"dataset {name!r} is not prepared yet, and TFDS needs TensorFlow to prepare it: "
            f"{install_line('tfds')}"
        )


def _has_tensorflow() -> bool:
    return importlib.util.find_spec("tensorflow") is not None


def _code_builder(config: TFDSConfig, name: str) -> Any:
    if name.partition("/")[0].partition(":")[0] == _DIGITS:
        from feedrace_tfds import digits  # noqa: F401 (importing it registers the dataset)
    return tfds.builder(name, try_gcs=config.try_gcs, **_where(config))


def _prepare_arguments(config: TFDSConfig) -> dict[str, Any]:
    arguments = dict(config.download_and_prepare_kwargs or {})
    if config.beam_num_workers is not None:
        try:
            from apache_beam.options.pipeline_options import PipelineOptions
        except ImportError as error:
            raise DataError(
                f"beam_num_workers is given, and Apache Beam is not installed: "
                f"{pip_line('install', 'apache-beam')}"
            ) from error
        download_config = arguments.get("download_config") or tfds.download.DownloadConfig()
        arguments["download_config"] = download_config.replace(
            beam_options=PipelineOptions(
                direct_num_workers=config.beam_num_workers, direct_running_mode="multi_threading"
            )
        )
    return arguments
