"""The scheduler of one stream."""

from collections.abc import Iterator, Mapping

from penstock.plan import TRAIN, Step, StreamPlan, train_step


class SingleScheduler:
    """The batches of the train stream, to the end of the pass; endless where its sampler is."""

    def steps(self, state: Mapping[str, int], plans: Mapping[str, StreamPlan]) -> Iterator[Step]:
        """Yield the steps that are left of pass `state["pass"]` after update `state["update"]`."""
        plan, number = plans[TRAIN], state["pass"]
        length = plan.batches_per_pass
        start, end = (0, None) if length is None else (number * length, (number + 1) * length)
        update = state.get("update", start)
        while end is None or update < end:
            yield train_step(plan, update, after={"pass": number, "update": update + 1})
            update += 1
