"""The page: one HTML file that needs no network."""

from collections.abc import Iterator
from html import escape
from importlib import resources

from feedrace_preview.fields import rows_of, unchanged
from feedrace_preview.gather import Facts, Part, Stream
from feedrace_preview.pictures import bars, scatter, strip
from feedrace_preview.points import Fields, Point


def page(facts: Facts) -> str:
    """Return the whole page as HTML."""
    style, script = (_file(name) for name in ("page.css", "page.js"))
    versions = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    sections = list(_sections(facts))
    body = "".join(_section(i, *section) for i, section in enumerate(sections))
    links = "".join(
        f'<a href="#part{i}">{escape(title)}</a>' for i, (title, _) in enumerate(sections)
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(facts.title)} - Feedrace</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{escape(facts.title)}</h1>
<p>{escape(versions)}</p>
<p><span class="keys"><kbd>j</kbd> next part, <kbd>k</kbd> previous part, <kbd>t</kbd></span>
<button id="theme" type="button">light or dark</button></p>
</header>
<nav>{links}</nav>
<main>
{body}
</main>
<script>{script}</script>
</body>
</html>
"""


def _file(name: str) -> str:
    return resources.files("feedrace_preview").joinpath(name).read_text(encoding="utf-8")


def _sections(facts: Facts) -> Iterator[tuple[str, str]]:
    """Yield the title and the content of each section."""
    yield "Pipeline", _diagram(facts)
    for stream in facts.streams:
        yield f"Stream {stream.name}", _stream(stream)
    if facts.schedule or facts.timeline:
        yield "Schedule", _schedule(facts)
    yield "Where the time goes", _times(facts)
    orders = "".join(f"<h3>{escape(s.name)}</h3>{scatter(s.order)}" for s in facts.streams)
    said = (
        "Each mark is a record of the first epoch: a line if they come as they are stored, a cloud "
        "if they are shuffled."
    )
    yield "Order of records", f"<p>{said}</p>{orders}"


def _section(number: int, title: str, content: str) -> str:
    return f'<section id="part{number}" tabindex="-1"><h2>{escape(title)}</h2>{content}</section>\n'


def _diagram(facts: Facts) -> str:
    """Return a row of boxes for each stream, in the order of their work.

    The scheduler is the first box or, if there are several streams, has a row of its own.
    """
    ranks = {
        "scheduler": -1,
        "sampler": 0,
        "source": 1,
        "record": 2,
        "batcher": 3,
        "host": 4,
        "device": 5,
    }
    several = len(facts.streams) > 1
    rows = []
    for name in [*([""] if several else []), *(stream.name for stream in facts.streams)]:
        parts = [
            part for part in facts.parts if part.stream == name or not (several or part.stream)
        ]
        parts.sort(key=lambda part: ranks.get(part.place or part.kind, 6))
        title = f"<h3>{escape(name)}</h3>" if name and several else ""
        rows.append(f'{title}<ol class="diagram">{"".join(map(_box, parts))}</ol>')
    return "".join(rows)


_PLACES = {
    "record": "on each record, in workers",
    "host": "on batches, on the host",
    "device": "on batches, on the device",
}


def _box(part: Part) -> str:
    where = f" {_PLACES[part.place]}" if part.place else ""
    config = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in part.config.items())
    details = "".join(f"<p>{escape(line)}</p>" for line in part.details)
    more = f"<details><summary>settings</summary><dl>{config}</dl>{details}</details>"
    return (
        f'<li class="{escape(part.kind)} {part.place}"><small>{part.kind}{where}</small>'
        f"<strong>{escape(part.name).replace('/', '/<wbr>')}</strong>"
        f"<span>{escape(part.summary)}</span>"
        f"<small>{escape(part.dist)}</small>{more if config or details else ''}</li>"
    )


def _stream(stream: Stream) -> str:
    before = [Fields(), *(point.fields for point in stream.points)]
    points = "".join(
        _point(point, unchanged(earlier, point.fields))
        for earlier, point in zip(before, stream.points, strict=False)
    )
    nothing = "" if points else "<p>No batch of it came within the first steps of a run.</p>"
    return f"<p>{escape(stream.summary)}</p>{nothing}{points}"


def _point(point: Point, same: set[str]) -> str:
    spec = "".join(
        f"<tr><th>{escape(name)}</th><td><code>{escape(text)}</code></td></tr>"
        for name, text in point.spec.items()
    )
    problem = f"<p>No batch here: {escape(point.problem)}</p>" if point.problem else ""
    return (
        f"<article><h3>after {escape(point.after)} <small>{escape(point.place)}</small></h3>"
        f"<table class=spec>{spec}</table>{problem}{rows_of(point, same)}</article>"
    )


def _schedule(facts: Facts) -> str:
    colours = {stream.name: i for i, stream in enumerate(facts.streams)}
    names = "".join(f'<li class="s{i}">{escape(name)}</li>' for name, i in colours.items())
    lines = escape("\n".join(facts.timeline))
    drawn = strip(facts.schedule, colours) if facts.schedule else ""
    said = f"<p>The first {len(facts.schedule):,} steps from left to right, by stream.</p>"
    return f'{said if drawn else ""}<ul class="legend">{names}</ul>{drawn}<pre>{lines}</pre>'


_PARTS = {
    "plan": "choosing the records of each batch",
    "source": "reading records",
    "decode": "decoding records, a part of reading",
    "record stages": "stages on records",
    "batch": "stacking records",
    "host stages": "stages on batches, on the host",
    "transfer": "copying to the device",
    "stages": "starting stages on the device",
    "waiting": "the loop waited for a batch",
    "training": "the loop did other work",
}


def _times(facts: Facts) -> str:
    """Return the rate, what ended the loop early, and a bar for each part of the work."""
    rate = f"{facts.batches:,} batches, {facts.records_per_second:,.0f} records/s."
    said = (
        "A loop took batches as fast as they came, and trained nothing. Workers share the parts, "
        "so that their seconds may add up to more than those of the loop."
    )
    named = {f"{name}: {_PARTS[name]}" if name in _PARTS else name: value
             for name, value in facts.seconds.items()}  # fmt: skip
    ended = (
        f"<p>An error ended it early:</p><pre>{escape(facts.problem)}</pre>"
        if facts.problem
        else ""
    )
    return f"<p>{rate} {said}</p>{ended}{bars(named)}"
