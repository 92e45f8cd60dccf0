"""Configs of the interleaved scheduler."""

from typing import Any, Self

import attrs

from feedrace.plugin import (
    MAX_SIZE,
    ConfigError,
    Problem,
    as_tuple,
    boolean,
    clipped,
    component_field,
    integer,
    text,
)

INTERVALS = ("every_n_epochs", "every_n_updates", "every_n_samples")


@attrs.frozen(kw_only=True)
class CallbackConfig:
    """A stream that runs whole, once, each time its interval of training has passed.

    stream: its name, which its steps carry.
    source, sampler, batcher, stages: its own parts. Without a sampler it runs one epoch of its
        source; without a batcher it uses the pipeline's; without stages, the pipeline's that are
        not stochastic.
    batch_size: 1 or more; None for the pipeline's.
    every_n_epochs, every_n_updates, every_n_samples: the interval; exactly one is given.
    at_start, at_end: also run before the first update, and after the last of a pass.

    Raises `ConfigError` for none or several intervals, and for `every_n_samples` without a
    `batch_size`.
    """

    stream: str = attrs.field(validator=text())
    source: Any = component_field("source")
    sampler: Any = component_field("sampler", default=None)
    batcher: Any = component_field("batcher", default=None)
    stages: Any = component_field("stage", default=None, many=True)
    batch_size: int | None = attrs.field(
        default=None, validator=integer(1, MAX_SIZE, optional=True)
    )
    every_n_epochs: int | None = attrs.field(default=None, validator=integer(1, optional=True))
    every_n_updates: int | None = attrs.field(default=None, validator=integer(1, optional=True))
    every_n_samples: int | None = attrs.field(default=None, validator=integer(1, optional=True))
    at_start: bool = attrs.field(default=False, validator=boolean)
    at_end: bool = attrs.field(default=False, validator=boolean)

    def __attrs_post_init__(self) -> None:
        _check_interval(self)


@attrs.frozen(kw_only=True)
class InterleavedSchedulerConfig:
    """Config of the interleaved scheduler.

    callbacks: the other streams, in the order in which they run if several are due at once.
    max_epochs, max_updates, max_samples: the length of one pass, whichever is reached first;
        without any, one pass of the train sampler.
    """

    callbacks: tuple[CallbackConfig, ...] = attrs.field(default=(), converter=as_tuple)
    max_epochs: int | None = attrs.field(default=None, validator=integer(1, optional=True))
    max_updates: int | None = attrs.field(default=None, validator=integer(1, optional=True))
    max_samples: int | None = attrs.field(default=None, validator=integer(1, optional=True))

    def __attrs_post_init__(self) -> None:
        for i, callback in enumerate(self.callbacks):
            if not isinstance(callback, CallbackConfig):
                raise ConfigError(
                    [Problem(f"callbacks[{i}]", f"{clipped(callback)} is not a CallbackConfig")]
                )


@attrs.frozen
class SamplerIntervalConfig:
    """A sampler that interrupts the train sampler each time its interval has passed.

    sampler: any sized iterable of ints, iterated once for each interruption.
    pipeline: collates the samples of this sampler's dataset; None for torch's default.
    every_n_epochs, every_n_updates, every_n_samples: the interval; exactly one is given.
    batch_size: 1 or more; None for that of the train sampler.

    Raises `ConfigError` for none or several intervals, and for `every_n_samples` without a
    `batch_size`.
    """

    sampler: Any
    pipeline: Any = None
    every_n_epochs: int | None = attrs.field(default=None, validator=integer(1, optional=True))
    every_n_updates: int | None = attrs.field(default=None, validator=integer(1, optional=True))
    every_n_samples: int | None = attrs.field(default=None, validator=integer(1, optional=True))
    batch_size: int | None = attrs.field(
        default=None, validator=integer(1, MAX_SIZE, optional=True)
    )

    def __attrs_post_init__(self) -> None:
        self.validate_frequency()

    def validate_frequency(self) -> Self:
        """Return the config; raise `ConfigError` as making it does for a wrong interval."""
        _check_interval(self)
        return self

    @classmethod
    def check_positive_values(cls, v: int | None) -> int | None:
        """Return an interval or batch size; raise `ConfigError` unless it is None, or 1 or more."""
        integer(1, optional=True).check("value", v)
        return v


@attrs.frozen(kw_only=True)
class InterleavedSamplerConfig:
    """Config of the interleaved sampler.

    batch_size: of the train sampler, 1 or more; with `drop_last`, at most its length is used.
    drop_last: drop the last batch of an epoch if it is short.
    max_epochs, max_updates, max_samples: stop at the first of these; at least one is given. With 0
        the callback samplers run once and the train sampler does not.
    start_epoch, start_update, start_sample: the start, at most one of them.
    evaluation: run the callback samplers once, and nothing else.

    Raises `ConfigError` without a limit, and for several starts.
    """

    batch_size: int = attrs.field(validator=integer(1, MAX_SIZE))
    drop_last: bool = attrs.field(default=True, validator=boolean)
    max_epochs: int | None = attrs.field(default=None, validator=integer(0, optional=True))
    max_updates: int | None = attrs.field(default=None, validator=integer(0, optional=True))
    max_samples: int | None = attrs.field(default=None, validator=integer(0, optional=True))
    start_epoch: int | None = attrs.field(default=None, validator=integer(0, optional=True))
    start_update: int | None = attrs.field(default=None, validator=integer(0, optional=True))
    start_sample: int | None = attrs.field(default=None, validator=integer(0, optional=True))
    evaluation: bool = attrs.field(default=False, validator=boolean)

    def __attrs_post_init__(self) -> None:
        problems: list[Problem] = []
        for validate in (self.validate_stop, self.validate_start):
            try:
                validate()
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(problems)

    @classmethod
    def check_positive_values(cls, v: int | None) -> int | None:
        """Return a limit or a start; raise `ConfigError` unless it is None, or 0 or more."""
        integer(0, optional=True).check("value", v)
        return v

    def validate_stop(self) -> Self:
        """Return the config; raise `ConfigError` if no limit is given."""
        limits = ("max_epochs", "max_updates", "max_samples")
        if all(getattr(self, name) is None for name in limits):
            message = f"no limit; at least one of {', '.join(limits)} is needed"
            raise ConfigError([Problem("", message)])
        return self

    def validate_start(self) -> Self:
        """Return the config; raise `ConfigError` if more than one start is given."""
        starts = ("start_epoch", "start_update", "start_sample")
        given = [name for name in starts if getattr(self, name) is not None]
        if len(given) > 1:
            message = f"at most one of {', '.join(starts)}; given: {' and '.join(given)}"
            raise ConfigError([Problem("", message)])
        return self


def _check_interval(config: Any) -> None:
    problems = []
    given = [name for name in INTERVALS if getattr(config, name) is not None]
    if len(given) != 1:
        found = " and ".join(given) if given else "none"
        message = f"exactly one of {', '.join(INTERVALS)} is needed; given: {found}"
        problems.append(Problem("", message))
    if config.every_n_samples is not None and config.batch_size is None:
        problems.append(Problem("batch_size", "missing; every_n_samples needs it"))
    if problems:
        raise ConfigError(problems)
