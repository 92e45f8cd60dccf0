"""What the pipeline asks of its parts: one to four methods each, no base class needed.

Arrays are numpy or JAX arrays; a spec is a pytree of `jax.ShapeDtypeStruct`. Indices are int64
numpy arrays of record numbers; positions count records from the start of epoch 0, on and on.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Stateful(Protocol):
    """Can say in a small JSON-able dict where it stands, and go back there."""

    def get_state(self) -> dict[str, Any]: ...

    def set_state(self, state: dict[str, Any]) -> None: ...


@runtime_checkable
class Sampler(Protocol):
    """Says which record stands at every position, as a pure function.

    One with `attach(source)` is given its pipeline's source before the first index.
    """

    def indices(self, start: int, stop: int) -> Any: ...

    def __len__(self) -> int: ...


@runtime_checkable
class Source(Protocol):
    """Yields records, as dicts of arrays, in turn; a pipeline needs an `IndexedSource`."""

    length: int | None

    def element_spec(self) -> Any: ...

    def __iter__(self) -> Iterator[dict[str, Any]]: ...

    def reset(self) -> None: ...


@runtime_checkable
class IndexedSource(Protocol):
    """Gives any records by number: a dict of arrays with leading axis `len(indices)`.

    It must not write to these arrays again: they may become part of a batch as they are.

    One that holds all its records on the device has the attribute `device_data`, that dict of JAX
    arrays; batches are then made on the device. One that decodes may count the seconds that its
    `fetch` spends on it in `decode_seconds`. One that leaves out records which it cannot read gives
    blank rows for them, and `left_out(indices)`, bools, tells which of those just fetched they are.
    What `details()` gives, a list of sentences, is shown by `feedrace describe`.
    """

    def element_spec(self) -> Any: ...

    def __len__(self) -> int: ...

    def fetch(self, indices: Any) -> dict[str, Any]: ...


@runtime_checkable
class Batcher(Protocol):
    """Groups records into batches of static shape with a `valid_mask`.

    One whose grouping depends on what is in the records works in windows of them, and has two more
    methods: `window_size(batch_size)`, the records in a window, and `collate_window(records, *,
    batch_size)`, which yields (batch, rows), one batch or more of the records of a window (a dict
    of arrays with one leading axis). `rows` are the int64 places in the window of the records that
    begin in the batch, row by row; each record of the window is in one `rows`. A step of such a
    pipeline is a batch; updates count windows. It may yield (batch, rows, keys), too: int64 numbers
    of all rows, each another one in the window, for the keys of stochastic stages; that of a row
    which is a whole record is the record's place, and others are above all places. Where it raises
    a `DataError` for a record, the error's `row` is that record's place.

    One whose batches have several shapes gives all their specs as `batch_specs(element_spec, *,
    batch_size)`, the largest last.
    """

    def process(self, elements: Any, *, batch_size: int, drop_remainder: bool = False) -> Any: ...

    def batch_spec(self, element_spec: Any, *, batch_size: int) -> dict[str, Any]: ...


@runtime_checkable
class Scheduler(Protocol):
    """Orders the steps of one or several streams.

    `steps(state, plans)` yields the `feedrace.Step`s that are left of the pass that `state` is in. `state` is a dict of ints with the key `pass`; each step carries in `after` the state
    that follows it. `plans` maps stream names to `feedrace.plan.steps.StreamPlan`s. It raises
    `feedrace.errors.StateError` for a state that none of its steps leads to.

    A scheduler of several streams has `callbacks`: objects with the attributes `stream` (a name),
    `source`, `sampler`, `batcher`, `stages` and `batch_size` (None for the pipeline's own). One
    with `steps_per_pass(plans)` and `timeline(plans)` shows in the command's output.
    """

    def steps(self, state: Mapping[str, int], plans: Mapping[str, Any]) -> Iterator[Any]: ...


@runtime_checkable
class Stage(Protocol):
    """Maps a batch to a batch; where `stochastic` is true, also given one PRNG key a record."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]: ...


# What the object that a component's target makes has to have; a pipeline's source also `fetch`.
METHODS: Mapping[str, tuple[str, ...]] = {
    "source": ("element_spec",),
    "sampler": ("indices", "__len__"),
    "batcher": ("process", "batch_spec"),
    "scheduler": ("steps",),
    "stage": ("__call__",),
}
