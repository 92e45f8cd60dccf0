"""The suite of batchers."""

from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedrace.plugin import (
    VALID_MASK,
    ConfigError,
    DataError,
    arrive,
    arriving_dtype,
    is_wide,
    protocols,
)
from feedrace_testing.component import ComponentSuite
from feedrace_testing.strategies import elements
from feedrace_testing.trees import fits, same_structure, same_values


class BatcherSuite(ComponentSuite):
    """The tests of a batcher.

    Of its capabilities, "every-record" adds that each record is in exactly one batch; the int field
    `id` of the elements identifies them.
    """

    kind = "batcher"

    def elements(self) -> st.SearchStrategy[list[dict[str, Any]]]:
        """Return a strategy for lists of elements of one structure with a field `id`."""
        return elements()

    def batch_specs(self, made: Any, element_spec: Any, size: int) -> Any:
        """Return the specs that batches may have: several if `batch_specs` lists them."""
        spec = made.batch_spec(element_spec, batch_size=size)
        assert spec[VALID_MASK].shape == (size,)
        if not protocols.provides(made, protocols.ManyShapes):
            return (spec,)
        return made.batch_specs(element_spec, batch_size=size)

    def material(self) -> Any:
        return [{"id": np.int32(i), "x": np.full(2, i, np.float32)} for i in range(7)]

    @staticmethod
    def observe(made: Any, material: Any) -> Any:
        return [jax.tree.map(np.asarray, b) for b in made.process(material, batch_size=3)]

    def test_batches_meet_their_spec_padded_and_masked(self) -> None:
        made = self.make()

        @settings(max_examples=self.max_examples, deadline=None, database=None)
        @given(self.elements(), st.integers(1, 6))
        def check(drawn: list[dict[str, Any]], size: int) -> None:
            for batch in made.process(drawn, batch_size=size):
                assert np.asarray(batch[VALID_MASK]).dtype == bool
                assert np.any(batch[VALID_MASK])
                arrived = arrive(batch)
                known = self.batch_specs(made, _spec_of(drawn[0]), size)
                assert any(_meets(arrived, spec) for spec in known)

        check()

    def test_every_record_is_in_one_batch(self) -> None:
        self.require("every-record")
        made = self.make()

        @settings(max_examples=self.max_examples, deadline=None, database=None)
        @given(self.elements(), st.integers(1, 6))
        def check(drawn: list[dict[str, Any]], size: int) -> None:
            batches = list(made.process(drawn, batch_size=size))
            ids = [int(i) for b in batches for i in np.asarray(b["id"])[np.asarray(b[VALID_MASK])]]
            assert sorted(ids) == [int(element["id"]) for element in drawn]
            whole = list(made.process(drawn, batch_size=size, drop_remainder=True))
            assert len(whole) <= len(batches)
            if not self.can("windowed"):  # which may pad a batch within a window
                assert all(np.all(b[VALID_MASK]) for b in whole)

        check()

    def test_batches_depend_on_the_elements_alone(self) -> None:
        made, material = self.make(), self.material()
        first = self.observe(made, material)
        assert same_values(self.observe(made, iter(material)), first)
        assert same_values(self.observe(self.make(), material), first)

    def test_no_elements_make_no_batch(self) -> None:
        assert list(self.make().process([], batch_size=2)) == []

    @pytest.mark.parametrize("size", [0, -1, 1.5, "2", True, None])
    def test_a_batch_size_other_than_a_positive_int_is_refused(self, size: Any) -> None:
        made, material = self.make(), self.material()
        with pytest.raises(ConfigError):
            list(made.process(material, batch_size=size))
        with pytest.raises(ConfigError):
            made.batch_spec(_spec_of(material[0]), batch_size=size)

    def test_elements_that_differ_in_structure_are_refused(self) -> None:
        material = self.material()
        odd = {key: value for key, value in material[1].items() if key != "id"}
        with pytest.raises(DataError):
            list(self.make().process([material[0], odd], batch_size=2))


def _meets(batch: dict[str, Any], spec: dict[str, Any]) -> bool:
    """Return whether a batch has the structure, shapes and dtypes of a spec."""
    if not same_structure(batch, spec):
        return False
    pairs = zip(jax.tree.leaves(batch), jax.tree.leaves(spec), strict=True)
    return all(a.dtype == b.dtype and fits(a.shape, b.shape) for a, b in pairs)


def _spec_of(element: dict[str, Any]) -> Any:
    def leaf(value: Any) -> jax.ShapeDtypeStruct:
        dtype = np.dtype(object) if isinstance(value, str | bytes) else np.asarray(value).dtype
        return jax.ShapeDtypeStruct(np.shape(value), arriving_dtype(dtype, wide=is_wide()))

    return jax.tree.map(leaf, element)
