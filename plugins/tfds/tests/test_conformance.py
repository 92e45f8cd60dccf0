"""The sources pass the suite that plugin authors use."""

import pytest

from feedrace_testing import SourceSuite


class _Digits(SourceSuite):
    config = {"name": "feedrace_digits", "split": "test[:20]", "as_supervised": True}

    @pytest.fixture(autouse=True)
    def folder_of_digits(self, digits):
        self.folder = digits["tfrecord"]

    def make(self, **fields):
        return super().make(**{"data_dir": self.folder, **fields})


class TestEager(_Digits):
    component = "tfds-eager"
    capabilities = frozenset({"on-device"})


class TestStreaming(_Digits):
    component = "tfds-streaming"
