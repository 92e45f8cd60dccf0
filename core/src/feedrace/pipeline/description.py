"""What a pipeline consists of: its components by path, its config, its fingerprint in states."""

from typing import Any

import jax
import numpy as np

from feedrace import registry
from feedrace.errors import FeedraceError
from feedrace.pipeline.iteration import Progress
from feedrace.pipeline.streams import Parts
from feedrace.plan import state
from feedrace.plan.steps import TRAIN, StreamPlan
from feedrace.plan.windows import WindowPlan
from feedrace.protocols import Fitted, Identified, provides


class Described:
    """What a pipeline shows of itself."""

    _parts: Parts
    _progress: Progress

    def __repr__(self) -> str:
        return summary_of(self._parts)

    def __str__(self) -> str:
        return repr(self)  # flax shows all attributes

    def _repr_html_(self) -> str:
        from feedrace.pipeline.html import html_of

        return html_of(self._parts, self._progress)


def components_of(parts: Parts) -> dict[str, tuple[str, Any]]:
    """Return the components of a pipeline by path (`test.stages[0]`), as (kind, object)."""
    found: dict[str, tuple[str, Any]] = {}
    for name, stream in parts.streams.items():
        prefix = "" if name == TRAIN else f"{name}."
        for kind in ("source", "sampler", "batcher"):
            component = getattr(stream, kind)
            if component is not None:
                found[prefix + kind] = (kind, component)
        for i, stage in enumerate(stream.stages.stages):
            found[f"{prefix}stages[{i}]"] = ("stage", stage)
    return {**found, "scheduler": ("scheduler", parts.scheduler)}


def summary_of(parts: Parts) -> str:
    """Return a few lines: the options, and for each stream its parts and its length."""
    options = parts.options
    seed = "" if options.seed is None else f", seed={options.seed}"
    lines = [f"Pipeline(batch_size={options.batch_size}{seed})"]
    for name, stream in parts.streams.items():
        plan, stages = parts.plans[name], len(stream.stages.stages)
        epochs = "endless" if plan.epochs is None else f"epochs in a pass: {plan.epochs}"
        made_of = [
            type(p).__name__
            for p in (stream.source, stream.sampler, stream.batcher)
            if p is not None
        ]
        made_of += [f"{stages} stage{'s' * (stages > 1)}"] if stages else []
        lines.append(
            f"  {name}: {plan.records_per_epoch} records, {batches_text(plan)} an epoch, {epochs}; "
            f"{', '.join(made_of)}"
        )
    return "\n".join(lines)


def batches_text(plan: StreamPlan | WindowPlan) -> str:
    """Return how many batches an epoch has; "at least" so many if only reading shows it."""
    count = plan.least_batches_per_epoch
    text = f"{count} batch{'es' * (count != 1)} of {plan.batch_size}"
    if isinstance(plan, WindowPlan):
        return f"at least {text} (from windows of {plan.windows.batch_size} records)"
    return text


def config_of(parts: Parts) -> dict[str, Any]:
    """Return a mapping from which `feedrace.build` makes an equal pipeline.

    A sharding that is not the name of a mesh axis is left out. Raises `UnknownComponentError` if a
    component has no name, `FeedraceError` if the key of stochastic stages was not made from a seed.
    """
    if parts.key is not None and jax.random.key_data(parts.key).size != 2:
        raise FeedraceError("the key of the pipeline's rngs is not one that a seed makes")
    config: dict[str, Any] = {"stages": []}
    for name in ("seed", "batch_size", "drop_remainder", "workers", "prefetch", "stall_seconds",
                 "sharding"):  # fmt: skip
        value = getattr(parts.options, name)
        if value is not None and (name != "sharding" or isinstance(value, str)):
            config[name] = value
    for path, (kind, component) in components_of(parts).items():
        if kind == "stage" and path.startswith("stages"):
            config["stages"].append(registry.describe(kind, component))
        elif path == kind:
            config[kind] = registry.describe(kind, component)
    return config


def fingerprint_of(parts: Parts) -> dict[str, Any]:
    """Return what must be equal for a saved state to name the same batches.

    train: the batch size of the stream of this name, and its records in an epoch; and so for each
        stream.
    drop_remainder: whether a short last batch is dropped.
    key: the PRNG key of stochastic stages, if there is one.
    source: what the component at this path of the config is, and so for each component: its name,
        dist, class and version of order; the fields of its config that decide which records come
        and what becomes of them; `data`, the identity of its data; and `fitted`, the numbers that
        it took from statistics.
    """
    found: dict[str, Any] = {
        name: [stream.batch_size, stream.plan.records_per_epoch]
        for name, stream in parts.streams.items()
    }
    found["drop_remainder"] = parts.options.drop_remainder
    if parts.key is not None:
        found["key"] = np.asarray(jax.random.key_data(parts.key)).tolist()
    for path, (kind, component) in components_of(parts).items():
        found[path] = registry.describe(kind, component, identity_only=True)
        if provides(component, Identified):
            found[path]["data"] = component.identity()
        if provides(component, Fitted) and component.fits is not None:
            found[path]["fitted"] = component.fitted
    return state.fingerprint(found)
