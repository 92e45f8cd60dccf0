"""Configs of the TFDS sources."""

from collections.abc import Mapping
from typing import Any

import attrs

from feedrace.plugin import (
    IDENTITY,
    REQUIRED,
    ConfigError,
    Problem,
    Rule,
    StoredConfig,
    boolean,
    clipped,
    integer,
    one_of,
    path_field,
    text,
)


def _as_frozenset(value: Any) -> Any:
    return frozenset(value) if isinstance(value, set | list | tuple) else value


def _as_lists(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {k: list(v) if isinstance(v, tuple) else v for k, v in value.items()}


_TERMS = 500  # of a split; TFDS nests as deep as there are terms
_MOST = 2**31 - 1  # records, or entries along an axis: what JAX counts by int32


def _is_count(value: Any, minimum: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= _MOST


_KEYS = Rule(
    lambda value: isinstance(value, frozenset) and all(isinstance(key, str) for key in value),
    lambda value: (
        f"{clipped(set(value) if isinstance(value, frozenset) else value)} is not a set of names"
    ),
    optional=True,
)
# Objects are those of `tfds.even_splits` and the like, recognised without importing TFDS.
_SPLIT = Rule(
    lambda value: (
        hasattr(value, "to_absolute")
        or (isinstance(value, str) and value != "" and value.count("+") < _TERMS)
    ),
    f"a split of at most {_TERMS} terms, such as 'train' or 'train[:80%]+test'",
    optional=True,
)
_LENGTHS = Rule(
    lambda value: (
        _is_count(value, 1)
        or (isinstance(value, list) and value != [] and all(_is_count(size, 1) for size in value))
    ),
    lambda value: (
        f"{clipped(value)} is neither a length from 1 to {_MOST} nor a list of them, one for each "
        f"varying axis"
    ),
)


_DECODE = Rule(
    lambda value: value is False,
    lambda value: f"{clipped(value)} is not false; what is to be decoded needs no entry",
)


def _decode(instance: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    for key, decoded in (value or {}).items():
        _DECODE.check(f"{attribute.name}.{key}", decoded)


def _pad_to(instance: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    for key, lengths in (value or {}).items():
        _LENGTHS.check(f"{attribute.name}.{key}", lengths)


@attrs.frozen(kw_only=True, slots=False)
class TFDSConfig(StoredConfig):
    """What both TFDS sources need to know, besides what `StoredConfig` has.

    name: the dataset's TFDS name, "name", "name/config" or "name/config:1.0.0". Required, except
        with `directory`.
    split: "train", a part such as "train[:80%]" or "train+test", or in Python an element of
        `tfds.even_splits`. Required.
    data_dir: the folder of prepared datasets; None for TFDS's default.
    directory: the folder of one prepared dataset, as `tfds.builder_from_directory` takes it, in
        place of `name` and `data_dir`.
    include_keys, exclude_keys: the features to keep or to leave out; give at most one of the two.
    try_gcs: let TFDS look for a prepared copy in its public bucket.
    shuffle_mode: "global", a permutation of the whole split, or "buffer", one of each window of
        `shuffle_buffer_size` consecutive records, for storage where distant reads are slow.
    shuffle_buffer_size: records in such a window.
    as_supervised: keep only the two features that the dataset names as input and target; an image
        and a class label are called "image" and "label", others keep their names.
    pad_to: pad features whose shape varies from record to record with zeros to this length, or
        list of lengths, one for each varying axis: `{"objects.bbox": 20}`. A name stands for all
        features below it. The true length of a padded feature `x` is in a field `x_length`.
    decode: images to leave encoded, as bytes for a record stage: `{"image": False}`; the name of a
        nested one is dotted.
    decoder: "numpy", without TensorFlow; "tensorflow"; or "auto", the former if the features allow
        it.
    num_threads: threads that load `tfds-eager`, and that read ahead if `tfds-streaming` itself is
        iterated; a pipeline has `workers`. With TensorFlow, also how many records it decodes at a
        time. None for the number of CPUs, at most 16.
    download_and_prepare_kwargs: passed to TFDS if it prepares the dataset, such as
        `{"file_format": "array_record"}`.
    beam_num_workers: number of local workers for datasets that TFDS prepares with Beam.
    local_files_only: never download, prepare or write anything.
    trusted_features: names of Python classes, such as "my_package.features.Mesh", that the
        dataset's features may have, besides those of TFDS and of installed plugins: they are
        imported.

    Raises `ConfigError` for a missing name or split, and if both key filters are given.
    """

    name: str | None = attrs.field(default=None, validator=text(optional=True))
    split: Any = attrs.field(default=None, validator=_SPLIT, metadata={REQUIRED: True})
    data_dir: str | None = path_field(default=None)
    directory: str | None = path_field(default=None)
    include_keys: frozenset[str] | None = attrs.field(
        default=None, converter=_as_frozenset, validator=_KEYS
    )
    exclude_keys: frozenset[str] | None = attrs.field(
        default=None, converter=_as_frozenset, validator=_KEYS
    )
    try_gcs: bool = attrs.field(default=False, validator=boolean, metadata={IDENTITY: False})
    shuffle_mode: str = attrs.field(default="global", validator=one_of("global", "buffer"))
    shuffle_buffer_size: int = attrs.field(default=1000, validator=integer(1, _MOST))
    as_supervised: bool = attrs.field(default=False, validator=boolean)
    pad_to: dict[str, int | list[int]] | None = attrs.field(
        default=None, converter=_as_lists, validator=_pad_to, hash=False
    )
    decode: dict[str, bool] | None = attrs.field(default=None, validator=_decode, hash=False)
    decoder: str = attrs.field(
        default="auto",
        validator=one_of("auto", "tensorflow", "numpy"),
        metadata={IDENTITY: False},
    )
    num_threads: int | None = attrs.field(
        default=None, validator=integer(1, 1024, optional=True), metadata={IDENTITY: False}
    )
    download_and_prepare_kwargs: dict[str, Any] | None = attrs.field(
        default=None, hash=False, metadata={IDENTITY: False}
    )
    beam_num_workers: int | None = attrs.field(
        default=None, validator=integer(1, 1024, optional=True), metadata={IDENTITY: False}
    )
    local_files_only: bool = attrs.field(
        default=False, validator=boolean, metadata={IDENTITY: False}
    )
    trusted_features: frozenset[str] = attrs.field(
        default=frozenset(),
        converter=_as_frozenset,
        validator=attrs.evolve(_KEYS, optional=False),
        metadata={IDENTITY: False},
    )

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        problems = []
        if self.name is None and self.directory is None:
            problems.append(Problem("name", "missing; it is required"))
        if self.split is None:
            problems.append(Problem("split", "missing; it is required"))
        if self.include_keys is not None and self.exclude_keys is not None:
            problems.append(Problem("exclude_keys", "given with include_keys; give one of the two"))
        if self.try_gcs and self.data_dir is not None:
            problems.append(Problem("try_gcs", "given with data_dir; give one of the two"))
        if self.directory is not None:
            problems += [
                Problem("directory", f"given with {field}; give the directory alone")
                for field in ("name", "data_dir", "try_gcs", "download_and_prepare_kwargs",
                              "beam_num_workers")
                if getattr(self, field)
            ]  # fmt: skip
        if problems:
            raise ConfigError(problems)


@attrs.frozen(kw_only=True, slots=False)
class TFDSEagerConfig(TFDSConfig):
    """Config of the eager source; see `TFDSConfig`."""


@attrs.frozen(kw_only=True, slots=False)
class TFDSStreamingConfig(TFDSConfig):
    """Config of the streaming source; see `TFDSConfig`.

    cacheable: keep decoded records in memory.
    prefetch_buffer: blocks of records read ahead when the source itself is iterated.
    """

    cacheable: bool = attrs.field(default=False, validator=boolean, metadata={IDENTITY: False})
    prefetch_buffer: int = attrs.field(
        default=2, validator=integer(1, 1024), metadata={IDENTITY: False}
    )
