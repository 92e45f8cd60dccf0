"""A Hypothesis state machine for anything that iterates, saves its state and restores it."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

_KEPT = 64  # saved states at most


def checkpoint_machine(
    make: Callable[[], Any],
    expected: Callable[[int, int], list[Any]],
    *,
    take: Callable[[Any, int], list[Any]],
    length: int,
) -> type[RuleBasedStateMachine]:
    """Return a state machine that takes items, saves states and restores them in any order.

    make: returns a new object with `get_state`, `set_state` and `reset`.
    expected: returns the items at positions [start, stop) of a run from the beginning.
    take: returns the next n items of the object, fewer if its pass ends.
    length: items in one pass.

    Run it with `hypothesis.stateful.run_state_machine_as_test`.
    """

    class Checkpoints(RuleBasedStateMachine):
        @initialize()
        def begin(self) -> None:
            self.object = make()
            self.position = 0
            self.pass_start = 0
            self.saved: list[tuple[str, int, int]] = []

        @rule(n=st.integers(0, length))
        def take_some(self, n: int) -> None:
            items = take(self.object, n)
            stop = min(self.position + n, self.pass_start + length)
            assert items == expected(self.position, stop)
            self.position = stop
            if self.position == self.pass_start + length:
                self.pass_start = self.position
            self.save()

        @rule()
        def save(self) -> None:
            state = json.dumps(self.object.get_state())
            self.saved = [*self.saved[-_KEPT:], (state, self.position, self.pass_start)]

        @rule(data=st.data())
        def restore(self, data: st.DataObject) -> None:
            if self.saved:
                state, self.position, self.pass_start = data.draw(st.sampled_from(self.saved))
                self.object.set_state(json.loads(state))
                self.take_some(data.draw(st.integers(0, length)))

        @rule(data=st.data())
        def restore_in_another(self, data: st.DataObject) -> None:
            self.object = make()
            self.position = self.pass_start = 0
            self.restore(data)

        @rule()
        def reset(self) -> None:
            self.object.reset()
            self.position = self.pass_start = 0

        @invariant()
        def the_state_is_small(self) -> None:
            if hasattr(self, "object"):
                assert len(json.dumps(self.object.get_state())) < 2048

    return Checkpoints
