"""Arrow types by name, as a config gives them."""

import re
from typing import Any

import pyarrow as pa

from feedrace.plugin import ConfigError, Problem, clipped

_LIST = re.compile(r"list<(.*)>(?:\[(\d{1,9})\])?")
_DEEPEST = 20


def parse_type(name: Any, path: str) -> pa.DataType:
    """Return the type of a name: "int32", "timestamp[s]", "list<float>", "list<int32>[128]".

    path: of the config's field. Raises `ConfigError` for a name that is none.
    """
    kind = _parsed(name.replace(" ", ""), _DEEPEST) if isinstance(name, str) else None
    if kind is None:
        raise ConfigError([Problem(path, (
            f"{clipped(name)} is no Arrow type, such as \"int32\", \"float64\", \"string\", "
            f"\"timestamp[s]\", \"list<int32>\" or, of lists of one length, \"list<int32>[128]\""
        ))])  # fmt: skip
    return kind


def _parsed(name: str, deepest: int) -> pa.DataType | None:
    found = _LIST.fullmatch(name)
    if found is None:
        try:
            return pa.type_for_alias(name)
        except ValueError:
            return None
    inner = _parsed(found[1], deepest - 1) if deepest else None
    if inner is None:
        return None
    return pa.list_(inner, int(found[2])) if found[2] else pa.list_(inner)
