import jax
import numpy as np
import pytest

import feedrace
from feedrace.errors import ConfigError, DataError
from feedrace.plugin import SamplerConfig, SamplerModule


class Halves:
    """A source without a method `column`, longer than one block."""

    def __len__(self):
        return 2500

    def element_spec(self):
        return {"half": jax.ShapeDtypeStruct((), np.int32)}

    def fetch(self, indices):
        return {"half": (np.asarray(indices) // 2).astype(np.int32)}


def test_a_column_is_one_field_of_all_records_in_stored_order():
    made = feedrace.create("source", "memory", data={"x": [1.5, 2.5], "name": ["a", "b"]})
    assert feedrace.plugin.column(made, "x").tolist() == [1.5, 2.5]
    assert feedrace.plugin.column(made, "name").tolist() == ["a", "b"]
    assert feedrace.plugin.column(Halves(), "half").tolist() == [i // 2 for i in range(2500)]


def test_a_field_that_is_not_there_is_named_with_those_that_are():
    made = feedrace.create("source", "memory", data={"x": [1.5], "y": {"z": [2]}})
    with pytest.raises(DataError, match="no field 'label'; they have x, y"):
        feedrace.plugin.column(made, "label")
    with pytest.raises(DataError, match="not an array of one shape"):
        feedrace.plugin.column(made, "y")


class Largest(SamplerModule):
    """The records in the order of their field x, the largest first."""

    def attach(self, source):
        self.order = np.argsort(-feedrace.plugin.column(source, "x")).tolist()

    def indices(self, start, stop):
        return np.array([self.order[i % len(self.order)] for i in range(start, stop)])


def pipeline(data):
    return feedrace.build(
        {"batch_size": 2, "source": {"use": "memory", "data": data}, "sampler": {"use": "largest"}}
    )


def test_a_pipeline_hands_its_source_to_a_sampler_that_takes_it():
    with feedrace.temporary():
        feedrace.register("sampler", "largest", Largest, config=SamplerConfig)
        got = [batch["x"].tolist() for batch in pipeline({"x": [3.0, 9.0, 5.0, 7.0]})]
        assert got == [[9.0, 7.0], [5.0, 3.0]]
        with pytest.raises(ConfigError, match="sampler: the records have no field 'x'"):
            pipeline({"y": [3.0]})
