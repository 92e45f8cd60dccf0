"""What each kind of part must have, and what it may have: no base class is needed for any of it.

Arrays are numpy arrays, or JAX arrays if a source holds its records on the device. A *spec* is a
dict (which may be nested) of objects with `shape` and `dtype`, such as `jax.ShapeDtypeStruct`.
*Record numbers* are int64 from 0; *positions* are int64 and count records from the start of
epoch 0, on and on. Every method is called from one thread at a time unless it says otherwise.

The first six protocols are the kinds; what a part may have besides is in `optional`. The core
probes for nothing that is not written in these two files.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Arrays = dict[str, Any]  # field name to array, or to such a dict


@runtime_checkable
class IndexedSource(Protocol):
    """A source: gives any records by number."""

    def element_spec(self) -> Any:
        """Return the spec of one record, with the dtypes that arrive on the device.

        None stands in `shape` for a dimension that varies; such a field is one array a record.
        """

    def __len__(self) -> int:
        """Return the number of records, 1 or more."""
        return 0

    def fetch(self, indices: "NDArray[np.int64]") -> Arrays:
        """Return the records of these numbers: arrays with leading axis `len(indices)`.

        Called from the thread that makes batches. The source must not write to these arrays again:
        they may become part of a batch as they are. Raises `DataError` for a bad number or record.
        """
        return {}


@runtime_checkable
class Sampler(Protocol):
    """A sampler: says which record stands at each position, as a pure function."""

    def indices(self, start: int, stop: int) -> "NDArray[np.int64]":
        """Return the record numbers at positions [start, stop): one row each.

        Any thread may call it.
        """
        raise NotImplementedError

    def __len__(self) -> int:
        """Return the number of positions in a pass; raise `TypeError` if it never ends."""
        return 0


@runtime_checkable
class Batcher(Protocol):
    """A batcher: groups records into batches of static shape with a bool `valid_mask`."""

    def process(self, elements: Any, *, batch_size: int, drop_remainder: bool = False) -> Any:
        """Return an iterator of batches of an iterable of records."""

    def batch_spec(self, element_spec: Any, *, batch_size: int) -> Arrays:
        """Return the spec of a batch; raise `DataError` for records that do not fit."""
        return {}


@runtime_checkable
class Scheduler(Protocol):
    """A scheduler: orders the steps of one or several streams."""

    def steps(self, state: Mapping[str, int], plans: Mapping[str, Any]) -> Iterator[Any]:
        """Yield the `feedrace.Step`s that are left of the pass that `state` is in.

        state: ints, among them `pass`; each step carries in `after` the state that follows it.
        plans: a `feedrace.plugin.StreamPlan` for each stream; for one whose batcher groups records
            by what is in them, a `feedrace.plugin.WindowPlan`. That one reads while its batches
            are pulled, and does not know how many will come; pass on each batch that is pulled,
            in order, with the very array of its `indices`.

        Raises `StateError` for a state that none of its steps leads to.
        """
        return iter(())


@runtime_checkable
class Stage(Protocol):
    """A stage: maps a batch to a batch with the same leading axis, and runs on the device.

    One that is `Placed` elsewhere maps a batch of numpy arrays, or one record.
    """

    def __call__(self, batch: Arrays) -> Arrays:
        """Return the batch that follows; traced by `jax.jit` once for each shape."""
        return {}


@runtime_checkable
class Predicate(Protocol):
    """A predicate: decides which records of a source the source `filter` keeps.

    Workers hold it: processes need to pickle it, several threads call it at a time, and it needs
    numpy alone.
    """

    def __call__(self, record: Arrays) -> bool:
        """Return whether a record passes, a function of the record alone, which stays as it is.

        A record is a dict of field to an array, a numpy scalar, or text, as stages on records get
        it; a field with fields of its own is such a dict.
        """
        return True


@runtime_checkable
class Source(Protocol):
    """A source as the interface documents have it: it yields its records one by one.

    length: the number of its records, None if that is not known.
    """

    length: int | None

    def element_spec(self) -> Any:
        """Return the spec of one record."""

    def __iter__(self) -> Iterator[Arrays]:
        """Yield the records that are left, each a dict of field to array."""
        return iter(())

    def reset(self) -> None:
        """Begin again with the first record."""


@runtime_checkable
class Stateful(Protocol):
    """Says in a small JSON-able dict where it stands, and goes back there."""

    def get_state(self) -> dict[str, Any]:
        """Return where it stands."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go to where `get_state` was called."""


KINDS: Mapping[str, type] = {
    "source": IndexedSource,
    "sampler": Sampler,
    "batcher": Batcher,
    "scheduler": Scheduler,
    "stage": Stage,
    "predicate": Predicate,
}
