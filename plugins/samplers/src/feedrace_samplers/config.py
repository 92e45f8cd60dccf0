"""Configs of this plugin's samplers."""

from collections.abc import Sequence
from typing import Any

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
    component_field,
    did_you_mean,
    epochs,
    integer,
    number,
    one_of,
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
    """Config of the shuffle sampler, of which a pass is one epoch.

    seed: chooses the order of each epoch.
    """

    seed: int = attrs.field(default=42, validator=integer(0, MAX_SEED))


@attrs.frozen(kw_only=True)
class RangeSamplerConfig(SamplerConfig):
    """Config of the range sampler: records `start`, `start` + `step`, ... before `stop`.

    start: the first record. stop: None for `num_records`. step: not 0; below 0 it counts down.
    num_epochs: epochs in one pass, or -1 for an endless one.

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
    num_epochs: epochs in one pass, or -1 for an endless one.
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


_WEIGHT = number(0)
_MOST_COMPONENTS = 2**15
_STOPS = one_of("first", "all")
_TEMPERATURE = attrs.evolve(number(0, 100), optional=True)


@attrs.frozen(kw_only=True)
class MixturePoint:
    """From draw `at` on, counted from the start of the first pass, a mixture has these `weights`.

    weights: by name, or a list of one for each component; a name that is left out has weight 0.
    """

    at: int = attrs.field(validator=integer(0))
    weights: tuple[float, ...] | dict[str, float] = attrs.field(converter=as_tuple, hash=False)

    def __attrs_post_init__(self) -> None:
        _raise(_weight_problems("weights", self.weights))


@attrs.frozen(kw_only=True)
class MixtureSamplerConfig(SamplerConfig):
    """Config of the mixture sampler, over components that stand one after another in the source.

    sizes: records of each component, in order: a list, or a table by name; together all
        `num_records`. By default the components are the parts of the source, a `concat`.
    weights: share of each component in the mixture, a list or a table by name; not below 0, not all
        0. Decimals of up to four places, and whole numbers whose sum without common divisors is at
        most 65,536, are exact; others are rounded to multiples of 1 / 65,536 of their sum, and an
        epoch of such a mixture need not serve every record exactly once.
    temperature: weights by size to this power: 1, the default, draws all records equally often, and
        0 all components.
    schedule: weights that change, a list of points with `at`, a number of draws, and `weights`; the
        first is at 0.
    changes: weights that replace all others from a draw on, a list of points as in `schedule`; all
        draws before are as they were without it. `change_weights` writes one.
    interpolate: "constant" if the weights of a point hold until the next, "linear" if the shares
        move along a line from each point to the next.
    stop: the end of a pass: "first" when a component was served whole, as often as its sampler
        serves it; "all" when all were; or a number of draws.
    samplers: a sampler for each component by name; its epochs are counted apart.
    epoch_size: draws in one epoch; None for the number of records.
    num_epochs: epochs in one pass, or -1 for an endless one.
    shuffle, seed: shuffle the components that have no sampler in `samplers`, in another order each
        time they were served whole.
    """

    sizes: tuple[int, ...] | dict[str, int] | None = attrs.field(
        default=None, converter=as_tuple, hash=False
    )
    weights: tuple[float, ...] | dict[str, float] | None = attrs.field(
        default=None, converter=as_tuple, hash=False
    )
    epoch_size: int | None = attrs.field(default=None, validator=integer(1, optional=True))
    num_epochs: int = attrs.field(default=1, validator=epochs)
    shuffle: bool = attrs.field(default=True, validator=boolean)
    seed: int = attrs.field(default=42, validator=integer(0, MAX_SEED))
    temperature: float | None = attrs.field(default=None, validator=_TEMPERATURE)
    schedule: tuple[MixturePoint, ...] | None = attrs.field(default=None, converter=as_tuple)
    changes: tuple[MixturePoint, ...] = attrs.field(default=(), converter=as_tuple)
    interpolate: str = attrs.field(default="constant", validator=one_of("constant", "linear"))
    stop: int | str | None = None
    samplers: Any = component_field("sampler", default=None, named=True)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        problems = [*self._size_problems(), *self._stop_problems()]
        given = [k for k in ("weights", "temperature", "schedule") if getattr(self, k) is not None]
        if len(given) > 1:
            message = f"given with {given[0]}; give one of weights, temperature and schedule"
            problems.append(Problem(given[1], message))
        if self.weights is not None:
            problems += _weight_problems("weights", self.weights)
        if self.schedule is not None:
            problems += _point_problems("schedule", self.schedule)
            if not problems and self.schedule[0].at != 0:
                message = f"{self.schedule[0].at} leaves the draws before it without weights"
                problems.append(Problem("schedule[0].at", f"{message}; start at 0"))
        elif self.interpolate != "constant":
            problems.append(Problem("interpolate", "has no effect without a schedule"))
        problems += _point_problems("changes", self.changes) if self.changes else []
        if not problems and self.sizes is not None:
            names = list(self.sizes) if isinstance(self.sizes, dict) else []
            problems += self._named_problems(names, len(self.sizes))
        _raise(problems)

    def points(self, names: Sequence[str], sizes: Sequence[int]) -> list[tuple[int, list[float]]]:
        """Return (first draw, weight of each component) of each point of the schedule.

        Raises `ConfigError` for weights that are not those of components of these names.
        """
        _raise(self._named_problems(names, len(sizes)))
        if self.schedule is not None:
            return [(point.at, _listed(point.weights, names)) for point in self.schedule]
        if self.weights is not None:
            return [(0, _listed(self.weights, names))]
        power = 1 if self.temperature is None else self.temperature
        largest = max(sizes)  # so that no power overflows
        return [(0, list(sizes) if power == 1 else [(n / largest) ** power for n in sizes])]

    def changed(self, names: Sequence[str], count: int) -> list[tuple[int, list[float]]]:
        """Return (first draw, weight of each component) of each of the `changes`."""
        _raise(self._named_problems(names, count))
        return [(point.at, _listed(point.weights, names)) for point in self.changes]

    def _size_problems(self) -> list[Problem]:
        if self.sizes is None:
            return []
        if not isinstance(self.sizes, tuple | dict) or not self.sizes:
            return [Problem("sizes", f"{clipped(self.sizes)} is not a list of sizes")]
        if len(self.sizes) >= _MOST_COMPONENTS:
            message = f"{len(self.sizes)} components are more than {_MOST_COMPONENTS - 1}"
            return [Problem("sizes", message)]
        problems: list[Problem] = []
        for path, size in _items("sizes", self.sizes):
            try:
                check_integer(path, size, 1)
            except ConfigError as error:
                problems += error.problems
        if not problems:
            total = sum(self.sizes.values() if isinstance(self.sizes, dict) else self.sizes)
            if self.num_records not in (None, total):
                message = f"{clipped(self.sizes)} add up to {total}, not to {self.num_records}"
                problems.append(Problem("sizes", f"{message} records"))
        return problems

    def _stop_problems(self) -> list[Problem]:
        if self.stop is None:
            return []
        if self.epoch_size is not None:
            return [Problem("stop", "given with epoch_size; give one of the two")]
        good = _STOPS.holds(self.stop) or integer(1).holds(self.stop)
        if good:
            return []
        hint = did_you_mean(self.stop, ("first", "all"))
        message = f'{clipped(self.stop)} is neither "first", "all" nor an int of 1 or more{hint}'
        return [Problem("stop", message)]

    def _named_problems(self, names: Sequence[str], count: int) -> list[Problem]:
        weights = [] if self.weights is None else [("weights", self.weights)]
        for field in ("schedule", "changes"):
            for i, point in enumerate(getattr(self, field) or ()):
                weights.append((f"{field}[{i}].weights", point.weights))
        problems = []
        for path, given in weights:
            if isinstance(given, dict):
                wrong = [name for name in given if name not in names]
                problems += [unknown_part(f"{path}.{name}", name, names) for name in wrong]
            elif len(given) != count:
                which = "sizes" if self.sizes is not None else "components"
                message = f"{clipped(given)} is not one weight for each of {count} {which}"
                problems.append(Problem(path, message))
        for name in self.samplers or {}:
            if name not in names:
                problems.append(unknown_part(f"samplers.{name}", name, names))
        return problems


def unknown_part(path: str, name: Any, names: Sequence[str]) -> Problem:
    """Return the problem of a name that no component has."""
    if not names:
        return Problem(path, f"{clipped(name)} is a name, but the components have none")
    hint = did_you_mean(name, list(names)) or f"; they are {', '.join(names[:8])}"
    return Problem(path, f"no component is called {clipped(name)}{hint}")


def _point_problems(path: str, points: Any) -> list[Problem]:
    """Return the problems of points that are not in order."""
    if not points or not all(isinstance(point, MixturePoint) for point in points):
        return [Problem(path, f"{clipped(points)} is not a list of points")]
    return [
        Problem(f"{path}[{i}].at", f"{point.at} is not above {points[i - 1].at}, the point before")
        for i, point in enumerate(points)
        if i and point.at <= points[i - 1].at
    ]


def _items(path: str, values: Any) -> list[tuple[str, Any]]:
    """Return each number of a list, or of a table, with its path."""
    if isinstance(values, dict):
        return [(f"{path}.{name}", value) for name, value in values.items()]
    return [(f"{path}[{i}]", value) for i, value in enumerate(values)]


def _weight_problems(path: str, weights: Any) -> list[Problem]:
    if not isinstance(weights, tuple | dict) or not weights:
        return [Problem(path, f"{clipped(weights)} is neither a list nor a table of weights")]
    items = _items(path, weights)
    problems = [
        Problem(at, f"{clipped(weight)} is not a finite number of 0 or more")
        for at, weight in items
        if not _WEIGHT.holds(weight)
    ]
    if not problems and not sum(weight for _, weight in items) > 0:
        problems.append(Problem(path, f"{clipped(weights)} are all 0; one must be above 0"))
    return problems


def _listed(weights: Any, names: Sequence[str]) -> list[float]:
    return [weights.get(name, 0) for name in names] if isinstance(weights, dict) else list(weights)


def _raise(problems: list[Problem]) -> None:
    if problems:
        raise ConfigError(problems)


@attrs.frozen(kw_only=True)
class BlockShuffleSamplerConfig(SamplerConfig):
    """Config of the block-shuffle sampler.

    block_size: consecutive records that are read near one another.
    window_blocks: blocks whose records are shuffled together.
    num_epochs: epochs in one pass, or -1 for an endless one.
    seed: chooses the order of each epoch.
    """

    block_size: int = attrs.field(default=1024, validator=integer(1))
    window_blocks: int = attrs.field(default=16, validator=integer(1))
    num_epochs: int = attrs.field(default=1, validator=epochs)
    seed: int = attrs.field(default=42, validator=integer(0, MAX_SEED))
