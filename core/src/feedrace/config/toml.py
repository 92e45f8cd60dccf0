"""Mappings written as TOML."""

from collections.abc import Mapping
from typing import Any

import tomlkit
from tomlkit.items import Table


def as_toml(mapping: Mapping[str, Any]) -> str:
    """Return the mapping as TOML text; None, which TOML has not, as a comment."""
    document = tomlkit.document()
    _fill(document, mapping)
    return tomlkit.dumps(document)


def _fill(table: Any, mapping: Mapping[str, Any]) -> None:
    """Add plain values first: what follows a table's header would be that table's."""
    for key, value in mapping.items():
        if value is None:
            table.add(tomlkit.comment(f"{tomlkit.key(key).as_string()} is not set"))
        elif not isinstance(value, Mapping) and not _is_tables(value):
            table.add(key, value)
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            table.add(key, _table(value))
        elif _is_tables(value):
            array = tomlkit.aot()
            for item in value:
                array.append(_table(item))
            table.add(key, array)


def _table(mapping: Mapping[str, Any]) -> Table:
    table = tomlkit.table()
    _fill(table, mapping)
    return table


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, Mapping) for v in value)
