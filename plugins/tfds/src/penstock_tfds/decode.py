"""From raw records to arrays, without TensorFlow."""

from collections.abc import Sequence
from typing import Any

import attrs
import jax
import numpy as np
import tensorflow_datasets as tfds

from penstock import ConfigError, DataError, specs
from penstock.errors import Problem, did_you_mean
from penstock_tfds.config import TFDSConfig


@attrs.frozen(eq=False)
class Decoder:
    """Decodes raw records of one dataset into a dict of arrays.

    features: the TFDS features to decode; what is left out is never decoded.
    names: what each of them is called in a record.
    """

    features: Any
    names: dict[str, str]

    def element_spec(self) -> dict[str, Any]:
        """Return the spec of one record; strings have dtype object."""
        spec: dict[str, Any] = jax.tree.map(
            lambda info: jax.ShapeDtypeStruct(info.shape, specs.arriving_dtype(_dtype(info))),
            self._infos(),
        )
        return spec

    def decode(self, raw: Sequence[bytes], numbers: Sequence[int]) -> dict[str, Any]:
        """Return the raw records of these numbers as a dict of numpy arrays."""
        batch = self.empty(len(raw))
        for i, record in enumerate(raw):
            try:
                decoded = self.features.deserialize_example_np(record)
            except Exception as error:  # the parsers raise many types; which record helps most
                error.add_note(f"while decoding record {numbers[i]}; its file may be damaged")
                raise
            self.store(batch, i, {name: decoded[key] for key, name in self.names.items()})
        return batch

    def empty(self, size: int) -> dict[str, Any]:
        """Return a dict of arrays for `size` records."""
        arrays: dict[str, Any] = jax.tree.map(
            lambda info: np.empty((size, *info.shape), _dtype(info)), self._infos()
        )
        return arrays

    def store(self, batch: Any, slot: Any, record: Any) -> None:
        """Put one record, or several, into a batch that `empty` made."""
        for key, value in record.items():
            if isinstance(value, dict):
                self.store(batch[key], slot, value)
            else:
                batch[key][slot] = value

    def _infos(self) -> dict[str, Any]:
        infos = self.features.get_tensor_info()
        return {name: infos[key] for key, name in self.names.items()}


def make_decoder(builder: Any, config: TFDSConfig) -> Decoder:
    """Return the decoder for the features that the config keeps.

    Raises `ConfigError` for keys that the dataset lacks, `DataError` for features whose shape
    varies from record to record and for `as_supervised` where the dataset names no pair.
    """
    features = dict(builder.info.features.items())
    names = {key: key for key in features}
    if config.as_supervised:
        names = _supervised_names(builder.info)
    for field in ("include_keys", "exclude_keys"):
        for key in sorted(getattr(config, field) or ()):
            if key not in names.values():
                hint = did_you_mean(key, list(names.values()))
                known = ", ".join(names.values())
                raise ConfigError([Problem(field, f"no feature {key!r}{hint}; there are {known}")])
    if config.include_keys is not None:
        names = {key: name for key, name in names.items() if name in config.include_keys}
    if config.exclude_keys is not None:
        names = {key: name for key, name in names.items() if name not in config.exclude_keys}
    if not names:
        raise ConfigError([Problem("include_keys", "no feature is left; keep at least one")])
    kept = tfds.features.FeaturesDict({key: features[key] for key in names})
    varying = [
        f"{names[key]} {info.shape}"
        for key in names
        for info in jax.tree.leaves(kept[key].get_tensor_info())
        if None in info.shape
    ]
    if varying:
        raise DataError(
            f"dataset {builder.info.full_name} has features whose shape varies from record to "
            f"record: {', '.join(varying)}; leave them out with exclude_keys"
        )
    return Decoder(kept, names)


def _supervised_names(info: Any) -> dict[str, str]:
    pair = info.supervised_keys
    if pair is None or not all(isinstance(key, str) and key in info.features for key in pair):
        raise DataError(
            f"as_supervised: dataset {info.full_name} names no pair of input and target features"
        )
    first, second = info.features[pair[0]], info.features[pair[1]]
    if isinstance(first, tfds.features.Image) and isinstance(second, tfds.features.ClassLabel):
        return {pair[0]: "image", pair[1]: "label"}
    return {pair[0]: pair[0], pair[1]: pair[1]}


def _dtype(info: Any) -> Any:
    return np.dtype(object) if info.np_dtype in (np.str_, np.bytes_, object) else info.np_dtype
