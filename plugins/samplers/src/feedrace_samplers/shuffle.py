"""The sampler that shuffles, one epoch a pass."""

from feedrace.plugin import OrderedSamplerModule


class ShuffleSamplerModule(OrderedSamplerModule):
    """Every record exactly once a pass, each pass in another order."""
