"""Find a dataset on disk, or have TFDS prepare it there."""

import contextlib
import importlib.util
import json
import os
import sys
from typing import Any

import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.core import read_only_builder
from tensorflow_datasets.core.utils import error_utils

from feedrace.plugin import DataError, did_you_mean, install_line, pip_line
from feedrace_tfds.config import TFDSConfig
from feedrace_tfds.metadata import described_builder
from feedrace_tfds.paths import is_remote
from feedrace_tfds.tensorflow_runtime import import_tensorflow

_DIGITS = "feedrace_digits"
# What TFDS raises for a wrong version, config, folder or argument.
_TFDS_ERRORS = (tfds.core.DatasetNotFoundError, AssertionError, OSError, TypeError, ValueError)


def prepared_builder(config: TFDSConfig) -> Any:
    """Return a TFDS builder of the dataset, preparing it first if needed.

    Finding a prepared dataset does not need TensorFlow; preparing one does. Raises `DataError` for
    an unknown dataset, and for one that is not prepared and cannot or must not be.
    """
    places = (config.data_dir, config.directory, os.environ.get("TFDS_DATA_DIR"))
    if any(place and is_remote(place) for place in places) and _has_tensorflow():
        import_tensorflow(config.num_threads)  # or TFDS would, for its file systems
    if config.directory is not None:
        return _builder_in(config)
    name = str(config.name)
    folder = _folder_of(name, config)
    if folder is not None:
        return described_builder(folder, config.trusted_features)
    _check_known(name)
    if config.local_files_only:
        folders = tfds.core.utils.file_utils.list_data_dirs(config.data_dir)
        raise DataError(
            f"dataset {name!r} is not prepared in {', '.join(map(str, folders))}, and "
            f"local_files_only forbids preparing it"
        )
    _check_tensorflow(name)
    try:
        import_tensorflow(config.num_threads)
        builder = _code_builder(config, name)
        with contextlib.redirect_stdout(sys.stderr):  # TFDS prints; stdout is the program's own
            print(f"feedrace: preparing {builder.info.full_name} in {builder.data_dir}", flush=True)
            builder.download_and_prepare(**_prepare_arguments(config))
    except _TFDS_ERRORS as error:
        folder = _folder_of(name, config)
        if folder is None:  # or another process prepared it meanwhile
            raise DataError(f"TFDS cannot prepare dataset {name!r}: {error}") from error
    else:
        folder = str(builder.data_dir)
    return described_builder(folder, config.trusted_features)


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


def _builder_in(config: TFDSConfig) -> Any:
    folder = epath.Path(str(config.directory))
    missing = [n for n in ("dataset_info.json", "features.json") if not (folder / n).exists()]
    if missing:
        raise DataError(
            f"{config.directory!r} is not a prepared dataset: it holds no "
            f"{' and no '.join(missing)}; give the folder of one version"
        )
    return described_builder(str(folder), config.trusted_features)


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
