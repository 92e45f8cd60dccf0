"""The suite of stages."""

from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedrace.plugin import VALID_MASK, FeedraceError, protocols
from feedrace_testing.component import ComponentSuite
from feedrace_testing.strategies import batches
from feedrace_testing.trees import close_values, rows, same_structure, same_values

_SIZE = 5


class StageSuite(ComponentSuite):
    """The tests of a stage that treats each record by itself.

    fields: name to (shape of one record, dtype) of the fields that a batch needs for it.

    Of its capabilities, "stochastic" means that it is also called with one PRNG key per record.
    """

    kind = "stage"
    fields: ClassVar[Mapping[str, tuple[tuple[int, ...], str]]] = {"x": ((2, 3), "float32")}

    def material(self) -> Any:
        batch: dict[str, Any] = {
            name: np.arange(_SIZE * int(np.prod(shape))).reshape(_SIZE, *shape).astype(dtype)
            for name, (shape, dtype) in self.fields.items()
        }
        return {**batch, VALID_MASK: np.arange(_SIZE) < _SIZE - 1}

    @staticmethod
    def observe(made: Any, material: Any) -> Any:
        return jax.tree.map(np.asarray, apply(made, material))

    def batches(self) -> st.SearchStrategy[dict[str, Any]]:
        """Return a strategy for batches; override it if a stage takes only some."""
        return batches(dict(self.fields))

    def test_it_says_whether_it_is_stochastic(self) -> None:
        assert protocols.is_stochastic(self.make()) == self.can("stochastic")

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

    def test_it_gives_the_same_inside_jit_with_shapes_known_beforehand(self) -> None:
        made, batch = self.make(), self.material()
        eager, traced = apply(made, batch), jax.jit(lambda b: apply(made, b))(batch)
        assert same_structure(eager, traced)
        assert close_values(eager, traced)
        known = jax.eval_shape(lambda b: apply(made, b), batch)
        for leaf, spec in zip(jax.tree.leaves(traced), jax.tree.leaves(known), strict=True):
            assert (leaf.shape, leaf.dtype) == (spec.shape, spec.dtype)

    def test_a_record_is_treated_alike_in_any_batch(self) -> None:
        made, batch = self.make(), self.material()
        keys = _keys(_SIZE)
        whole = apply(made, batch, keys)
        for chosen in (slice(0, 2), slice(2, _SIZE)):
            assert close_values(apply(made, rows(batch, chosen), keys[chosen]), rows(whole, chosen))

    def test_keys_alone_choose_what_a_stochastic_stage_does(self) -> None:
        self.require("stochastic")
        made, batch = self.make(), self.material()
        first = apply(made, batch, _keys(_SIZE))
        assert same_values(apply(made, batch, _keys(_SIZE)), first)
        others = [apply(made, batch, _keys(_SIZE, seed)) for seed in range(1, 20)]
        assert not all(same_values(other, first) for other in others)

    def test_x64_mode_changes_no_draw(self) -> None:
        self.require("stochastic")
        made, batch, keys = self.make(), self.material(), _keys(_SIZE)
        with jax.enable_x64(False):
            narrow = apply(made, batch, keys)
        with jax.enable_x64(True):
            wide = apply(made, batch, keys)
        assert close_values(narrow, wide), "it draws otherwise; give each draw a dtype of 32 bits"

    def test_a_batch_without_its_fields_is_refused(self) -> None:
        without = {VALID_MASK: np.ones(2, bool), "another": np.zeros(2, np.float32)}
        with pytest.raises(FeedraceError, match="no field"):
            apply(self.make(), without)


def apply(made: Any, batch: dict[str, Any], keys: jax.Array | None = None) -> Any:
    """Return the batch after a stage, which gets keys if it is stochastic."""
    batch = jax.tree.map(jax.numpy.asarray, batch)
    if not protocols.is_stochastic(made):
        return made(batch)
    return made(batch, _keys(len(batch[VALID_MASK])) if keys is None else keys)


def _keys(count: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), count)
