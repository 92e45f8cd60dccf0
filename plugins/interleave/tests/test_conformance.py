"""The scheduler passes the suite that plugin authors use."""

from feedrace_testing import SchedulerSuite

CALLBACK = {
    "stream": "test",
    "every_n_updates": 5,
    "source": {"use": "memory", "data": {"x": [1.0, 2.0, 3.0, 4.0, 5.0]}},
}


class TestInterleaved(SchedulerSuite):
    component = "interleaved"
    config = {"callbacks": [CALLBACK]}


class TestInterleavedByEpochs(SchedulerSuite):
    component = "interleaved"
    config = {
        "max_updates": 20,
        "callbacks": [
            {**CALLBACK, "at_start": True, "at_end": True},
            {"stream": "valid", "every_n_epochs": 1, "source": CALLBACK["source"]},
        ],
    }
