"""The choice between the two sources."""

import sys
from typing import Any

from flax import nnx

from feedrace_tfds.config import TFDSEagerConfig, TFDSStreamingConfig
from feedrace_tfds.eager import TFDSEagerSource
from feedrace_tfds.memory import device_memory, in_words
from feedrace_tfds.opening import open_split
from feedrace_tfds.streaming import TFDSStreamingSource

_SHARE = 0.1  # of the device's memory; the program needs the rest


def from_tfds(
    name: str,
    split: Any,
    *,
    eager: bool | None = None,
    rngs: nnx.Rngs | None = None,
    **fields: Any,
) -> TFDSEagerSource | TFDSStreamingSource:
    """Return an eager source if the decoded split takes at most a tenth of the device's memory.

    name, split: as in `TFDSConfig`.
    eager: True for an eager source, False for a streaming one; None to choose by size.
    fields: other fields of the config.

    A line on stderr names the choice and the reason, as does the first of the source's `details()`.
    Raises `ConfigError` and `DataError` as the sources do.
    """
    if eager is None:
        eager, why = _choose(TFDSStreamingConfig(name=name, split=split, **fields), fields)
    else:
        why = f"eager = {eager} was given"
    source: TFDSEagerSource | TFDSStreamingSource
    if eager:
        source = TFDSEagerSource(TFDSEagerConfig(name=name, split=split, **fields), rngs=rngs)
    else:
        config = TFDSStreamingConfig(name=name, split=split, **fields)
        source = TFDSStreamingSource(config, rngs=rngs)
    source.choice = f"{'tfds-eager' if eager else 'tfds-streaming'}, since {why}"
    print(f"feedrace: {source.dataset_name}:{source.split_name} by {source.choice}",
          file=sys.stderr)  # fmt: skip
    return source


def _choose(config: TFDSStreamingConfig, fields: dict[str, Any]) -> tuple[bool, str]:
    if "prefetch_buffer" in fields:
        return False, "prefetch_buffer was given, which only streaming has"
    content = open_split(config).content
    layout = content.layout
    if layout.ragged():
        return False, f"the shape of {', '.join(layout.ragged())} varies and pad_to gives no length"
    size, memory = layout.decoded_bytes(len(content)), device_memory()
    fits = size <= _SHARE * memory
    return fits, (
        f"{in_words(size)} decoded are {'at most' if fits else 'more than'} {_SHARE:.0%} of the "
        f"{in_words(memory)} of the device"
    )
