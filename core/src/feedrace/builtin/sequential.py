"""The sampler of the stored order."""

from feedrace.modules.sampler import OrderedSamplerModule


class SequentialSamplerModule(OrderedSamplerModule):
    """Records 0 to num_records - 1 in order, epoch after epoch."""
