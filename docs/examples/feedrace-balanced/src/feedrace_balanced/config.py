"""The fields of the sampler's config; light, like `plugin.py`."""

import math
from collections.abc import Mapping
from typing import Any

import attrs

from feedrace.plugin import ConfigError, Problem, SamplerConfig, as_tuple, epochs, integer, text

MAX_PERIOD = 65536


@attrs.frozen(kw_only=True)
class BalancedConfig(SamplerConfig):
    """Config of the balanced sampler.

    num_records: records to sample from; if None, a pipeline takes the number from its source.
    label: the field of the source that holds the labels, ints or strings.
    labels: the labels themselves, one for each record, instead of those of the source.
    shares: how often to draw each label, as whole numbers; labels that are not in it are not drawn.
        If None, all labels equally often.
    epoch_size: draws in one epoch; if None, the number of records.
    num_epochs: epochs in one pass, 1 or more, or -1 for no end.
    seed: determines the order.

    Raises `ConfigError` if the shares are not whole numbers, or are all 0.
    """

    label: str = attrs.field(default="label", validator=text())
    labels: tuple[int | str, ...] | None = attrs.field(default=None, converter=as_tuple)
    shares: dict[str, int] | None = attrs.field(default=None, hash=False)
    epoch_size: int | None = attrs.field(default=None, validator=integer(1, optional=True))
    num_epochs: int = attrs.field(default=1, validator=epochs)
    seed: int = attrs.field(default=42, validator=integer(0, 2**63 - 1))

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        problems = [] if self.shares is None else _share_problems(self.shares)
        if self.labels is not None and self.num_records not in (None, len(self.labels)):
            message = f"{len(self.labels)} labels do not match {self.num_records} records"
            problems.append(Problem("labels", f"{message}; give one for each"))
        if problems:
            raise ConfigError(problems)


def _share_problems(shares: Any) -> list[Problem]:
    if not isinstance(shares, Mapping) or not shares:
        return [Problem("shares", f"{shares!r} is not a table of labels and whole numbers")]
    problems = [
        Problem(f"shares.{label}", f"{share!r} is not an int of 0 or more")
        for label, share in shares.items()
        if not isinstance(share, int) or isinstance(share, bool) or share < 0
    ]
    if problems:
        return problems
    period = sum(shares.values()) // max(math.gcd(*shares.values()), 1)
    if not 1 <= period <= MAX_PERIOD:
        message = f"they add up to {period}, which is not from 1 to {MAX_PERIOD}"
        return [Problem("shares", message)]
    return []
