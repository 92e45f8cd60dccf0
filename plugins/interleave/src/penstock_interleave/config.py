"""Configs of the interleaved scheduler."""

from typing import Any

import attrs

from penstock import ConfigError
from penstock.config import component_field, integer, text
from penstock.errors import Problem

INTERVALS = ("every_n_epochs", "every_n_updates", "every_n_samples")


@attrs.frozen(kw_only=True)
class CallbackConfig:
    """A stream that runs whole, once, each time its interval of training has passed.

    stream: its name, which its steps carry.
    source, sampler, batcher, stages: its own parts. Without a sampler it runs one epoch of its
        source; without a batcher it uses the pipeline's; without stages, the pipeline's that are
        not stochastic.
    batch_size: 1 or more; the pipeline's where None.
    every_n_epochs, every_n_updates, every_n_samples: the interval; exactly one is given.

    Raises `ConfigError` for none or several intervals, and for `every_n_samples` without a
    `batch_size`.
    """

    stream: str = attrs.field(validator=text())
    source: Any = component_field("source")
    sampler: Any = component_field("sampler", default=None)
    batcher: Any = component_field("batcher", default=None)
    stages: Any = component_field("stage", default=None, many=True)
    batch_size: int | None = attrs.field(default=None, validator=integer(1, optional=True))
    every_n_epochs: int | None = attrs.field(default=None, validator=integer(1, optional=True))
    every_n_updates: int | None = attrs.field(default=None, validator=integer(1, optional=True))
    every_n_samples: int | None = attrs.field(default=None, validator=integer(1, optional=True))

    def __attrs_post_init__(self) -> None:
        given = [name for name in INTERVALS if getattr(self, name) is not None]
        if len(given) != 1:
            said = " and ".join(given) if given else "none"
            raise ConfigError(
                [Problem("", f"exactly one of {', '.join(INTERVALS)} is needed; given: {said}")]
            )
        if self.every_n_samples is not None and self.batch_size is None:
            raise ConfigError([Problem("batch_size", "missing; every_n_samples needs it")])


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@attrs.frozen(kw_only=True)
class InterleavedSchedulerConfig:
    """Config of the interleaved scheduler.

    callbacks: the other streams, in the order in which they run where several are due at once.
    max_epochs, max_updates, max_samples: the length of one pass, whichever is reached first; where
        none is given, one pass of the train sampler.
    """

    callbacks: tuple[CallbackConfig, ...] = attrs.field(default=(), converter=_as_tuple)
    max_epochs: int | None = attrs.field(default=None, validator=integer(1, optional=True))
    max_updates: int | None = attrs.field(default=None, validator=integer(1, optional=True))
    max_samples: int | None = attrs.field(default=None, validator=integer(1, optional=True))

    def __attrs_post_init__(self) -> None:
        for i, callback in enumerate(self.callbacks):
            if not isinstance(callback, CallbackConfig):
                raise ConfigError(
                    [Problem(f"callbacks[{i}]", f"{callback!r} is no CallbackConfig")]
                )
