"""A stateful machine: iterate, save, restore; the remainder is always the same."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

_TOLD = 64  # saved states that are kept at most


def checkpoint_machine(
    make: Callable[[], Any],
    expected: Callable[[int, int], list[Any]],
    *,
    take: Callable[[Any, int], list[Any]],
    length: int,
) -> type[RuleBasedStateMachine]:
    """Return a machine that takes items, saves states and goes back to them, in any order.

    make: gives a new object with `get_state`, `set_state` and `reset`.
    expected: gives the items at positions [start, stop) of a run from the beginning.
    take: takes the next n items from the object, fewer where its pass ends.
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
            self.saved = [*self.saved[-_TOLD:], (state, self.position, self.pass_start)]

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
