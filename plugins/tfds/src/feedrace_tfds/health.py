"""Whether TensorFlow, protobuf and tensorflow-metadata fit together; none is imported."""

import importlib.metadata as metadata
from collections.abc import Iterator

from packaging.requirements import InvalidRequirement, Requirement

from feedrace.plugin import Health, install_line, pip_line

# A mismatch between these breaks the import of TFDS, or of TensorFlow.
_TOGETHER = ("tensorflow-datasets", "tensorflow", "tensorflow-metadata", "protobuf")


def findings() -> Iterator[Health]:
    """Yield a finding for each of the packages: whether the others allow its version.

    TensorFlow may be missing, since only preparing a dataset needs it.
    """
    for name in _TOGETHER:
        version = _version(name)
        if version is None and name == "tensorflow":
            message = "not installed: prepared datasets can be read, none can be prepared"
            yield Health(name, True, message, install_line("tfds"))
            continue
        if version is None:
            message = "not installed, and tensorflow-datasets does not import without it"
            yield Health(name, False, message, pip_line("install", name))
            continue
        broken = [(by, r) for by, r in _wanted(name) if not r.specifier.contains(version, True)]
        if broken:
            needs = " and ".join(f"{by} needs {r.name}{r.specifier}" for by, r in broken)
            message = f"{version}, but {needs}: TensorFlow Datasets may not import"
            there = [other for other in _TOGETHER if _version(other) is not None]
            yield Health(name, False, message, pip_line("install", "--upgrade", *there))
        else:
            yield Health(name, True, version)


def _wanted(name: str) -> Iterator[tuple[str, Requirement]]:
    """Yield (package, requirement) for each of the packages that needs this one."""
    for other in _TOGETHER:
        if _version(other) is None:
            continue
        for line in metadata.requires(other) or ():
            try:
                requirement = Requirement(line)
            except InvalidRequirement:  # of an old package; pip ignores it, too
                continue
            marker = requirement.marker
            if _same(requirement.name, name) and (marker is None or marker.evaluate({"extra": ""})):
                yield other, requirement


def _same(one: str, other: str) -> bool:
    return one.lower().replace("_", "-") == other


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
