"""The suites, strategies and fixtures with which plugin authors test what they offer.

A test file of a plugin subclasses the suite of each kind that it has components of:

    from feedrace.testing import SamplerSuite

    class TestBackwards(SamplerSuite):
        component = "backwards"

Needs the extra `testing`: pytest, Hypothesis and jsonschema.
"""

import pytest

_SUITES = ("batcher", "component", "machine", "sampler", "scheduler", "source", "stage")
pytest.register_assert_rewrite(*(f"feedrace.testing.{name}" for name in _SUITES))

from feedrace.testing.batcher import BatcherSuite  # noqa: E402 (after the lines above)
from feedrace.testing.component import ComponentSuite  # noqa: E402
from feedrace.testing.fixtures import (  # noqa: E402
    broken_plugin,
    isolated_registry,
    temporary_plugin,
)
from feedrace.testing.machine import checkpoint_machine  # noqa: E402
from feedrace.testing.sampler import SamplerSuite  # noqa: E402
from feedrace.testing.scheduler import SchedulerSuite  # noqa: E402
from feedrace.testing.source import SourceSuite  # noqa: E402
from feedrace.testing.stage import StageSuite  # noqa: E402
from feedrace.testing.strategies import batches, elements, spans  # noqa: E402

__all__ = [
    "BatcherSuite",
    "ComponentSuite",
    "SamplerSuite",
    "SchedulerSuite",
    "SourceSuite",
    "StageSuite",
    "batches",
    "broken_plugin",
    "checkpoint_machine",
    "elements",
    "isolated_registry",
    "spans",
    "temporary_plugin",
]
