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
    string_keys,
    text,
)

_DTYPES = ("bool", "int8", "int16", "int32", "uint8", "uint16", "uint32",
           "float16", "bfloat16", "float32")  # fmt: skip
_NAMES = Rule(
    lambda value: isinstance(value, tuple) and {str} == set(map(type, value)),
    "a list of field names",
    {"minItems": 1},
)


@attrs.frozen(kw_only=True)
class MemorySourceConfig(StructuralConfig):
    """data: dict of field name to array, all with one leading axis, the records.

    shuffle, seed: the source's own order, which holds if there is no sampler.
    """

    data: dict[str, Any] = attrs.field(eq=False, validator=string_keys, metadata={IDENTITY: False})
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
