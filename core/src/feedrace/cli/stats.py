"""`feedrace stats`: what is in the records of a config."""

import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import click

from feedrace.cli.output import (
    config_argument,
    echo,
    job_options,
    json_option,
    print_json,
    report_errors,
)
from feedrace.errors import clipped

if TYPE_CHECKING:
    from feedrace.host.statistics import FieldStatistics, Lengths

_MOST_CHANNELS, _MOST_ROWS = 8, 20  # that are shown


@click.command()
@config_argument
@job_options
@json_option
@report_errors
def stats(
    config: str,
    workers: int | None,
    runner: str | None,
    runner_option: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show what is in the records: counts, means, deviations, lengths, labels.

    They are those of the train stream's source after its record stages, each once, whatever the
    sampler. They are computed once, and kept until the data or a stage changes; `normalize` with
    statistics = "auto" takes the same.
    """
    from feedrace.pipeline.jobs import load_records
    from feedrace.pipeline.kept import JobRun, jobs_run
    from feedrace.pipeline.statistics import statistics, statistics_folder

    every = load_records(config)
    for text in every.unused:
        click.echo(f"feedrace: not in these statistics: {text}", err=True)
    with jobs_run(JobRun(workers=workers, runner=runner, runner_options=runner_option)):
        found = statistics(every)
    folder = statistics_folder(every)
    kept = str(folder) if folder.is_dir() else None
    if as_json:
        fields = {name: _document(field) for name, field in found.fields.items()}
        counts = {"records": found.records, "left_out": found.left_out, "kept_in": kept}
        print_json({"config": config, **counts, "fields": fields})
        return
    left_out = f"; {found.left_out:,} could not be read" if found.left_out else ""
    echo(f"{found.records:,} records of the train stream's source{left_out}")
    for name, field in found.fields.items():
        _show(name, field)
    if kept is not None:
        echo(f"kept in {kept}")


def _show(name: str, field: "FieldStatistics") -> None:
    shape = ", ".join("any" if size is None else str(size) for size in field.shape)
    is_text = field.dtype == "object" and not field.shape
    echo(f"{name}: {'text or bytes' if is_text else f'{field.dtype}[{shape}]'}")
    if len(field.min) == 1:
        echo(f"  {_in_words(field.min[0], field.max[0], field.mean[0], field.std[0])}")
    elif field.min:
        columns = zip(field.min, field.max, field.mean, field.std, strict=True)
        rows = [[str(number), *map(_text, row)] for number, row in enumerate(columns)]
        _echo_columns([["channel", "min", "max", "mean", "std"], *rows[:_MOST_CHANNELS]])
        if len(rows) > _MOST_CHANNELS:
            echo(f"  and {len(rows) - _MOST_CHANNELS} more channels; --json shows all")
    apart = {"NaN": field.nan, "infinite": field.infinite, "neither text nor bytes": field.other}
    for what, count in apart.items():
        if count:
            echo(f"  {count:,} of them {what}")
    for axis, lengths in field.lengths.items():
        what = "length" if len(field.shape) < 2 else f"length of axis {axis}"
        if lengths.min == lengths.max:
            echo(f"  {what}: {lengths.min:,}")
            continue
        echo(f"  {what}: {_in_words(lengths.min, lengths.max, lengths.mean, lengths.std)}")
        _echo_bars([(_span(low, high), count) for low, high, count in _few(lengths)])
    if field.values is not None:
        _show_values(field.values)
    elif field.uncounted:
        echo(f"  values are not counted: {field.uncounted}")


def _show_values(values: Mapping[Any, int]) -> None:
    if 1 < len(values) == sum(values.values()):
        echo(f"  {len(values):,} different values, each of them once")
        return
    shown = list(values.items())[:_MOST_ROWS]
    shown = sorted(shown) if len(shown) == len(values) else shown
    more = f"; the {_MOST_ROWS} most frequent" if len(shown) < len(values) else ""
    echo(f"  {len(values):,} different value{'s' * (len(values) != 1)}{more}:")
    _echo_bars([(clipped(value, 30), count) for value, count in shown], sum(values.values()))


def _few(lengths: "Lengths") -> list[tuple[int, int, int]]:
    """Return the bins, joined to powers of two if there are too many for a screen."""
    if len(lengths.bins) <= _MOST_ROWS:
        return list(lengths.bins)
    joined: dict[int, int] = {}
    for low, _, count in lengths.bins:
        bits = low.bit_length()
        joined[bits] = joined.get(bits, 0) + count
    return [(1 << bits >> 1, (1 << bits) - 1, count) for bits, count in joined.items()]


def _span(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _echo_bars(rows: Sequence[tuple[str, int]], total: int | None = None) -> None:
    """Print a name, a count, its share of the total and a bar in each row."""
    total = sum(count for _, count in rows) if total is None else total
    most = max((count for _, count in rows), default=1)
    cells = [[name, f"{count:,}", f"{count / total:.1%}"] for name, count in rows]
    room = max(_columns() - sum(_widths(cells)) - 4, 5)
    _echo_columns(cells, ["#" * max(round(room * count / most), 1) for _, count in rows])


def _echo_columns(rows: Sequence[Sequence[str]], ends: Sequence[str] | None = None) -> None:
    """Print rows of cells that end at the same place, and what comes behind each row."""
    widths = _widths(rows)
    for row, end in zip(rows, ends or [""] * len(rows), strict=True):
        line = "".join(cell.rjust(wide) for cell, wide in zip(row, widths, strict=True))
        click.echo(f"  {line}  {end}".rstrip())


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) + 2 for column in zip(*rows, strict=True)]


def _columns() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 80


def _in_words(low: float, high: float, mean: float, std: float) -> str:
    if math.isnan(mean):
        return "no number"
    return f"min {_text(low)}, max {_text(high)}, mean {_text(mean)}, std {_text(std)}"


def _text(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:,.6g}"


def _document(field: "FieldStatistics") -> dict[str, Any]:
    """Return what JSON holds: values in pairs, bytes as text, null for what is not finite."""
    document = attrs.asdict(field)
    if field.values is not None:
        document["values"] = [
            [value.decode(errors="backslashreplace") if isinstance(value, bytes) else value, count]
            for value, count in field.values.items()
        ]
    return {key: _finite(value) for key, value in document.items()}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
