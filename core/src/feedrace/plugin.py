"""What plugin authors import: everything here is stable, everything else of the core is private.

Importing this module imports neither JAX nor numpy; each name below does when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass

_HOMES = {
    "builtin.memory": ("ArraySource",),
    "config.fields": (
        "IDENTITY",
        "MAX_SEED",
        "REQUIRED",
        "Rule",
        "SamplerConfig",
        "StructuralConfig",
        "as_tuple",
        "boolean",
        "check_integer",
        "component_field",
        "epochs",
        "integer",
        "number",
        "one_of",
        "path_field",
        "text",
    ),
    "device.placement": ("to_device",),
    "device.specs": ("arrive", "batch_spec", "is_wide", "spec_of"),
    "errors": (
        "ConfigError",
        "DataError",
        "FeedraceError",
        "Problem",
        "RecordError",
        "StateError",
        "did_you_mean",
        "install_line",
        "pip_line",
    ),
    "host.columns": ("column",),
    "host.prefetch": ("Prefetched",),
    "host.records": (
        "VALID_MASK",
        "arriving_dtype",
        "canonical",
        "check_batch_size",
        "check_no_mask",
        "check_numbers",
        "count_records",
        "is_host_dtype",
        "is_ragged",
        "leaves",
        "map_leaves",
        "pad_batch",
        "split_records",
    ),
    "modules.module": ("BatcherModule", "IdentityDict", "Module", "StructuralModule"),
    "modules.sampler": ("OrderedSamplerModule", "SamplerModule"),
    "modules.source": ("SourceModule",),
    "plan.order": ("Order", "epoch_spans", "permute", "round_keys"),
    "plan.steps": ("TRAIN", "Step", "StreamPlan"),
    "registry.component": ("Component", "Health", "hookimpl"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'feedrace.plugin' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"feedrace.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value
