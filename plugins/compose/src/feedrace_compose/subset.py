"""The source of a range of another's records."""

from flax import nnx

from feedrace.plugin import ConfigError, Problem
from feedrace_compose.config import SubsetConfig
from feedrace_compose.parts import source_of
from feedrace_compose.selected import SelectedSource, Steps


class SubsetSource(SelectedSource):
    """Records of a source from `start` to before `stop` in steps, or a share of them; O(1) memory.

    Raises `ConfigError` if none is left.
    """

    def __init__(
        self, config: SubsetConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        source = source_of(config)["source"]
        count = len(source)
        chosen = range(count)[config.start : config.stop : config.step]
        if not chosen:
            which = f"[{config.start}:{config.stop}:{config.step}]"
            message = f"{which} leaves none of the {count} records of its source"
            raise ConfigError([Problem("stop" if config.start is None else "start", message)])
        kept = len(chosen) if config.share is None else round(config.share * len(chosen))
        select = Steps(chosen.start, chosen.step, max(kept, 1))
        super().__init__(config, source, select, rngs=rngs, name=name)
