"""The batchers pass the suites that plugin authors use."""

from penstock.testing import BatcherSuite


class TestDefault(BatcherSuite):
    component = "default"
    capabilities = frozenset({"every-record"})
