"""Stages that run on the host: functions of a batch of numpy arrays, strings among them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import attrs
import numpy as np

from feedrace.errors import DataError, class_name
from feedrace.host.records import VALID_MASK, count_records, leaves, map_leaves
from feedrace.protocols import Specified, is_stochastic, provides

Keys = Callable[[int, int], Any]  # (number of the stochastic stage, rows) -> uint32 (rows, 2)


@attrs.frozen
class LeafSpec:
    """The shape and dtype of one leaf; None stands in `shape` for an axis that varies."""

    shape: tuple[int | None, ...]
    dtype: Any

    def __repr__(self) -> str:
        sizes = ("?" if size is None else str(size) for size in self.shape)
        return f"{self.dtype}[{', '.join(sizes)}]"


@attrs.frozen(eq=False)
class HostStages:
    """The host stages of a stream, in order.

    What a stage returns is checked against what it says: its `spec`, or what came in if it has
    none. Each stage is asked once for each shape of batch. first: the number of the first of them.
    """

    stages: tuple[Any, ...]
    first: int = 0
    _promised: dict[Any, Any] = attrs.field(factory=dict, init=False)

    def __call__(self, batch: dict[str, Any], keys: Keys) -> dict[str, Any]:
        """Return the batch after all stages, as numpy arrays."""
        if not self.stages:
            return batch
        batch = map_leaves(np.asarray, batch)
        drawn, masked = 0, VALID_MASK in batch
        for number, stage in enumerate(self.stages, self.first):
            rows, before = count_records(batch), _spec(batch)
            with named(number, stage, batch):
                if is_stochastic(stage):
                    batch, drawn = stage(batch, keys(drawn, rows)), drawn + 1
                else:
                    batch = stage(batch)
            check_batch(stage, batch, rows, masked=masked)
            self._check_promise(stage, before, _spec(batch))
        return batch

    def spec(self, batch_spec: dict[str, Any]) -> dict[str, Any]:
        """Return the spec of what comes out for batches of `batch_spec`; nothing is computed."""
        for stage in self.stages:
            batch_spec = stage.spec(batch_spec) if provides(stage, Specified) else batch_spec
        return batch_spec

    def _check_promise(self, stage: Any, before: Any, after: Any) -> None:
        place = (id(stage), spec_text(before))
        if place not in self._promised:
            promised = stage.spec(before) if provides(stage, Specified) else before
            self._promised[place] = spec_text(promised)
        if spec_text(after) != self._promised[place]:
            fix = "correct its spec method" if provides(stage, Specified) else "give it one"
            raise DataError(
                f"host stage {class_name(stage)} returned {spec_text(after)}; its "
                f"`spec(batch_spec)`, or what came in if it has none, says "
                f"{self._promised[place]}; {fix}"
            )


@contextmanager
def named(number: int, stage: Any, batch: dict[str, Any]) -> Iterator[None]:
    """Note on an error in which stage of the pipeline it was raised, for which batch."""
    try:
        yield
    except Exception as error:
        error.add_note(f"in stages[{number}], {class_name(stage)}")
        note_function_of_array(error, stage, batch, "batch")
        raise


def note_function_of_array(error: Exception, stage: Any, given: Any, what: str) -> None:
    """Note on an error of a stage what to write, if the stage takes an array alone.

    given: the batch or the record that it was called with; what: its name in the note.
    """
    usual = isinstance(error, TypeError | AttributeError | ValueError)
    if not usual or isinstance(error, DataError) or is_stochastic(stage):
        return
    for name, value in given.items():
        if name == VALID_MASK or not hasattr(value, "shape"):
            continue
        with suppress(Exception):  # then it is no such function, or not of this field
            if hasattr(stage(value), "shape"):
                error.add_note(
                    f"it is a function of one array; a stage takes a {what}: write "
                    f"lambda {what}: {{**{what}, {name!r}: function({what}[{name!r}])}}"
                )
                return


def check_batch(stage: Any, batch: Any, rows: int, *, masked: bool) -> None:
    """Raise `DataError` unless `batch` is a dict of arrays with leading axis `rows`.

    masked: whether the batch that the stage was given has a mask, which it then has to keep.
    """
    if not isinstance(batch, dict):
        returned = type(batch).__name__
        raise DataError(f"stage {class_name(stage)} returned {returned}; a stage returns a dict")
    for field, leaf in leaves(batch):
        shape = np.shape(leaf)
        if not shape or shape[0] != rows:
            raise DataError(
                f"stage {class_name(stage)} returned {field!r} of shape {shape}; every field needs "
                f"the leading axis {rows} of the batch"
            )
    if masked and VALID_MASK not in batch:
        raise DataError(
            f"stage {class_name(stage)} dropped {VALID_MASK!r}, which shows the padding; return "
            f"{{**batch, ...}}, or pass it on: {VALID_MASK!r}: batch[{VALID_MASK!r}]"
        )


def _spec(batch: dict[str, Any]) -> Any:
    return map_leaves(lambda leaf: LeafSpec(np.shape(leaf), np.asarray(leaf).dtype), batch)


def spec_text(spec: Any) -> str:
    """Return `name: dtype[shape]` of each leaf, for messages."""
    return ", ".join(
        f"{name}: {leaf.dtype}{list(leaf.shape)}" for name, leaf in sorted(leaves(spec))
    )
