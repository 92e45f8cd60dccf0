"""Configs of the built-in components."""

from typing import Any

import attrs

from feedrace.config.fields import (
    IDENTITY,
    MAX_SEED,
    MAX_SIZE,
    Rule,
    SamplerConfig,
    StructuralConfig,
    as_tuple,
    boolean,
    epochs,
    integer,
    number,
    one_of,
    path_field,
    string_keys,
    text,
)
from feedrace.errors import ConfigError, Problem
from feedrace.protocols.containers import columns_of, random_access

_DTYPES = ("bool", "int8", "int16", "int32", "uint8", "uint16", "uint32",
           "float16", "bfloat16", "float32")  # fmt: skip
_NAMES = Rule(
    lambda value: isinstance(value, tuple) and {str} == set(map(type, value)),
    "a list of field names",
    {"minItems": 1},
)
_FIELDS = Rule(
    lambda value: (
        isinstance(value, tuple)
        and all(isinstance(name, str) and name for name in value)
        and len(set(value)) == len(value)
    ),
    "a list of different field names",
    {"uniqueItems": True},
)
_COLUMNS = Rule(string_keys.holds, string_keys.rule, {"type": ["object", "array"]}, optional=True)


def _as_columns(data: Any) -> Any:
    return data if data is None or type(data) is dict else columns_of(data)


def _shapes(data: Any) -> str:
    """Return a dict of arrays in a few words, without their contents."""
    if data is None:
        return "None"
    shown = [
        f"{name}: {field.dtype}{list(field.shape)}"
        if hasattr(field, "shape")
        else f"{name}: {type(field).__name__} of {len(field)}"
        for name, field in data.items()
    ]
    return "{" + ", ".join(shown[:8] + ["..."] * (len(shown) > 8)) + "}"


@attrs.frozen(kw_only=True)
class MemorySourceConfig(StructuralConfig):
    """Config of the memory source.

    data: dict of field name to array, all with one leading axis, the records; or a list of
        records as dicts, a table of pandas, polars or pyarrow, or a data set of Hugging Face.
    shuffle, seed: the source's own order, which holds if there is no sampler.
    path: of a local .npz file that holds the arrays, as `numpy.savez(path, image=..., label=...)`
        writes it; in place of `data`.

    Raises `ConfigError` unless exactly one of `data` and `path` is given.
    """

    data: Any = attrs.field(
        default=None,
        converter=_as_columns,
        validator=_COLUMNS,
        eq=False,
        repr=_shapes,
        metadata={IDENTITY: False},
    )
    shuffle: bool = attrs.field(default=False, validator=boolean)
    seed: int = attrs.field(default=42, validator=integer(0, MAX_SEED))
    path: str | None = path_field(default=None)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if (self.data is None) == (self.path is None):
            found = "missing" if self.data is None else "given beside path"
            message = f"{found}; give either data or path, the name of a .npz file"
            raise ConfigError([Problem("data", message)])


def _of_how_many(data: Any) -> str:
    """Return a data set in a few words, without its contents."""
    return f"{type(data).__name__} of {len(data)}"


@attrs.frozen(kw_only=True)
class RecordsSourceConfig(StructuralConfig):
    """Config of the records source.

    data: any object with `__len__` and `__getitem__` or `__getitems__`, such as a data set of
        torch, grain or Hugging Face, a list of dicts, or a sequence of tuples.
    names: of the fields, if its elements are tuples; one name if they are arrays, numbers or text.
    thread_safe: whether several threads may call it at a time. If not, one thread of each process
        does.
    spec_records: records that the spec is taken from, the first; all others have to fit.
    shuffle, seed: the source's own order, which holds if there is no sampler.
    """

    data: Any = attrs.field(
        converter=random_access,
        eq=False,
        repr=_of_how_many,
        metadata={IDENTITY: False},
    )
    names: tuple[str, ...] = attrs.field(default=(), converter=as_tuple, validator=_FIELDS)
    thread_safe: bool = attrs.field(default=False, validator=boolean, metadata={IDENTITY: False})
    spec_records: int = attrs.field(
        default=16, validator=integer(1, MAX_SIZE), metadata={IDENTITY: False}
    )
    shuffle: bool = attrs.field(default=False, validator=boolean)
    seed: int = attrs.field(default=42, validator=integer(0, MAX_SEED))


@attrs.frozen(kw_only=True)
class SequentialSamplerConfig(SamplerConfig):
    """num_epochs: epochs in one pass, 1 or more, or -1 for an endless one."""

    num_epochs: int = attrs.field(default=1, validator=epochs)


@attrs.frozen(kw_only=True)
class RescaleConfig:
    """field: name of the field; scale, offset: the result is field * scale + offset."""

    field: str = attrs.field(validator=text())
    scale: float = attrs.field(default=1.0, validator=number())
    offset: float = attrs.field(default=0.0, validator=number())


@attrs.frozen(kw_only=True)
class CastConfig:
    """field: name of the field; dtype: name of its new dtype."""

    field: str = attrs.field(validator=text())
    dtype: str = attrs.field(validator=one_of(*_DTYPES))


@attrs.frozen(kw_only=True)
class OneHotConfig:
    """field: name of an integer field; num_classes: length of the vectors, 1 or more."""

    field: str = attrs.field(validator=text())
    num_classes: int = attrs.field(validator=integer(1, MAX_SIZE))


@attrs.frozen(kw_only=True)
class SelectConfig:
    """fields: names of the fields to keep; the valid mask always stays."""

    fields: tuple[str, ...] = attrs.field(converter=as_tuple, validator=_NAMES)


@attrs.frozen(kw_only=True)
class FlipConfig:
    """field: name of the field; axis: of one record, from 0; probability: that it is mirrored."""

    field: str = attrs.field(validator=text())
    axis: int = attrs.field(default=1, validator=integer(0))
    probability: float = attrs.field(default=0.5, validator=number(0, 1))
