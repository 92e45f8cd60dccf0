"""What the installed dists say about themselves, read from their metadata: nothing is imported."""

import importlib.metadata as metadata
import os
from collections.abc import Iterator

import attrs

from feedrace.errors import pip_line
from feedrace.registry.component import Health

ENTRY_POINT_GROUP = "feedrace"


@attrs.frozen(order=True)
class EntryPoint:
    """A plugin that a dist registers: its namespace, and the `module` or `module:object` it is."""

    namespace: str
    dist: str
    version: str
    value: str
    location: str = ""


@attrs.define
class Installed:
    """The entry points of all dists, by namespace and dist, and what was wrong with any dist."""

    entries: list[EntryPoint] = attrs.Factory(list)
    findings: list[Health] = attrs.Factory(list)


def installed() -> Installed:
    """Read the entry points of every dist on `sys.path`, whatever state its metadata is in.

    Of two dists with one name the first on the path counts, as it does for imports.
    """
    read = Installed()
    seen: dict[str, EntryPoint] = {}
    for dist in metadata.distributions():
        try:
            text = dist.read_text("entry_points.txt") or ""
            if ENTRY_POINT_GROUP not in text:
                continue
            rows = list(_group_rows(text.lstrip("\ufeff")))
            if rows:
                name, version = _identity(dist)
        except Exception as error:  # noqa: BLE001 (any package may have broken metadata)
            what = f"{type(error).__name__}: {error}"
            read.findings.append(
                Health(
                    f"metadata of {_folder(dist)}",
                    False,
                    f"it could not be read and is passed over: {what}",
                    "remove the folder, and install the dist again if you need it",
                )
            )
            continue
        for namespace, value in rows:
            entry = EntryPoint(namespace, name, version, value, _folder(dist))
            first = seen.setdefault(f"{normal(name)}:{namespace}", entry)
            if first is entry:
                read.entries.append(entry)
            elif os.path.realpath(first.location) != os.path.realpath(entry.location):
                read.findings.append(_two_of_one_name(first, entry))
            elif first.value != entry.value:
                said = f"its entry point {namespace!r} is {first.value}, and {value} once more"
                mend = "the second is passed over; give each module a namespace of its own"
                read.findings.append(Health(f"dist {first.dist}", False, said, mend))
    read.entries.sort()
    return read


def _group_rows(text: str) -> Iterator[tuple[str, str]]:
    """Yield (name, value) of each line in this project's section of an `entry_points.txt`."""
    section = ""
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("["):
            section = line.strip("[] \t")
        elif section == ENTRY_POINT_GROUP and line and line[0] not in "#;":
            name, equals, value = (part.strip() for part in line.partition("="))
            if not (name and equals and value):
                raise ValueError(f"entry_points.txt: the line {line!r} is no name = value")
            yield name, value.partition("[")[0].strip()


def _identity(dist: metadata.Distribution) -> tuple[str, str]:
    described = dist.metadata
    if described["Name"] is None or described["Version"] is None:
        raise ValueError("METADATA has no Name or no Version")
    return described["Name"], described["Version"]


def _folder(dist: metadata.Distribution) -> str:
    return str(getattr(dist, "_path", None) or dist.locate_file(""))


def normal(name: str) -> str:
    """Return the name of a dist as pip compares it."""
    return name.lower().replace("_", "-").replace(".", "-")


def _two_of_one_name(first: EntryPoint, second: EntryPoint) -> Health:
    return Health(
        f"dist {first.dist}",
        False,
        f"it is installed twice: {first.version} in {first.location}, which is used, and "
        f"{second.version} in {second.location}",
        f"{pip_line('uninstall', first.dist)} until none is left, then install it again",
    )
