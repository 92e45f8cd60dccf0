"""Configs of this plugin's samplers."""

import attrs

from penstock import ConfigError, SamplerConfig
from penstock.config import boolean, integer
from penstock.errors import Problem


@attrs.frozen(kw_only=True)
class EpochAwareSamplerConfig(SamplerConfig):
    """Config of the epoch-aware sampler.

    num_records: records in the dataset, 1 or more; in a pipeline it may come from the source.
    num_epochs: epochs in one pass, 1 or more, or -1 for an endless one.
    shuffle: a new permutation each epoch; otherwise the stored order.
    seed: chooses the permutations, from 0 to 2**63 - 1.
    """

    num_epochs: int = attrs.field(default=1, validator=integer(-1))
    shuffle: bool = attrs.field(default=True, validator=boolean)
    seed: int = attrs.field(default=42, validator=integer(0, 2**63 - 1))

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.num_epochs == 0:
            raise ConfigError([Problem("num_epochs", "0 is neither 1 or more nor -1 (endless)")])
