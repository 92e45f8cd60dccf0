"""The samplers pass the suites that plugin authors use."""

from feedrace_testing import SamplerSuite


class TestEpochAware(SamplerSuite):
    component = "epoch-aware"
    config = {"num_epochs": 2}


class TestEpochAwareInOrder(SamplerSuite):
    component = "epoch-aware"
    config = {"shuffle": False}
    capabilities = frozenset({"exactly-once"})


class TestShuffle(SamplerSuite):
    component = "shuffle"


class TestRange(SamplerSuite):
    component = "range"
    config = {"start": 3, "step": 2, "num_epochs": 2}


class TestSlidingWindow(SamplerSuite):
    component = "sliding-window"
    config = {"window_size": 3, "stride": 2}


class TestMixture(SamplerSuite):
    component = "mixture"
    config = {"sizes": [5, 3, 8], "weights": [0.5, 0.25, 0.25], "num_records": 16}
    capabilities = frozenset({"reshuffles"})


class TestScheduledMixture(SamplerSuite):
    component = "mixture"
    config = {
        "sizes": {"web": 5, "code": 3, "books": 8},
        "schedule": [
            {"at": 0, "weights": {"web": 1}},
            {"at": 7, "weights": {"web": 1, "code": 2}},
            {"at": 30, "weights": {"code": 0.3, "books": 0.7}},
        ],
        "interpolate": "linear",
        "changes": [{"at": 40, "weights": {"web": 0.2, "books": 0.8}}],
        "samplers": {"code": {"use": "sequential"}},
        "stop": 50,
        "num_records": 16,
    }
    capabilities = frozenset({"reshuffles"})


class TestBlockShuffle(SamplerSuite):
    component = "block-shuffle"
    config = {"block_size": 3, "window_blocks": 2}
