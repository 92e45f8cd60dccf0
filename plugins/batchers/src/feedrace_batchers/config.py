"""Configs of this plugin's batchers."""

import itertools
from typing import Any

import attrs

from feedrace.plugin import (
    MAX_SIZE,
    ConfigError,
    Problem,
    Rule,
    StructuralConfig,
    as_tuple,
    check_integer,
    clipped,
    integer,
    number,
    one_of,
)

ERROR, TRUNCATE, SPLIT = "error", "truncate", "split"
FIRST_FIT, BEST_FIT = "first-fit", "best-fit"


class FieldLengths(dict[str, int]):
    """Field names with a length each; hashable, since a config is."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))


def _as_lengths(value: Any) -> Any:
    return FieldLengths(value) if isinstance(value, dict) else value


def _as_ints(value: Any) -> Any:
    """Return a list or numpy array as a tuple of Python numbers, and anything else as it is."""
    value = as_tuple(value.tolist() if hasattr(value, "tolist") else value)
    if not isinstance(value, tuple):
        return value
    return tuple(item.tolist() if hasattr(item, "tolist") else item for item in value)


_NAMES = Rule(
    lambda value: isinstance(value, tuple) and value != () and all(map(_is_name, value)),
    "a list of field names",
    {"minItems": 1},
)
_TABLE = Rule(
    lambda value: isinstance(value, dict) and value != {} and all(map(_is_name, value)),
    "a table of field names and lengths, such as {tokens = 2048}",
    {"minProperties": 1},
)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _field_names(instance: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    _NAMES.check(attribute.name, value)
    if len(set(value)) < len(value):
        raise ConfigError([Problem(attribute.name, f"{clipped(list(value))} names a field twice")])
    _check_masks(attribute.name, value)


def _field_lengths(instance: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    _TABLE.check(attribute.name, value)
    for name, length in value.items():
        check_integer(f"{attribute.name}.{name}", length, 1, MAX_SIZE)
    _check_masks(attribute.name, value)


def _check_masks(name: str, fields: Any) -> None:
    """Raise `ConfigError` if a field's mask would have the name of a mask that every batch has."""
    for field in ("valid", "segment"):
        if field in fields:
            message = f"the mask of {field!r} would be {field}_mask, which a batch already has"
            raise ConfigError([Problem(name, f"{message}; rename the field")])


@attrs.frozen(kw_only=True)
class DefaultBatcherConfig(StructuralConfig):
    """Config of the default batcher; it adds no fields."""


@attrs.frozen(kw_only=True)
class BucketBatcherConfig(StructuralConfig):
    """Config of the bucket batcher.

    fields: names of the sequence fields; the longest of a record's is the record's length.
    boundaries: the lengths of batches, increasing, 1 or more each.
    num_buckets, sample_lengths: in place of `boundaries`, their number and a sample of lengths,
        from which those that pad least are chosen; fewer if the sample has fewer lengths.
    window: number of batches whose records are grouped together, 1 or more.
    too_long: what to do with a record longer than the last boundary: "error", "truncate" (drop its
        end) or "split" (make several rows of it).
    pad_value: the value of padding in the sequence fields; finite.

    Raises `ConfigError` if neither `boundaries` nor the fields to choose them are given, or both.
    """

    fields: tuple[str, ...] = attrs.field(converter=as_tuple, validator=_field_names)
    boundaries: tuple[int, ...] | None = attrs.field(default=None, converter=_as_ints)
    num_buckets: int | None = attrs.field(default=None, validator=integer(1, optional=True))
    sample_lengths: tuple[int, ...] | None = attrs.field(default=None, converter=_as_ints)
    window: int = attrs.field(default=16, validator=integer(1))
    too_long: str = attrs.field(default=ERROR, validator=one_of(ERROR, TRUNCATE, SPLIT))
    pad_value: float = attrs.field(default=0, validator=number())

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        problems = []
        if self.boundaries is not None:
            for name in ("num_buckets", "sample_lengths"):
                if getattr(self, name) is not None:
                    problems.append(Problem(name, "is given, but boundaries are given too"))
            problems += _not_lengths("boundaries", self.boundaries, minimum=1)
            if not problems and any(b <= a for a, b in itertools.pairwise(self.boundaries)):
                message = f"{clipped(list(self.boundaries))} do not increase from one to the next"
                problems.append(Problem("boundaries", message))
        elif self.num_buckets is None and self.sample_lengths is None:
            message = "missing; give them, or num_buckets and sample_lengths to choose them from"
            problems.append(Problem("boundaries", message))
        else:
            for name in ("num_buckets", "sample_lengths"):
                if getattr(self, name) is None:
                    problems.append(Problem(name, "missing; boundaries are chosen from both"))
            if self.sample_lengths is not None:
                problems += _not_lengths("sample_lengths", self.sample_lengths, minimum=0)
        if problems:
            raise ConfigError(problems)


def _not_lengths(name: str, values: Any, *, minimum: int) -> list[Problem]:
    if not isinstance(values, tuple) or not values:
        return [Problem(name, f"{clipped(values)} is not a list of lengths")]
    problems: list[Problem] = []
    for i, value in enumerate(values):
        try:
            check_integer(f"{name}[{i}]", value, minimum, MAX_SIZE)
        except ConfigError as error:
            problems += error.problems
    return problems


@attrs.frozen(kw_only=True)
class PackBatcherConfig(StructuralConfig):
    """Config of the pack batcher.

    fields: the sequence fields and the row length of each, such as {"tokens": 2048}.
    algorithm: "best-fit" puts a sequence into the fullest row with room, "first-fit" into the
        first; both take the sequences of a window from long to short.
    window: number of records that are packed together, in batch sizes, 1 or more; None for 1024, or
        fewer for at most 131,072 records, but at least 128.
    too_long: what to do with a record longer than a row: "error", "truncate" (drop its end) or
        "split" (make several segments of it).
    max_segments: greatest number of sequences in a row, 1 or more; required if records have other
        fields.
    pad_value: the value of padding in the sequence fields; finite.
    """

    fields: dict[str, int] = attrs.field(converter=_as_lengths, validator=_field_lengths)
    algorithm: str = attrs.field(default=BEST_FIT, validator=one_of(FIRST_FIT, BEST_FIT))
    window: int | None = attrs.field(default=None, validator=integer(1, optional=True))
    too_long: str = attrs.field(default=ERROR, validator=one_of(ERROR, TRUNCATE, SPLIT))
    max_segments: int | None = attrs.field(
        default=None, validator=integer(1, MAX_SIZE, optional=True)
    )
    pad_value: float = attrs.field(default=0, validator=number())


@attrs.frozen(kw_only=True)
class MultiRateBatcherConfig(StructuralConfig):
    """Config of the multi-rate batcher.

    fields: the fields with different sampling rates and the length of each one's window in samples,
        such as {"audio": 16000, "video": 25} for a second.
    window: number of records that are read together, in batch sizes, 1 or more; if records are
        split, the last batch of each window may be short.
    too_long: what to do with a record with a field longer than its window: "error", "truncate" or
        "split" (make several rows of it, each with the same stretch of time of all fields).
    pad_value: the value of padding in these fields; finite.
    """

    fields: dict[str, int] = attrs.field(converter=_as_lengths, validator=_field_lengths)
    window: int = attrs.field(default=1, validator=integer(1))
    too_long: str = attrs.field(default=ERROR, validator=one_of(ERROR, TRUNCATE, SPLIT))
    pad_value: float = attrs.field(default=0, validator=number())
