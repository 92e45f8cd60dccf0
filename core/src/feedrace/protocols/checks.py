"""Whether an object has what a protocol asks for."""

from typing import Any

from feedrace.protocols.kinds import KINDS, Placed, RowWise, Stochastic


def members(protocol: type) -> tuple[str, ...]:
    """Return the names of what a protocol asks for."""
    own = {**protocol.__annotations__, **vars(protocol)}
    return tuple(
        name for name in own if not name.startswith("_") or name in ("__len__", "__call__")
    )


def has(value: Any, name: str) -> bool:
    """Return whether `value` has an attribute; a property of its class is not computed."""
    if name == "__call__":  # which every class has
        return callable(value)
    return hasattr(type(value), name) or hasattr(value, name)


def provides(value: Any, protocol: type) -> bool:
    """Return whether `value` has all that an optional protocol asks for; None has nothing."""
    return value is not None and all(has(value, name) for name in members(protocol))


def is_row_wise(batcher: Any) -> bool:
    """Return whether row i of a batch is record i alone, so that rows can be made separately."""
    return batcher is None or (provides(batcher, RowWise) and bool(batcher.row_wise))


def is_on_host(stage: Any) -> bool:
    """Return whether a stage runs on the host."""
    return provides(stage, Placed) and bool(stage.on == "host")


def is_stochastic(stage: Any) -> bool:
    """Return whether a stage takes PRNG keys."""
    return provides(stage, Stochastic) and bool(stage.stochastic)


def check(kind: str, value: Any) -> str:
    """Return what keeps `value` from being a source, sampler, batcher, scheduler or stage.

    An empty string if nothing does.
    """
    if isinstance(value, type):
        return f"is the class {value.__name__}; give an instance of it"
    missing = [name for name in members(KINDS[kind]) if not has(value, name)]
    if kind == "batcher" and has(value, "collate_window") and not has(value, "window_size"):
        missing.append("window_size")
    return f"lacks {', '.join(missing)}" if missing else ""
