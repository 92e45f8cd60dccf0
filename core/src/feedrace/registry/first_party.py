"""Which names the plugins of this project offer."""

from collections.abc import Mapping

# By extra and namespace; known even if the plugin is not installed.
FIRST_PARTY: Mapping[str, tuple[str, ...]] = {
    "samplers": (
        "sampler/epoch-aware",
        "sampler/shuffle",
        "sampler/range",
        "sampler/sliding-window",
        "sampler/mixture",
        "sampler/block-shuffle",
    ),
    "batchers": ("batcher/default", "batcher/bucket", "batcher/pack", "batcher/multi-rate"),
    "tfds": ("source/tfds-eager", "source/tfds-streaming"),
    "interleave": ("scheduler/interleaved",),
    "text": ("stage/byte-tokens", "stage/tokenize"),
    "testing": (),  # commands for plugin authors
}
