"""Configs of this plugin's samplers."""

import attrs

from feedrace.plugin import (
    MAX_SIZE,
    ConfigError,
    Problem,
    SamplerConfig,
    as_tuple,
    boolean,
    check_integer,
    clipped,
    epochs,
    integer,
    number,
)

MAX_SEED = 2**63 - 1


@attrs.frozen(slots=False)
class EpochAwareSamplerConfig(SamplerConfig):
    """Config of the epoch-aware sampler.

    num_records: records in the dataset, 1 or more; in a pipeline it may come from the source.
    num_epochs: epochs in one pass, 1 or more, or -1 for an endless one.
    shuffle: a new permutation each epoch; otherwise the stored order.
    seed: chooses the permutations, from 0 to 2**63 - 1.
    """

    num_epochs: int = attrs.field(default=1, validator=epochs)
    shuffle: bool = attrs.field(default=True, validator=boolean)
    seed: int = attrs.field(default=42, validator=integer(0, MAX_SEED))


@attrs.frozen(kw_only=True)
class ShuffleSamplerConfig(SamplerConfig):
    """Config of the shuffle sampler: one epoch a pass, shuffled by `seed`, 0 to 2**63 - 1."""

    seed: int = attrs.field(default=42, validator=integer(0, MAX_SEED))


@attrs.frozen(kw_only=True)
class RangeSamplerConfig(SamplerConfig):
    """Config of the range sampler: records `start`, `start` + `step`, ... before `stop`.

    start: the first record. stop: None for `num_records`. step: not 0; below 0 it counts down.

    Raises `ConfigError` for a range that is empty or leaves the records.
    """

    start: int = attrs.field(default=0, validator=integer(0))
    stop: int | None = attrs.field(default=None, validator=integer(-1, optional=True))
    step: int = attrs.field(default=1, validator=integer())
    num_epochs: int = attrs.field(default=1, validator=epochs)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.step == 0:
            raise ConfigError([Problem("step", "0 leads nowhere; give a step above or below 0")])
        if self.stop is None and self.num_records is None:
            return  # the source will give the number of records
        records = self.records()
        if len(records) == 0:
            message = f"{self.stop!r} leaves no record from {self.start} in steps of {self.step}"
            raise ConfigError([Problem("stop", message)])
        if self.num_records is not None and max(records[0], records[-1]) >= self.num_records:
            last = max(records[0], records[-1])
            message = f"{self.stop!r} leads to record {last} of {self.num_records}"
            raise ConfigError([Problem("stop", message)])

    def records(self) -> range:
        """Return the record numbers."""
        return range(self.start, self.num_records if self.stop is None else self.stop, self.step)  # type: ignore[arg-type]


@attrs.frozen(kw_only=True)
class SlidingWindowSamplerConfig(SamplerConfig):
    """Config of the sliding-window sampler.

    window_size: consecutive records in one element. stride: from one window to the next.
    shuffle, seed: the order of the windows, another one each epoch.

    Raises `ConfigError` for a window longer than the data.
    """

    window_size: int = attrs.field(validator=integer(1, MAX_SIZE))
    stride: int = attrs.field(default=1, validator=integer(1))
    num_epochs: int = attrs.field(default=1, validator=epochs)
    shuffle: bool = attrs.field(default=False, validator=boolean)
    seed: int = attrs.field(default=42, validator=integer(0, MAX_SEED))

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.num_records is not None and self.window_size > self.num_records:
            message = f"{self.window_size} is longer than the data of {self.num_records} records"
            raise ConfigError([Problem("window_size", message)])


@attrs.frozen(kw_only=True)
class MixtureSamplerConfig(SamplerConfig):
    """Config of the mixture sampler, over components that stand one after another in the source.

    sizes: records of each component; together all `num_records`.
    weights: share of each component in the mixture, not below 0, not all 0; None for the sizes.
        Decimals of up to four places, and whole numbers whose sum without common divisors is at
        most 65,536, are exact; others are rounded to multiples of 1 / 65,536 of their sum, and an
        epoch of such a mixture need not serve every record exactly once.
    epoch_size: draws in one epoch; None for the number of records.
    shuffle, seed: the order within each component, another one each time it was served whole.
    """

    sizes: tuple[int, ...] = attrs.field(converter=as_tuple)
    weights: tuple[float, ...] | None = attrs.field(default=None, converter=as_tuple)
    epoch_size: int | None = attrs.field(default=None, validator=integer(1, optional=True))
    num_epochs: int = attrs.field(default=1, validator=epochs)
    shuffle: bool = attrs.field(default=True, validator=boolean)
    seed: int = attrs.field(default=42, validator=integer(0, MAX_SEED))

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        problems: list[Problem] = []
        if not isinstance(self.sizes, tuple) or not self.sizes:
            raise ConfigError([Problem("sizes", f"{clipped(self.sizes)} is not a list of sizes")])
        for i, size in enumerate(self.sizes):
            try:
                check_integer(f"sizes[{i}]", size, 1)
            except ConfigError as error:
                problems += error.problems
        weights = self.sizes if self.weights is None else self.weights
        if not isinstance(weights, tuple) or len(weights) != len(self.sizes):
            message = (
                f"{clipped(self.weights)} is not one weight for each of {len(self.sizes)} sizes"
            )
            problems.append(Problem("weights", message))
        else:
            for i, weight in enumerate(weights):
                if not number(0).holds(weight):
                    message = f"{clipped(weight)} is not a finite number of 0 or more"
                    problems.append(Problem(f"weights[{i}]", message))
            if not problems and not sum(weights) > 0:
                problems.append(
                    Problem("weights", f"{clipped(weights)} are all 0; one must be above 0")
                )
        if not problems and self.num_records not in (None, sum(self.sizes)):
            total = f"{clipped(self.sizes)} add up to {sum(self.sizes)}"
            message = f"{total}, not to {self.num_records} records"
            problems.append(Problem("sizes", message))
        if problems:
            raise ConfigError(problems)


@attrs.frozen(kw_only=True)
class BlockShuffleSamplerConfig(SamplerConfig):
    """Config of the block-shuffle sampler.

    block_size: consecutive records that are read near one another.
    window_blocks: blocks whose records are shuffled together.
    """

    block_size: int = attrs.field(default=1024, validator=integer(1))
    window_blocks: int = attrs.field(default=16, validator=integer(1))
    num_epochs: int = attrs.field(default=1, validator=epochs)
    seed: int = attrs.field(default=42, validator=integer(0, MAX_SEED))
