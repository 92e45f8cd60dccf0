"""Datasets of Hugging Face's library `datasets`, read through it, by blocks of rows."""

import importlib.util
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from flax import nnx
from numpy.typing import NDArray

from feedrace.plugin import (
    DataError,
    NotInstalledError,
    Table,
    bars_are_shown,
    check_walk,
    clipped,
    install_line,
)
from feedrace_arrow.blocks import BlockContent, damaged
from feedrace_arrow.config import HuggingFaceConfig
from feedrace_arrow.fields import ArrowField, dictionaries, plan
from feedrace_arrow.rows import DatasetRows
from feedrace_arrow.schemas import all_categories, dictionary_arrays
from feedrace_arrow.sources import TabularSource, casts_of, choices_of, row_bytes


class HuggingFaceSource(TabularSource):
    """The rows of a dataset of Hugging Face's: from a folder, from its cache, or by name.

    An order that the dataset has of its own, after `shuffle` or `select`, is kept. Raises
    `DataError` for a dataset or split that is not there, `NotInstalledError` without `datasets`.
    """

    def __init__(
        self, config: HuggingFaceConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        dataset = open_dataset(config.path, config.name, config.split)
        where = config.path if config.split is None else f"{config.path}[{config.split}]"
        if not len(dataset):
            raise DataError(f"{where} has no records; give another split")
        table, choices = dataset.data.table, choices_of(config)
        known = Table(
            dictionary_arrays(table.schema, [table] if dictionaries(table.schema) else [])
        )
        hints = dataset.features.to_dict()
        fields = plan(table.schema, choices, where, hints=hints, categories=all_categories([known]))
        _check_bytes(table, fields, where)
        names = list(dict.fromkeys(field.column for field in fields))
        size = row_bytes(fields, table.schema, table.nbytes, len(table))
        rows = DatasetRows(dataset, where, names, casts_of(choices, fields), size)
        content = BlockContent(rows, fields, config.memory_limit, _order(dataset))
        super().__init__(config, content, fields, rngs=rngs, name=name)
        self._identity = f"{dataset._fingerprint} {len(dataset)} records"

    def identity(self) -> str:
        """Return the fingerprint that `datasets` gave the records; part of saved states."""
        return self._identity


def open_dataset(path: str, name: str | None, split: str | None) -> Any:
    """Return a `datasets.Dataset`: from a folder that `save_to_disk` wrote, or as loaded by name.

    Raises `DataError` if there is none, or if it has several splits and none is named.
    """
    if importlib.util.find_spec("datasets") is None:
        message = "source hugging-face needs datasets, which is not installed"
        raise NotInstalledError(message, fix=install_line("hugging-face"))
    import datasets

    if not bars_are_shown() and "HF_DATASETS_DISABLE_PROGRESS_BARS" not in os.environ:
        datasets.disable_progress_bars()
    try:
        if any(os.path.isfile(os.path.join(path, f)) for f in ("state.json", "dataset_dict.json")):
            if name is not None:
                raise DataError(f"{path} is one configuration alone; leave out the name")
            found = datasets.load_from_disk(path)
            return (
                found
                if split is None and not isinstance(found, dict)
                else _part(found, split, path)
            )
        # The name of a format, such as "json", stands for the files below the current folder.
        module = f"datasets.packaged_modules.{path}"
        is_format = path.isidentifier() and importlib.util.find_spec(module) is not None
        check_walk("." if is_format and not os.path.isdir(path) else path)
        found = datasets.load_dataset(path, name, split=split)
    except (OSError, ValueError, LookupError, TypeError, pa.ArrowException) as error:
        raise _not_loaded(path, error) from error
    except datasets.exceptions.DatasetsError as error:
        raise _not_loaded(path, error) from error
    return _only(found, path) if isinstance(found, dict) else found


def _not_loaded(path: str, error: Exception) -> DataError:
    if isinstance(error, DataError):
        return error
    return DataError(
        f"the dataset {clipped(path)} cannot be loaded: {damaged(error)}; check path, name and "
        f"split. Without a network, give a folder that `save_to_disk` wrote, or load it once where "
        f"there is one: HF_HOME has the cache that is then read"
    )


def _part(found: Any, split: str | None, folder: str) -> Any:
    """Return a split, or a part such as "train[:10%]", of what lies in a folder."""
    import datasets

    if not isinstance(found, dict):
        found = {str(found.split or "train"): found}
    if split is None:
        return _only(found, f"the folder {folder}")
    sizes = {name: len(one) for name, one in found.items()}
    parts = datasets.ReadInstruction.from_spec(split).to_absolute(sizes)
    made = [
        found[part.splitname].select(
            range(part.from_ or 0, sizes[part.splitname] if part.to is None else part.to)
        )
        for part in parts
    ]
    return made[0] if len(made) == 1 else datasets.concatenate_datasets(made)


def _only(found: Mapping[str, Any], where: str) -> Any:
    if len(found) > 1:
        raise DataError(f'{where} has the splits {", ".join(found)}; name one: split = "..."')
    return next(iter(found.values()))


def _order(dataset: Any) -> NDArray[np.int64] | None:
    """Return the rows of the table that make up a dataset that was shuffled or selected from."""
    if dataset._indices is None:
        return None
    return dataset._indices.table.column(0).to_numpy().astype(np.int64)  # type: ignore[no-any-return]


def _check_bytes(table: pa.Table, fields: Sequence[ArrowField], where: str) -> None:
    """Raise `DataError` if images or sounds are paths of files, which others may have named."""
    for field in fields:
        if field.steps == ("bytes",) and field.leaf.name == (field.column,) and len(table):
            first = table.column(field.column)[0].as_py()
            if first is not None and first["bytes"] is None:
                raise DataError(
                    f"column {field.column!r} of {where} holds paths of files, such as "
                    f"{clipped(first['path'])}, and not their bytes; write it by `save_to_disk`, "
                    f"which copies them, and give that folder"
                )
