"""The suite of stages."""

from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedrace.errors import FeedraceError
from feedrace.host.records import VALID_MASK
from feedrace.testing.component import ComponentSuite, same_values, tree_structure
from feedrace.testing.strategies import batches


class StageSuite(ComponentSuite):
    """The tests of a stage, which treats each record by itself.

    fields: name to (shape of one record, dtype) of what a batch needs to hold for it.

    Of its capabilities, "stochastic" says that it is called with one PRNG key a record, too.
    """

    kind = "stage"
    fields: ClassVar[Mapping[str, tuple[tuple[int, ...], str]]] = {"x": ((2, 3), "float32")}

    def material(self) -> Any:
        size = 5
        batch: dict[str, Any] = {
            name: np.arange(size * int(np.prod(shape))).reshape(size, *shape).astype(dtype)
            for name, (shape, dtype) in self.fields.items()
        }
        return {**batch, VALID_MASK: np.arange(size) < 4}

    @staticmethod
    def observe(made: Any, material: Any) -> Any:
        return jax.tree.map(np.asarray, apply(made, material))

    def batches(self) -> st.SearchStrategy[dict[str, Any]]:
        """Return a strategy for batches; override it where a stage takes only some."""
        return batches(dict(self.fields))

    def test_it_says_whether_it_is_stochastic(self) -> None:
        assert bool(getattr(self.make(), "stochastic", False)) == self.can("stochastic")

    def test_a_batch_stays_a_batch(self) -> None:
        made = self.make()

        @settings(max_examples=self.max_examples, deadline=None, database=None)
        @given(self.batches())
        def check(batch: dict[str, Any]) -> None:
            before = jax.tree.map(np.copy, batch)
            staged = apply(made, batch)
            assert isinstance(staged, dict)
            assert same_values(batch, before), "it changed its input"
            assert np.array_equal(staged[VALID_MASK], batch[VALID_MASK])
            for leaf in jax.tree.leaves(staged):
                assert np.shape(leaf)[0] == len(batch[VALID_MASK])

        check()

    def test_inside_jit_it_gives_the_same_and_its_shapes_are_known_beforehand(self) -> None:
        made, batch = self.make(), self.material()
        eager, traced = apply(made, batch), jax.jit(lambda b: apply(made, b))(batch)
        assert tree_structure(eager) == tree_structure(traced)
        known = jax.eval_shape(lambda b: apply(made, b), batch)
        for one, two, spec in zip(*map(jax.tree.leaves, (eager, traced, known)), strict=True):
            np.testing.assert_allclose(
                np.asarray(one, np.float64), np.asarray(two, np.float64), rtol=1e-5, atol=1e-6
            )
            assert (np.shape(two), np.asarray(two).dtype) == (spec.shape, spec.dtype)

    def test_a_record_fares_alike_whatever_stands_beside_it(self) -> None:
        made, batch = self.make(), self.material()
        keys = _keys(len(batch[VALID_MASK]))
        whole = jax.tree.map(np.asarray, apply(made, batch, keys))
        for rows in (slice(0, 2), slice(2, 5)):
            part = apply(made, jax.tree.map(lambda x, rows=rows: x[rows], batch), keys[rows])
            mine = jax.tree.map(lambda x, rows=rows: x[rows], whole)
            for one, two in zip(*map(jax.tree.leaves, (part, mine)), strict=True):
                np.testing.assert_allclose(np.asarray(one), two, rtol=1e-5, atol=1e-6)

    def test_keys_alone_choose_what_a_stochastic_stage_does(self) -> None:
        if not self.can("stochastic"):
            pytest.skip("it does not promise to be stochastic")
        made, batch = self.make(), self.material()
        first = apply(made, batch, _keys(5))
        assert same_values(apply(made, batch, _keys(5)), first)
        others = [apply(made, batch, _keys(5, seed)) for seed in range(1, 20)]
        assert not all(same_values(other, first) for other in others)

    def test_a_batch_without_its_fields_is_refused(self) -> None:
        without = {VALID_MASK: np.ones(2, bool), "another": np.zeros(2, np.float32)}
        with pytest.raises(FeedraceError, match="no field"):
            apply(self.make(), without)


def apply(made: Any, batch: dict[str, Any], keys: Any = None) -> Any:
    """Return the batch after the stage, which is given keys where it is stochastic."""
    batch = jax.tree.map(jax.numpy.asarray, batch)
    if not getattr(made, "stochastic", False):
        return made(batch)
    return made(batch, _keys(len(batch[VALID_MASK])) if keys is None else keys)


def _keys(count: int, seed: int = 0) -> Any:
    return jax.random.split(jax.random.key(seed), count)
