"""Configs of the TFDS sources."""

from collections.abc import Mapping
from typing import Any

import attrs

from feedrace.plugin import (
    IDENTITY,
    REQUIRED,
    ConfigError,
    Problem,
    StructuralConfig,
    boolean,
    integer,
    one_of,
    path_field,
    text,
)


def _as_frozenset(value: Any) -> Any:
    return frozenset(value) if isinstance(value, set | list | tuple) else value


def _key_set(instance: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, frozenset) or not all(isinstance(key, str) for key in value):
        raise ConfigError([Problem(attribute.name, f"{value!r} is not a set of feature names")])


def _split(instance: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    # Objects are those of `tfds.even_splits` and the like, told apart without importing TFDS.
    if not hasattr(value, "to_absolute"):
        text(optional=True)(instance, attribute, value)


def _budget(instance: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    share = isinstance(value, float) and 0 <= value <= 1
    if not count and not share:
        raise ConfigError(
            [
                Problem(
                    attribute.name,
                    f"{value!r} is neither a count (an int of 0 or more) nor a share of the "
                    f"records (a float from 0.0 to 1.0)",
                )
            ]
        )


def _lengths(instance: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    for key, target in (value or {}).items():
        sizes = target if isinstance(target, list) else [target]
        if not sizes or not all(
            isinstance(size, int) and not isinstance(size, bool) and size >= 1 for size in sizes
        ):
            raise ConfigError(
                [
                    Problem(
                        f"{attribute.name}.{key}",
                        f"{target!r} is neither a length of 1 or more nor a list of them, one for "
                        f"each varying axis",
                    )
                ]
            )


def _as_lists(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {k: list(v) if isinstance(v, tuple) else v for k, v in value.items()}


@attrs.frozen(kw_only=True)
class TFDSConfig(StructuralConfig):
    """What both TFDS sources need to know.

    name: the dataset's TFDS name, "name", "name/config" or "name/config:1.0.0". Required, except
        with `directory`.
    split: "train", a part such as "train[:80%]" or "train+test", or from Python what
        `tfds.even_splits` gives. Required.
    data_dir: the folder of prepared datasets; TFDS's own default where None.
    directory: the folder of one prepared dataset, as `tfds.builder_from_directory` takes it, in
        place of `name` and `data_dir`.
    include_keys, exclude_keys: the features to keep or to leave out, at most one of the two.
    try_gcs: have TFDS look for a prepared copy in its public bucket.
    shuffle: whether the source's own order is shuffled, anew each epoch, by `seed`.
    shuffle_mode: "global", a permutation of the whole split, or "buffer", one of each window of
        `shuffle_buffer_size` consecutive records, for storage where distant reads are dear.
    as_supervised: only the two features that the dataset names as input and target; called "image"
        and "label" where they are an image and a class label, by their own names otherwise.
    pad_to: for features whose shape varies from record to record, the length to pad them to with
        zeros, or a list of lengths, one for each varying axis: `{"objects.bbox": 20}`. A name
        stands for all features below it. A padded feature `x` gets a field `x_length` beside it,
        its true length.
    decoder: "numpy", without TensorFlow; "tensorflow"; or "auto", the former where the features
        allow it.
    num_threads: threads that read and decode; as many as there are CPUs where None.
    on_error: what a record that cannot be read or decoded does: "raise" an error; "skip", be left
        out; "substitute", have the next good record of the split stand in its place.
    error_budget: how many different bad records are put up with: a count, or a share of the split.
    cache_dir: where tables of record offsets are kept; in the user's cache folder where None.
    download_and_prepare_kwargs: passed to TFDS where the dataset has to be prepared, such as
        `{"file_format": "array_record"}`.
    beam_num_workers: local Beam workers for datasets that TFDS prepares with Beam.
    local_files_only: never download, prepare or write anything.

    Raises `ConfigError` for a missing name or split, and for both key filters at once.
    """

    name: str | None = attrs.field(default=None, validator=text(optional=True))
    split: Any = attrs.field(default=None, validator=_split, metadata={REQUIRED: True})
    data_dir: str | None = path_field(default=None)
    directory: str | None = path_field(default=None)
    include_keys: frozenset[str] | None = attrs.field(
        default=None, converter=_as_frozenset, validator=_key_set
    )
    exclude_keys: frozenset[str] | None = attrs.field(
        default=None, converter=_as_frozenset, validator=_key_set
    )
    try_gcs: bool = attrs.field(default=False, validator=boolean, metadata={IDENTITY: False})
    shuffle: bool = attrs.field(default=False, validator=boolean)
    shuffle_mode: str = attrs.field(default="global", validator=one_of("global", "buffer"))
    shuffle_buffer_size: int = attrs.field(default=1000, validator=integer(1))
    seed: int = attrs.field(default=42, validator=integer(0, 2**63 - 1))
    as_supervised: bool = attrs.field(default=False, validator=boolean)
    pad_to: dict[str, int | list[int]] | None = attrs.field(
        default=None, converter=_as_lists, validator=_lengths, hash=False
    )
    decoder: str = attrs.field(
        default="auto",
        validator=one_of("auto", "tensorflow", "numpy"),
        metadata={IDENTITY: False},
    )
    num_threads: int | None = attrs.field(
        default=None, validator=integer(1, 1024, optional=True), metadata={IDENTITY: False}
    )
    on_error: str = attrs.field(default="raise", validator=one_of("raise", "skip", "substitute"))
    error_budget: int | float = attrs.field(
        default=0.01, validator=_budget, metadata={IDENTITY: False}
    )
    cache_dir: str | None = path_field(default=None)
    download_and_prepare_kwargs: dict[str, Any] | None = attrs.field(
        default=None, hash=False, metadata={IDENTITY: False}
    )
    beam_num_workers: int | None = attrs.field(
        default=None, validator=integer(1, optional=True), metadata={IDENTITY: False}
    )
    local_files_only: bool = attrs.field(
        default=False, validator=boolean, metadata={IDENTITY: False}
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
                Problem("directory", f"given with {field}; a directory says it all")
                for field in ("name", "data_dir", "try_gcs", "download_and_prepare_kwargs",
                              "beam_num_workers")
                if getattr(self, field)
            ]  # fmt: skip
        if problems:
            raise ConfigError(problems)


@attrs.frozen(kw_only=True)
class TFDSEagerConfig(TFDSConfig):
    """Config of the eager source; see `TFDSConfig`."""


@attrs.frozen(kw_only=True)
class TFDSStreamingConfig(TFDSConfig):
    """Config of the streaming source; see `TFDSConfig`. `cacheable` keeps decoded records.

    prefetch_buffer: blocks of records read ahead while the source itself is iterated.
    """

    prefetch_buffer: int = attrs.field(default=2, validator=integer(1), metadata={IDENTITY: False})
