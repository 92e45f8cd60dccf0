"""The source of the fields of several others, side by side."""

from collections.abc import Sequence
from typing import Any

from flax import nnx

from feedrace.plugin import ConfigError, Problem, column, protocols
from feedrace_compose.config import ZipConfig
from feedrace_compose.parts import ComposedSource, fields_of, sources_of
from feedrace_compose.readers import ZippedReader


class ZipSource(ComposedSource):
    """Record i has the fields of record i of each source.

    If all sources hold their records on the device, so does this one, without a copy.

    Raises `ConfigError` if the sources differ in length, or two have a field of one name.
    """

    def __init__(
        self, config: ZipConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        sources = sources_of(config)
        super().__init__(config, sources, rngs=rngs, name=name)
        lengths = {name: len(source) for name, source in sources.items()}
        problems = []
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"{name} has {count}" for name, count in lengths.items())
            message = f"{shown} records; all need the same number (`subset` takes the first ones)"
            problems.append(Problem("sources", message))
        owners: dict[str, str] = {}
        for part, source in sources.items():
            for field in fields_of(part, source):
                if field in owners:
                    message = f"field {field!r} is in {owners[field]} and in {part}; keep one"
                    problems.append(Problem(f"sources.{part}", message))
                owners.setdefault(field, part)
        if problems:
            raise ConfigError(problems)
        self._owners: tuple[tuple[str, str], ...] = nnx.static(tuple(owners.items()))
        self.length = next(iter(lengths.values()))

    def made(self, sources: Sequence[Any]) -> ZippedReader:
        return ZippedReader(sources)

    def element_spec(self) -> Any:
        specs = [fields_of(name, part) for name, part in self.sources.items()]
        return {field: leaf for spec in specs for field, leaf in spec.items()}

    def column(self, field: str) -> Any:
        """Return one field of all records."""
        return column(self.sources[dict(self._owners)[field]], field)

    @property
    def on_device(self) -> bool:
        """Whether all sources hold their records on the device."""
        return all(protocols.provides(p, protocols.OnDevice) and p.on_device for p in self._sources)

    @property
    def device_data(self) -> dict[str, Any]:
        """The fields on the device."""
        return {name: v for part in self._sources for name, v in part.device_data.items()}
