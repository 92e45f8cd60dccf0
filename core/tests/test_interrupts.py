"""Interrupts at any moment, and processes that were forked."""

import linecache
import sys

import numpy as np
import pytest

from feedrace import Pipeline, create
from feedrace.errors import FeedraceError


def test_an_interrupt_anywhere_leaves_a_step_handed_out_and_counted_or_neither():
    """A trace function raises at each line in turn; a real interrupt can come at any of them."""
    source = create(
        "source", "memory", data={"x": np.arange(12), "name": [str(i) for i in range(12)]}
    )

    def received(at):
        """Return the batches that came and whether an interrupt did, at line `at` of our code."""
        pipeline, got, lines = Pipeline(source=source, batch_size=4, prefetch=0, workers=0), [], 0
        iterator = iter(pipeline)
        got.append(next(iterator))

        def trace(frame, event, argument):
            nonlocal lines
            if "feedrace" not in frame.f_code.co_filename:
                return None
            if event == "line":
                lines += 1
                if (
                    lines == at
                    and linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
                    != "return item"
                ):
                    raise KeyboardInterrupt
            return trace

        try:
            sys.settrace(trace)
            got.append(next(iterator))
        except KeyboardInterrupt:
            return pipeline, got, True
        finally:
            sys.settrace(None)
        return pipeline, got, lines >= at

    at, interrupted = 0, True
    while interrupted:
        at += 1
        pipeline, got, interrupted = received(at)
        assert pipeline.get_state()["counters"]["update"] == len(got)
    assert at > 50


def test_a_forked_process_is_refused_at_first_use():
    pipeline = Pipeline(source=create("source", "memory", data={"x": np.arange(8)}), batch_size=4)
    pipeline._progress.process += 1  # as if this process were a fork
    with pytest.raises(FeedraceError, match="of which this one is a fork"):
        next(iter(pipeline))
    with pytest.raises(FeedraceError, match="start processes with spawn"):
        pipeline.scan(lambda batch: batch["x"], length=1)
