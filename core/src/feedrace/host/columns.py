"""One field of all records of a source, such as their labels."""

from typing import Any

import numpy as np

from feedrace.errors import DataError
from feedrace.protocols import Columnar, provides

_BLOCK = 1024


def column(source: Any, field: str) -> Any:
    """Return one field of all records, in stored order, as a numpy array.

    A source that is `protocols.Columnar` gives it at once; any other is read whole, in blocks.
    Raises `DataError` if its records have no such field, or if the field has no single shape.
    """
    spec = source.element_spec()
    if not isinstance(spec, dict) or field not in spec:
        known = ", ".join(sorted(spec)) if isinstance(spec, dict) else "none"
        raise DataError(f"the records have no field {field!r}; they have {known}")
    if None in getattr(spec[field], "shape", (None,)):
        raise DataError(f"the field {field!r} is not an array of one shape; it is {spec[field]}")
    if provides(source, Columnar):
        return np.asarray(source.column(field))
    starts = range(0, len(source), _BLOCK)
    blocks = [np.arange(start, min(start + _BLOCK, len(source))) for start in starts]
    return np.concatenate([np.asarray(source.fetch(block)[field]) for block in blocks])
