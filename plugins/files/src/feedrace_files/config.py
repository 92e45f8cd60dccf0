"""Configs of this plugin's sources."""

from collections.abc import Mapping
from typing import Any

import attrs

from feedrace.plugin import (
    MAX_SIZE,
    ConfigError,
    FileConfig,
    Problem,
    Rule,
    clipped,
    did_you_mean,
    text,
)

#: What a feature may be, by name: numbers of numpy, text, or bytes as they are.
DTYPES = ("bytes", "text", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32",
          "float32", "float64")  # fmt: skip

_FEATURES = Rule(
    lambda value: (
        isinstance(value, dict) and value != {} and all(isinstance(k, str) for k in value)
    ),
    lambda value: (
        f"{clipped(value)} is not a table from names of features to dtypes, such as "
        f'{{ label = "int64" }}'
    ),
    {"minProperties": 1},
    optional=True,
)


@attrs.frozen(kw_only=True, slots=False)
class TextLinesConfig(FileConfig):
    """Config of the text-lines source, whose one field is `text`; see `FileConfig`."""


@attrs.frozen(kw_only=True, slots=False)
class ImageFolderConfig(FileConfig):
    """Config of the image-folder source, whose fields are `image`, `label` and `path`.

    labels: a CSV file with a line of headers: its absolute path or address, or one relative to the
        folder of images. By default the folders in it are the classes.
    file_column: the header of the column with the names of the images, relative to the folder.
    label_column: that of the column with their labels. Neither needs to be given if there are two
        columns, in this order.
    """

    labels: str | None = attrs.field(default=None, validator=text(optional=True))
    file_column: str | None = attrs.field(default=None, validator=text(optional=True))
    label_column: str | None = attrs.field(default=None, validator=text(optional=True))

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        given = [name for name in ("file_column", "label_column") if getattr(self, name)]
        if self.labels is None and given:
            message = "given without labels, the CSV file that has the column"
            raise ConfigError([Problem(name, message) for name in given])


@attrs.frozen(kw_only=True, slots=False)
class TarConfig(FileConfig):
    """Config of the tar source, whose fields are `key` and the extensions of the files."""


@attrs.frozen
class Declared:
    """What a config says of one feature. shape: None for an axis that varies."""

    dtype: str
    shape: tuple[int | None, ...] = ()


@attrs.frozen(kw_only=True, slots=False)
class ExampleConfig(FileConfig):
    """What the sources of records have that may be `tf.train.Example` messages.

    features: for each feature its dtype, or a table `{dtype, shape}`; in a shape, -1 stands for one
        axis that varies. None for records of another kind.

    Raises `ConfigError` for a dtype or shape that is not known.
    """

    features: dict[str, Any] | None = attrs.field(default=None, validator=_FEATURES, hash=False)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.declared()

    def declared(self) -> dict[str, Declared]:
        """Return what `features` says, by name."""
        found: dict[str, Declared] = {}
        problems: list[Problem] = []
        for name, given in (self.features or {}).items():
            table = given if isinstance(given, Mapping) else {"dtype": given}
            unknown = sorted(set(map(str, table)) - {"dtype", "shape"})
            if unknown:
                message = f"{clipped(unknown[0])} is neither dtype nor shape"
                problems.append(Problem(f"features.{name}", message))
                continue
            dtype, shape = table.get("dtype"), table.get("shape", ())
            if dtype not in DTYPES:
                near = did_you_mean(str(dtype), DTYPES)
                message = f"{clipped(dtype)} is none of {', '.join(DTYPES)}{near}"
                problems.append(Problem(f"features.{name}", message))
            elif not _is_shape(shape):
                message = (
                    f"shape {clipped(shape)} is not a list of lengths from 0 to {MAX_SIZE}, of "
                    f"which one may be -1, for an axis that varies"
                )
                problems.append(Problem(f"features.{name}", message))
            else:
                axes = tuple(None if axis in (-1, None) else int(axis) for axis in shape)
                found[name] = Declared(dtype, axes)
        if problems:
            raise ConfigError(problems)
        return found


def _is_shape(shape: Any) -> bool:
    return (
        isinstance(shape, list | tuple)
        and all(map(_is_axis, shape))
        and (sum(axis in (-1, None) for axis in shape) <= 1)
    )


def _is_axis(axis: Any) -> bool:
    return axis is None or (
        isinstance(axis, int) and not isinstance(axis, bool) and -1 <= axis <= MAX_SIZE
    )


@attrs.frozen(kw_only=True, slots=False)
class TFRecordConfig(ExampleConfig):
    """Config of the tfrecord source: without `features`, its one field is `record`."""


@attrs.frozen(kw_only=True, slots=False)
class ArrayRecordConfig(ExampleConfig):
    """Config of the array-record source.

    Without `features`, its fields are those that `feedrace convert` wrote, or `record` if another
    program wrote the files.
    """
