"""Configs of the TFDS sources."""

from typing import Any

import attrs

from penstock import ConfigError, StructuralConfig
from penstock.config import IDENTITY, REQUIRED, boolean, integer, one_of, text
from penstock.errors import Problem


def _as_frozenset(value: Any) -> Any:
    return frozenset(value) if isinstance(value, set | list | tuple) else value


def _key_set(instance: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, frozenset) or not all(isinstance(key, str) for key in value):
        raise ConfigError([Problem(attribute.name, f"{value!r} is not a set of feature names")])


@attrs.frozen(kw_only=True)
class TFDSConfig(StructuralConfig):
    """What both TFDS sources need to know.

    name: the dataset's TFDS name, "name", "name/config" or "name/config:1.0.0". Required.
    split: "train", or a part such as "train[:80%]" or "train+test". Required.
    data_dir: the folder of prepared datasets; TFDS's own default where None.
    include_keys, exclude_keys: the features to keep or to leave out, at most one of the two.
    try_gcs: have TFDS look for a prepared copy in its public bucket.
    shuffle: whether the source's own order is shuffled, anew each epoch, by `seed`.
    as_supervised: only the two features that the dataset names as input and target; called "image"
        and "label" where they are an image and a class label, by their own names otherwise.
    download_and_prepare_kwargs: passed to TFDS where the dataset has to be prepared, such as
        `{"file_format": "array_record"}`.
    beam_num_workers: local Beam workers for datasets that TFDS prepares with Beam.
    local_files_only: never download, prepare or write anything.

    Raises `ConfigError` for a missing name or split, and for both key filters at once.
    """

    name: str | None = attrs.field(
        default=None, validator=text(optional=True), metadata={REQUIRED: True}
    )
    split: str | None = attrs.field(
        default=None, validator=text(optional=True), metadata={REQUIRED: True}
    )
    data_dir: str | None = attrs.field(
        default=None, validator=text(optional=True), metadata={IDENTITY: False}
    )
    include_keys: frozenset[str] | None = attrs.field(
        default=None, converter=_as_frozenset, validator=_key_set
    )
    exclude_keys: frozenset[str] | None = attrs.field(
        default=None, converter=_as_frozenset, validator=_key_set
    )
    try_gcs: bool = attrs.field(default=False, validator=boolean, metadata={IDENTITY: False})
    shuffle: bool = attrs.field(default=False, validator=boolean)
    seed: int = attrs.field(default=42, validator=integer(0, 2**63 - 1))
    as_supervised: bool = attrs.field(default=False, validator=boolean)
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
        problems = [
            Problem(field, "missing; it is required")
            for field in ("name", "split")
            if getattr(self, field) is None
        ]
        if self.include_keys is not None and self.exclude_keys is not None:
            problems.append(Problem("exclude_keys", "given with include_keys; give one of the two"))
        if self.try_gcs and self.data_dir is not None:
            problems.append(Problem("try_gcs", "given with data_dir; give one of the two"))
        if problems:
            raise ConfigError(problems)


@attrs.frozen(kw_only=True)
class TFDSEagerConfig(TFDSConfig):
    """Config of the eager source; see `TFDSConfig`."""


@attrs.frozen(kw_only=True)
class TFDSStreamingConfig(TFDSConfig):
    """Config of the streaming source; see `TFDSConfig`. `cacheable` keeps decoded records.

    shuffle_mode: "global", a permutation of the whole split, or "buffer", one of each window of
        `shuffle_buffer_size` consecutive records, for storage where distant reads are dear.
    prefetch_buffer: blocks of records read ahead while the source itself is iterated.
    """

    shuffle_mode: str = attrs.field(default="global", validator=one_of("global", "buffer"))
    shuffle_buffer_size: int = attrs.field(default=1000, validator=integer(1))
    prefetch_buffer: int = attrs.field(default=2, validator=integer(1), metadata={IDENTITY: False})
