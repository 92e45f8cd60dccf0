"""The field of text that a stage reads, and the field of ids that it writes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feedrace.plugin import DataError, LeafSpec, clipped
from feedrace_text.config import TextConfig


def text_of(stage: str, config: TextConfig, record: Mapping[str, Any]) -> str | bytes:
    """Return the text of a record; raise `DataError` if it has none."""
    value = _field(stage, config, record)
    if not isinstance(value, str | bytes):
        message = f"field {config.field!r} holds {clipped(value)}, which is neither str nor bytes"
        raise DataError(f"stage {stage}: {message}")
    return value


def with_ids(
    config: TextConfig, record: Mapping[str, Any], ids: NDArray[np.int32] | LeafSpec
) -> dict[str, Any]:
    """Return a record, or its spec, with the ids in their field."""
    into = config.into or config.field
    others = {k: v for k, v in record.items() if config.keep or k != config.field}
    return {**others, into: ids}


def spec_with_ids(stage: str, config: TextConfig, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the spec of a record with ids; raise `DataError` if a field does not fit."""
    leaf = _field(stage, config, spec)
    # A leaf of text is an object, or has one of numpy's types for strings and bytes.
    kind = np.dtype(leaf.dtype).kind if hasattr(leaf, "dtype") else ""
    if kind not in tuple("OSUT") or leaf.shape != ():
        raise DataError(f"stage {stage}: field {config.field!r} is {leaf}, which is not one text")
    if config.into not in (None, config.field) and config.into in spec:
        message = f"records have a field {config.into!r} already; give `into` another name"
        raise DataError(f"stage {stage}: {message}")
    return with_ids(config, spec, LeafSpec((None,), np.dtype(np.int32)))


def _field(stage: str, config: TextConfig, record: Mapping[str, Any]) -> Any:
    if config.field not in record:
        fields = ", ".join(sorted(record))
        message = f"no field {config.field!r}; the record has {fields}"
        raise DataError(f"stage {stage}: {message}")
    return record[config.field]
