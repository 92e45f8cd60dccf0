"""The batchers pass the suites that plugin authors use."""

import numpy as np
from hypothesis import strategies as st

from feedrace_testing import BatcherSuite

LONGEST = 6


@st.composite
def sequences(draw):
    lengths = draw(st.lists(st.integers(1, LONGEST), min_size=1, max_size=12))
    return [
        {"id": np.int32(i), "tokens": np.arange(1, length + 1, dtype=np.int32)}
        for i, length in enumerate(lengths)
    ]


class _Sequences(BatcherSuite):
    def elements(self):
        return sequences()

    def material(self):
        lengths = [3, 1, 6, 2, 2, 5, 4]
        return [{"id": np.int32(i), "tokens": np.arange(n)} for i, n in enumerate(lengths)]


class TestDefault(BatcherSuite):
    component = "default"


class TestBucket(_Sequences):
    component = "bucket"
    config = {"fields": ["tokens"], "boundaries": [2, LONGEST], "window": 2}


class TestPack(_Sequences):
    component = "pack"
    config = {"fields": {"tokens": 8}, "max_segments": 4}


class TestMultiRate(_Sequences):
    component = "multi-rate"
    config = {"fields": {"tokens": LONGEST}}
