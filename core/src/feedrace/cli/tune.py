"""`feedrace tune`: try workers, prefetch and block sizes, and show which serve most records."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any

import attrs
import click

from feedrace.cli.output import (
    batcher_of,
    config_argument,
    json_option,
    print_json,
    report_errors,
)
from feedrace.cli.run import await_batch
from feedrace.errors import ConfigError, FeedraceError, in_words
from feedrace.protocols import Grouping, OnDevice, Readable, place_of, provides

Changes = dict[str, Any]  # other values for `workers`, `prefetch` and the sampler's `block_size`

MARGIN = 1.03  # a smaller gain counts as none: machines are noisier than that
OFTEN = 0.75  # and so does one that fewer of the turns show
_TURNS = 5  # at most, of a trial, each after one of the config as it is
_AGAIN = 3  # how much longer the best is tried again
_FEWEST = 6  # batches in a turn, or windows


@attrs.frozen
class Trial:
    """What trying some changes showed.

    gain: the records/s over those of the config as it is, timed in turns with it. faster: the share
        of turns in which they were more.
    reason: why it cannot be, in which case it has neither rate nor gain; else empty.
    """

    changes: Changes
    records_per_s: float = 0.0
    gain: float = 0.0
    faster: float = 0.0
    reason: str = ""

    def beats(self, other: "Trial") -> bool:
        """Return whether it is clearly faster than another trial, and than the config as it is."""
        return self.gain >= other.gain * MARGIN and self.faster >= OFTEN


UNCHANGED = Trial({}, gain=1.0)


@click.command()
@config_argument
@click.option(
    "--seconds", type=click.FloatRange(min=1), default=60.0, show_default=True,
    help="Try for about so long.",
)  # fmt: skip
@json_option
@report_errors
def tune(config: str, seconds: float, as_json: bool) -> None:
    """Try workers, prefetch and block sizes, and show which serve the most records.

    Each trial is timed in turns with the config as it is. The best is shown as lines for the
    config, which is not changed.
    """
    from feedrace.config.files import problems_located, read_mapping

    with problems_located(config):
        mapping = endless(read_mapping(config), config)
        base = Running(mapping, config)
    tried: list[Trial] = []

    def note(trial: Trial) -> Trial:
        tried.append(trial)
        if not as_json:
            click.echo(_row(trial, base.current))
        return trial

    if not as_json:
        click.echo(_header(base.current))
    with closing(base):
        note(Trial({}, round(base.rate(seconds / 20), 1), 1.0))
        best = explore(base, mapping, time.monotonic() + seconds, note)
    if as_json:
        rows = [attrs.asdict(trial) for trial in tried]
        document = {"config": config, "current": base.current, "tried": rows}
        print_json({**document, "best": best.changes, "gain": best.gain})
    elif best.changes:
        click.echo(f"\n{best.gain:.2f}x the records/s of the config as it is, with:\n")
        click.echo("\n".join(lines(best.changes, Path(config).suffix.lower())))
    elif any(trial.gain for trial in tried[1:]):
        click.echo("\nThe config is the best already: nothing here is clearly faster.")
    else:
        click.echo("\nNothing else could be timed.")


def explore(
    base: "Running", mapping: Mapping[str, Any], deadline: float, note: Callable[[Trial], Trial]
) -> Trial:
    """Return the best trial, or one without changes if none is clearly faster than `base`.

    deadline: on the clock of `time.monotonic`, more or less. note: called with each trial.
    """
    values, impossible = values_to_try(base)
    for trial in impossible:
        note(trial)
    left = sum(map(len, values.values())) + _AGAIN

    def measure(changes: Changes, weight: int = 1) -> Trial:
        nonlocal left
        share, left = (deadline - time.monotonic()) / left, left - weight
        if share <= 0 and weight == 1:
            return note(Trial(changes, reason="no time was left; give more --seconds"))
        return note(measured(base, mapping, changes, share * weight, turns=_TURNS * weight))

    best = search(values, measure)
    if best.changes:  # once more: the best of many may owe it to chance
        best = measure(best.changes, _AGAIN)
    return best if best.beats(UNCHANGED) else UNCHANGED


def search(values: Mapping[str, Sequence[Any]], measure: Callable[[Changes], Trial]) -> Trial:
    """Return the best trial, found for one key after another with the best of those before.

    values: for each key those to try, without the one that the config has.
    """
    best = UNCHANGED
    for key, some in values.items():
        kept = best.changes
        for value in some:
            trial = measure({**kept, key: value})
            if trial.beats(best):
                best = trial
    return best


def endless(mapping: dict[str, Any], origin: str = "") -> dict[str, Any]:
    """Return a config whose pass does not end, if its sampler can give one; else as it is."""
    from feedrace.pipeline.options import parse_options

    sampler = getattr(parse_options(mapping, origin).sampler, "config", None)
    if mapping.get("scheduler") is None and hasattr(sampler, "num_epochs"):
        changed = {**mapping, "sampler": {**mapping["sampler"], "num_epochs": -1}}
        with suppress(ConfigError):  # another sampler's epochs may have other rules
            parse_options(changed)
            return changed
    return mapping


def applied(mapping: Mapping[str, Any], changes: Changes) -> dict[str, Any]:
    """Return a config with some changes."""
    changed = {**mapping, **changes}
    if "block_size" in changes:
        changed["sampler"] = {**mapping["sampler"], "block_size": changed.pop("block_size")}
    return changed


class Running:
    """A pipeline that is iterated now and then, for a slice of time.

    current: its values, given or by default, of what can be changed.
    """

    def __init__(self, mapping: Mapping[str, Any], origin: str = "") -> None:
        from feedrace.pipeline.assemble import build
        from feedrace.pipeline.options import parse_options, worker_count
        from feedrace.plan.steps import TRAIN

        self.pipeline = build(mapping, origin=origin)
        options = parse_options(mapping)
        workers = worker_count(options.workers)
        self.current = {
            "workers": _workers(workers.kind, workers.count),
            "prefetch": options.prefetch,
        }
        block_size = getattr(getattr(options.sampler, "config", None), "block_size", None)
        if block_size is not None:
            self.current["block_size"] = block_size
        size, batcher = options.batch_size, batcher_of(self.pipeline, TRAIN)
        windowed = provides(batcher, Grouping)
        # Records that come together: those of a batch, or of a window.
        self._unit = batcher.window_size(size) if windowed else size
        self._unit = min(self._unit, self.pipeline.plans[TRAIN].records_per_epoch)
        # Records that may be ready from before a turn, and would count in it.
        self._ahead = options.prefetch * size + (2 * workers.count + 3) * self._unit
        self._steps: Any = iter(())

    def rate(self, seconds: float) -> float:
        """Return the records/s of some batches or windows, taken in about so many seconds.

        What may be ready from before does not count, nor what comes in a quarter of the time.
        """
        self._take(self._ahead, seconds / 4)
        began = time.perf_counter()
        records = self._take(_FEWEST * self._unit, seconds * 3 / 4)
        return records / (time.perf_counter() - began)

    def _take(self, fewest: int, seconds: float) -> int:
        """Take steps for so many seconds, and until they hold so many records; return how many."""
        began, records = time.perf_counter(), 0
        while records < fewest or time.perf_counter() - began < seconds:
            records += self._next()
        return records

    def _next(self) -> int:
        """Return the number of records of the next step, of the next pass at the end of one."""
        step = next(self._steps, None)
        if step is None:
            self._steps = self.pipeline.steps()
            step = next(self._steps, None)
        if step is None:
            raise FeedraceError("a pass of the config has no steps")
        await_batch(step)
        return len(step.indices)

    def close(self) -> None:
        """End the iteration, and with it its workers."""
        if hasattr(self._steps, "close"):
            self._steps.close()


def values_to_try(base: Running) -> tuple[dict[str, list[Any]], list[Trial]]:
    """Return for each key the values to try besides the current one, and trials that cannot be."""
    from feedrace.host.machine import usable_cpus

    cpus = usable_cpus()
    counts = sorted({1, 2, cpus // 2, cpus} - {0})
    some = [_workers(kind, count) for kind in ("thread", "process") for count in counts]
    values = {"workers": [0, *some], "prefetch": [1, 2, 4, 8]}
    source = base.pipeline.components()["source"][1]
    if "block_size" in base.current:
        size = base.current["block_size"]
        values["block_size"] = [n for n in (size // 4, size * 4, size * 16) if 0 < n <= len(source)]
    if _is_on_device(source):  # any prefetch but 0 makes several batches one dispatch
        values["prefetch"] = [] if base.current["prefetch"] else [1]
    impossible = []
    reason = _why_no_workers(base.pipeline)
    if reason:
        impossible = [Trial({"workers": n}, reason=reason) for n in values.pop("workers")[1:]]
    others = {key: [n for n in some if n != base.current[key]] for key, some in values.items()}
    return others, impossible


def _why_no_workers(pipeline: Any) -> str:
    """Return why workers would have nothing to do; an empty string if they have."""
    source = pipeline.components()["source"][1]
    if _is_on_device(source):
        return "the records are on the device already"
    places = {place_of(part) for kind, part in pipeline.components().values() if kind == "stage"}
    if not provides(source, Readable) and "record" not in places:
        return "the source has no reader(), so one thread reads, and no stage works on records"
    return ""


def _is_on_device(source: Any) -> bool:
    return provides(source, OnDevice) and bool(source.on_device)


def measured(
    base: Running,
    mapping: Mapping[str, Any],
    changes: Changes,
    seconds: float,
    *,
    turns: int = _TURNS,
) -> Trial:
    """Return what some changes bring, timed for about so many seconds in turns with `base`.

    turns: at most so many. Their median counts, since other programs may come and go meanwhile.
    """
    deadline, reasons = time.monotonic() + seconds, list[str]()
    rates: list[tuple[float, float]] = []
    with ExitStack() as stack:
        with _noting(reasons):
            running = stack.enter_context(closing(Running(applied(mapping, changes))))
            running.rate(0)  # starts its workers
        turn = max(0.0, deadline - time.monotonic()) / (2 * turns)
        for done in range(turns):
            if reasons or (done and time.monotonic() > deadline):
                break
            theirs = base.rate(turn)
            with _noting(reasons):
                rates.append((running.rate(turn), theirs))
    if reasons:
        return Trial(changes, reason=reasons[0])
    gains = [ours / theirs for ours, theirs in rates]
    return Trial(
        changes,
        records_per_s=round(median(rate for rate, _ in rates), 1),
        gain=round(median(gains), 3),
        faster=round(sum(gain > 1 for gain in gains) / len(gains), 2),
    )


@contextmanager
def _noting(reasons: list[str]) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 (components may refuse in any way)
        reasons.append(str(error) if isinstance(error, FeedraceError) else in_words(error))


def lines(changes: Changes, suffix: str) -> list[str]:
    """Return changes as lines for a config in the format that goes with the extension."""
    from feedrace.config.files import toml_value

    def line(key: str, value: Any) -> str:
        if suffix == ".toml":
            return f"{key} = {toml_value(value)}"
        return (
            f'"{key}": {json.dumps(value)},' if suffix == ".json" else f"{key}: {json.dumps(value)}"
        )

    shown = [line(key, value) for key, value in changes.items() if key != "block_size"]
    if "block_size" in changes:
        shown += [
            "",
            "and in the sampler, for another order of records, which refuses states of this one:",
            "",
            line("block_size", changes["block_size"]),
        ]
    return shown


def _workers(kind: str, count: int) -> Any:
    """Return a value of the option `workers`, as short as it can be written."""
    return {"kind": kind, "count": count} if kind == "process" and count else count


def _header(current: Changes) -> str:
    return "  ".join(["records/s".rjust(12), "gain".rjust(6), *(f"{key:<12}" for key in current)])


def _row(trial: Trial, current: Changes) -> str:
    figures = [f"{trial.records_per_s:12,.0f}", f"{trial.gain:5.2f}x"]
    figures = ["-".rjust(12), "-".rjust(6)] if trial.reason else figures
    values = [f"{_short(value):<12}" for value in {**current, **trial.changes}.values()]
    remark = trial.reason or ("" if trial.changes else "the config as it is")
    return "  ".join([*figures, *values, remark]).rstrip()


def _short(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    return f"{value['count']} process{'es' * (value['count'] > 1)}"
