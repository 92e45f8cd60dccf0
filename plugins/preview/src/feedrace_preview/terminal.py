"""The essentials of a preview in lines of text."""

from collections.abc import Iterator

from feedrace.plugin import TRAIN
from feedrace_preview.gather import Facts

_WIDTH = 30  # of a bar


def lines(facts: Facts) -> Iterator[str]:
    """Yield the parts, the specs on the way, the schedule and where the time goes."""
    yield facts.title
    for part in facts.parts:
        place = f" on the {part.place}" if part.place else ""
        path = part.path if part.stream in ("", TRAIN) else f"{part.stream}.{part.path}"
        if path:
            yield f"  {path}: {part.name}{place} ({part.dist})"
    for stream in facts.streams:
        yield ""
        yield f"{stream.name}: {stream.summary}"
        first = ", ".join(str(number) for number in stream.records.reshape(-1)[:8].tolist())
        if first:
            yield f"  the first batch begins with records {first}"
        for point in stream.points:
            spec = ", ".join(f"{name} {text}" for name, text in point.spec.items())
            yield f"  after {point.after}: {spec or point.problem}"
    if facts.timeline:
        yield ""
        yield from facts.timeline
    yield ""
    yield f"{facts.batches:,} batches, {facts.records_per_second:,.0f} records/s"
    if facts.problem:
        yield "an error ended it early:"
        yield from (f"  {line}" for line in facts.problem.splitlines())
    most = max(facts.seconds.values(), default=1.0)
    for name, seconds in sorted(facts.seconds.items(), key=lambda item: -item[1]):
        yield f"  {name:<14} {'#' * round(_WIDTH * seconds / most):<{_WIDTH}} {seconds:.3f} s"
