"""The choice of a decoder."""

import importlib.util
from typing import Any, Protocol

from feedrace.plugin import DataError
from feedrace_tfds.config import TFDSConfig
from feedrace_tfds.features import keep_features, need_tensorflow
from feedrace_tfds.layout import Arrays, Layout, make_layout
from feedrace_tfds.numpy_decoder import Failure, make_numpy_decoder
from feedrace_tfds.shards import Raw


class Decoder(Protocol):
    """Decodes raw records of one dataset.

    concurrent: whether several threads should decode at a time.
    way: a few words on how it decodes.
    """

    @property
    def layout(self) -> Layout: ...

    @property
    def concurrent(self) -> bool: ...

    @property
    def way(self) -> str: ...

    def decode(self, raw: list[Raw], arrays: Arrays, first: int) -> list[Failure]: ...


def make_decoder(info: Any, config: TFDSConfig, threads: int) -> Decoder:
    """Return the decoder that the config names, for the features that it keeps.

    Raises `ConfigError` for keys that the dataset lacks; `DataError` for features that no decoder,
    or not the one named, can decode.
    """
    kept = keep_features(info, config)
    layout = make_layout(kept, config.pad_to)
    needing = [kept.names[key] for key in kept.names if need_tensorflow(kept.features[key])]
    if config.decoder == "numpy" and needing:
        raise DataError(
            f"decoder = 'numpy' cannot decode {', '.join(needing)} of dataset {info.full_name}; "
            f"use 'tensorflow', or leave them out with exclude_keys"
        )
    if needing and importlib.util.find_spec("tensorflow") is None:
        raise DataError(
            f"{', '.join(needing)} of dataset {info.full_name} cannot be decoded without "
            f"TensorFlow: pip install 'feedrace[tfds]', or leave them out with exclude_keys"
        )
    if config.decoder == "tensorflow" or needing:
        from feedrace_tfds.tensorflow_decoder import make_tensorflow_decoder

        return make_tensorflow_decoder(kept, layout, threads)
    return make_numpy_decoder(kept, layout)
