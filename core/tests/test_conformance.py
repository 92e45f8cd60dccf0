"""The built-in components pass the suites that plugin authors use."""

import json

import numpy as np

from feedrace_testing import SamplerSuite, SchedulerSuite, SourceSuite, StageSuite

DATA = {
    "x": [[0.5, 1.5], [2.5, 3.5], [4.5, 5.5], [6.5, 7.5], [8.5, 9.5]],
    "label": [3, 1, 4, 1, 5],
    "name": ["a", "b", "c", "d", "e"],
}


class TestSequential(SamplerSuite):
    component = "sequential"
    config = {"num_epochs": 2}


class TestMemory(SourceSuite):
    component = "memory"
    config = {"data": DATA}


class TestMemoryShuffled(SourceSuite):
    component = "memory"
    config = {"data": {"x": np.arange(12, dtype=np.float32)}, "shuffle": True}

    def jsonable(self, described):
        return json.loads(json.dumps(described, default=lambda array: array.tolist()))


class TestSingle(SchedulerSuite):
    component = "single"


class TestRescale(StageSuite):
    component = "rescale"
    config = {"field": "x", "scale": 0.5, "offset": 1}


class TestCast(StageSuite):
    component = "cast"
    config = {"field": "x", "dtype": "int32"}


class TestOneHot(StageSuite):
    component = "one-hot"
    config = {"field": "x", "num_classes": 5}
    fields = {"x": ((), "int32")}


class TestSelect(StageSuite):
    component = "select"
    config = {"fields": ["x"]}
    fields = {"x": ((2,), "float32"), "y": ((), "int32")}


class TestFlip(StageSuite):
    component = "flip"
    config = {"field": "x", "axis": 0}
