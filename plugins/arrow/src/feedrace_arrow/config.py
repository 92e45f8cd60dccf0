"""Configs of this plugin's sources."""

from typing import Any

import attrs

from feedrace.plugin import (
    IDENTITY,
    MAX_SIZE,
    ConfigError,
    FileConfig,
    Problem,
    Rule,
    StoredConfig,
    as_tuple,
    boolean,
    clipped,
    integer,
    path_field,
    text,
)

_SIZE = integer(-1, MAX_SIZE)


_TYPE = Rule(
    lambda value: isinstance(value, str) and value != "",
    lambda value: f"{clipped(value)} is not the name of a type, such as 'int32' or 'timestamp[s]'",
)
_SHAPE = Rule(
    lambda value: isinstance(value, list) and value != [] and all(map(_SIZE.holds, value)),
    lambda value: f"{clipped(value)} is not a list of lengths, such as [28, 28]",
)
_FILL = Rule(
    lambda value: isinstance(value, str | bool | int | float),
    lambda value: f"{clipped(value)} is neither a number, true, false nor a string",
)


def _table(rule: Rule) -> Any:
    """Return a validator of a table by column whose values obey a rule."""

    def validate(instance: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        for key, entry in (value or {}).items():
            rule.check(f"{attribute.name}.{key}", entry)

    return validate


def _as_lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: list(one) if isinstance(one, tuple) else one for key, one in value.items()}


def _nulls(instance: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    if not isinstance(value, dict):
        Rule(
            lambda value: value == "error",
            lambda value: (
                f'{clipped(value)} is neither "error" nor a table of what stands for null, such '
                f"as {{label = -1}}"
            ),
        ).check(attribute.name, value)
    else:
        _table(_FILL)(instance, attribute, value)


def _types_field() -> Any:
    return attrs.field(default=None, validator=_table(_TYPE), hash=False)


@attrs.frozen(kw_only=True, slots=False)
class ArrowConfig(FileConfig):
    """What every source of this plugin that reads files needs to know; see `FileConfig`.

    columns: the columns to read, in this order; None for all. A field within a struct is dotted.
    types: Arrow types that columns are read as, or cast to: `{"time": "timestamp[s]"}`.
    shapes: the lengths of the lists in a column, which make it an array of one shape:
        `{"tokens": [128]}`; -1 for an axis that varies. A record of another shape is bad.
    nulls: "error", for which a record with null is a bad one, or what stands for null, by column:
        `{"label": -1, "text": ""}`. In a list it stands for items; a list that is null is then
        empty or, if all have one shape, filled.
    """

    types: dict[str, str] | None = _types_field()
    shapes: dict[str, list[int]] | None = attrs.field(
        default=None, converter=_as_lists, validator=_table(_SHAPE), hash=False
    )
    nulls: str | dict[str, Any] = attrs.field(default="error", validator=_nulls, hash=False)


def _memory_field() -> Any:
    rule = integer(1, optional=True)
    return attrs.field(default=None, validator=rule, metadata={IDENTITY: False})


@attrs.frozen(kw_only=True, slots=False)
class ParquetConfig(ArrowConfig):
    """Config of the source of Parquet files; see `ArrowConfig`.

    memory_limit: most bytes of decoded row groups that each process keeps in memory; None for a
        quarter of the machine's, which worker processes share.
    """

    memory_limit: int | None = _memory_field()


@attrs.frozen(kw_only=True, slots=False)
class ArrowFilesConfig(ArrowConfig):
    """Config of the source of Arrow files and streams; see `ArrowConfig`.

    memory_limit: most bytes of record batches that each process keeps in memory; None for a quarter
        of the machine's, which worker processes share.
    """

    memory_limit: int | None = _memory_field()


@attrs.frozen(kw_only=True, slots=False)
class JSONLinesConfig(ArrowConfig):
    """Config of the source of JSON Lines; see `ArrowConfig`.

    Types that `types` does not give are those of 2,000 lines. With `columns`, other keys of an
    object are left out; without, a key that these lines lack makes a record bad.
    """


@attrs.frozen(kw_only=True, slots=False)
class CSVConfig(ArrowConfig):
    """Config of the source of CSV files; see `ArrowConfig`.

    Types that `types` does not give are those of 2,000 records.

    column_names: names of the columns; None if the first line of each file has them.
    delimiter: the character between values.
    quoted: whether values in double quotes may hold delimiters, newlines and doubled quotes.
    """

    delimiter: str = attrs.field(
        default=",",
        validator=Rule(
            lambda value: (
                isinstance(value, str)
                and len(value) == 1
                and value.isascii()
                and value not in '"\r\n'
            ),
            "one ASCII character, which is neither a double quote nor a newline",
        ),
    )
    column_names: tuple[str, ...] | None = attrs.field(
        default=None,
        converter=as_tuple,
        validator=Rule(
            lambda value: (
                isinstance(value, tuple)
                and value != ()
                and all(isinstance(name, str) and name for name in value)
                and len(set(value)) == len(value)
            ),
            "a list of different names",
            {"minItems": 1, "uniqueItems": True},
            optional=True,
        ),
    )
    quoted: bool = attrs.field(default=True, validator=boolean)


@attrs.frozen(kw_only=True, slots=False)
class HuggingFaceConfig(StoredConfig):
    """Config of the source of Hugging Face datasets; see `StoredConfig`.

    path: a folder that `save_to_disk` wrote, or what `datasets.load_dataset` takes: the name of a
        dataset on the hub, such as "ylecun/mnist", or of a format.
    name: of the dataset's configuration, if it has several.
    split: "train", or a part such as "train[:10%]"; a folder of one split needs none.
    columns, types, shapes, nulls: see `ArrowConfig`.
    memory_limit: most bytes of records that each process keeps in memory; None for a quarter of the
        machine's, which worker processes share.
    """

    path: str = path_field()
    name: str | None = attrs.field(default=None, validator=text(optional=True))
    split: str | None = attrs.field(default=None, validator=text(optional=True))
    columns: tuple[str, ...] | None = attrs.field(
        default=None, converter=as_tuple, validator=attrs.fields(FileConfig).columns.validator
    )
    types: dict[str, str] | None = _types_field()
    shapes: dict[str, list[int]] | None = attrs.field(
        default=None, converter=_as_lists, validator=_table(_SHAPE), hash=False
    )
    nulls: str | dict[str, Any] = attrs.field(default="error", validator=_nulls, hash=False)
    memory_limit: int | None = _memory_field()

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.storage_options is not None:
            raise ConfigError([Problem("storage_options", "datasets opens the files itself")])
