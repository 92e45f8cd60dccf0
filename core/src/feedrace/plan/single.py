"""The scheduler of one stream."""

from collections.abc import Iterator, Mapping

from feedrace.errors import StateError, clipped
from feedrace.plan.steps import TRAIN, Step, StreamPlan
from feedrace.plan.windows import WindowPlan
from feedrace.registry.reprs import Configured

Plans = Mapping[str, StreamPlan | WindowPlan]


class SingleScheduler(Configured):
    """The batches of the train stream, to the end of the pass; endless if its sampler is."""

    def steps(self, state: Mapping[str, int], plans: Plans) -> Iterator[Step]:
        """Yield the steps that are left of pass `state["pass"]` after update `state["update"]`.

        Raises `StateError` for other keys, and for an update outside the pass.
        """
        plan, number = plans[TRAIN], state["pass"]
        length = plan.batches_per_pass
        start, end = (0, None) if length is None else (number * length, (number + 1) * length)
        update = state.get("update", start)
        if not state.keys() <= {"pass", "update"} or update < start or (end and update > end):
            raise StateError(
                f"{clipped(dict(state))} is not a place in a schedule of {length} updates a pass"
            )
        yield from plan.train_steps(update, end, lambda done: {"pass": number, "update": done})

    def steps_per_pass(self, plans: Plans) -> int | None:
        """Return the number of steps in a pass, None if it is endless or only reading shows it."""
        return plans[TRAIN].batches_per_pass

    def least_steps_per_pass(self, plans: Plans) -> int | None:
        """Return a number of steps that a pass has at least, None if it is endless."""
        return plans[TRAIN].least_batches_per_pass
