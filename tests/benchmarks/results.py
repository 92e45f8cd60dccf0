"""What programs print, as figures, rates and points of charts; and which figures miss something."""

import re
from collections.abc import Iterable
from typing import NamedTuple

WORSE = 1.25  # times, from which on a figure has become worse
_FIGURE = re.compile(
    r"(?P<what>[^ (].*): (?P<value>[\d.]+)(?P<unit>x| \w+|) \((?:target )?(?P<target>[^)]+)\)"
)
_ROW = re.compile(r"(?P<row>\w+) \(load ")
_RATE = re.compile(r"  (?P<contender>\S.*): (?P<rate>[\d,]+) records/s")
_POINT = re.compile(
    r"  (?P<chart>[^,]+), (?P<contender>.+): (?P<value>[\d.e+-]+) (?P<unit>.+) at (?P<at>[\d,]+) "
    r"(?P<of>.+)"
)
_PEER = re.compile(r"\((?P<peer>\S+) ran with (?P<versions>.+)\)")


class Figure(NamedTuple):
    """One result. target: as printed, such as "1.3" or "at most 2"; words if there is none."""

    value: float
    unit: str
    target: str

    def __str__(self) -> str:
        return f"{self.value:,g}{'x' if self.unit == 'x' else ' ' + self.unit}".rstrip()

    @property
    def is_cost(self) -> bool:
        """Whether less is better."""
        return self.target.startswith(("at most", "about"))

    @property
    def wanted(self) -> float | None:
        """The number in the target, if there is one."""
        found = re.search(r"[\d.]+", self.target)
        return float(found[0]) if found else None

    @property
    def has_target(self) -> bool:
        """Whether it is to be more, or less, than a number."""
        return bool(self.wanted) and "about" not in self.target

    @property
    def is_short(self) -> bool:
        """Whether it misses its target."""
        return self.missed_by > 1

    @property
    def missed_by(self) -> float:
        """How many times it would have to be better to reach its target; 1 if it does, or more."""
        if not self.has_target:
            return 1.0
        pair = (self.value, self.wanted) if self.is_cost else (self.wanted, self.value)
        return max(1.0, pair[0] / pair[1]) if pair[1] else float("inf")

    def is_worse_than(self, other: "Figure") -> bool:
        """Return whether it is worse than another by more than a quarter."""
        less, more = sorted((self.value, other.value))
        return more > less * WORSE and (self.value > other.value) == self.is_cost


def figures_in(lines: Iterable[str]) -> dict[str, Figure]:
    """Return the figures among the lines that a program printed."""
    found = filter(None, map(_FIGURE.match, lines))
    return {m["what"]: Figure(float(m["value"]), m["unit"].strip(), m["target"]) for m in found}


def rates_in(lines: Iterable[str]) -> dict[str, dict[str, float]]:
    """Return the records/s of the contenders, by the rows that they are below."""
    found: dict[str, dict[str, float]] = {}
    row = ""
    for line in lines:
        if opened := _ROW.match(line):
            row = opened["row"]
        elif rate := _RATE.match(line):
            found.setdefault(row, {})[rate["contender"]] = float(rate["rate"].replace(",", ""))
    return found


def charts_in(lines: Iterable[str]) -> dict[str, dict]:
    """Return charts by name: the unit, what its points are at, and the points of each contender."""
    found: dict[str, dict] = {}
    for m in filter(None, map(_POINT.match, lines)):
        chart = found.setdefault(m["chart"], {"unit": m["unit"], "of": m["of"], "lines": {}})
        line = chart["lines"].setdefault(m["contender"], [])
        line.append([int(m["at"].replace(",", "")), float(m["value"])])
    return found


def peers_in(lines: Iterable[str]) -> dict[str, str]:
    """Return the versions of peers that ran in environments of their own."""
    return {m["peer"]: m["versions"] for m in filter(None, map(_PEER.match, lines))}


def findings(now: dict[str, Figure], before: dict[str, Figure]) -> list[str]:
    """Return a line for each figure that misses its target, or is worse than it was."""
    short = [
        f"short of its target: {what}: {f} (target {f.target})"
        for what, f in now.items()
        if f.is_short
    ]
    worse = [
        f"worse than it was: {what}: {f}, was {before[what].value:g}"
        for what, f in now.items()
        if what in before and f.is_worse_than(before[what])
    ]
    return short + worse


def left_out(lines: Iterable[str]) -> list[str]:
    """Return what a program says that it did not measure, for want of a peer or a device."""
    found = (line.strip("()") for line in lines if line.startswith("("))
    return [line for line in found if "not measured" in line]
