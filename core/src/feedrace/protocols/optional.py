"""What a part may have besides what its kind must have: nothing else is probed for."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from feedrace.protocols.kinds import Arrays

if TYPE_CHECKING:
    import jax
    import numpy as np
    from numpy.typing import NDArray

    from feedrace.errors import DataError

# Optional, for any kind


class Configured(Protocol):
    """Was made from a config, whose fields describe it in files and in saved states.

    config: that config, an attrs class.
    """

    config: Any


class Unnameable(Protocol):
    """Holds something that no config file can, so that it cannot be written as one.

    unnamed: what that is, such as "has a collate_fn"; an empty string if it can be written.
    """

    unnamed: str


class Identified(Protocol):
    """Knows what its config does not say of the records, such as a digest of the data."""

    def identity(self) -> str:
        """Return it; a saved state is refused if it differs."""
        return ""


class Detailed(Protocol):
    """Has sentences for `feedrace describe`."""

    def details(self) -> list[str]:
        """Return them, one line each."""
        return []


# Optional, for sources


class Ordered(Protocol):
    """A source with an order of its own, used if there is no sampler."""

    def indices(self, start: int, stop: int) -> "NDArray[np.int64]":
        """Return record numbers, as `Sampler.indices` does."""
        raise NotImplementedError


class OnDevice(Protocol):
    """A source that may hold all fields of all records on the device.

    on_device: whether it does; known without reading a record.
    device_data: the records as JAX arrays; batches are then gathered on the device.
    """

    on_device: bool
    device_data: Arrays


class Readable(Protocol):
    """A source with a part that reads on the host, needs no JAX, and can be pickled.

    Workers hold that part. Without one, a source is read in a single thread.
    """

    def reader(self) -> "Reader | None":
        """Return that part, or None if it has none after all."""


class Reader(Protocol):
    """The part of a source that worker processes hold; several threads may call it at a time."""

    def fetch(self, indices: "NDArray[np.int64]") -> Arrays:
        """Return numpy arrays, as `IndexedSource.fetch` does."""
        return {}


class Skipping(Protocol):
    """A source, or its reader, that leaves out records it cannot read, giving blank rows."""

    def invalid_rows(self, indices: "NDArray[np.int64]") -> "NDArray[np.bool_]":
        """Return (len(indices),): which of the records fetched last are blank."""
        raise NotImplementedError


class Noting(Protocol):
    """A reader that goes on without records it could not read, and notes them for its source."""

    def noted(self) -> list[Any]:
        """Return, and forget, what the fetches of this thread noted; it can be pickled."""
        return []


class Locating(Protocol):
    """A reader that knows where a record is stored, for messages about it."""

    def locate(self, number: int) -> tuple[str, int]:
        """Return the path or address of the record's file, and the record's number in it."""
        raise NotImplementedError


class Tolerating(Protocol):
    """A reader whose policy for records it could not read also holds for stages on records.

    It is asked if a stage raises `DataError` for a record; any other error ends the iteration.
    """

    def tolerate(
        self,
        number: int,
        error: "DataError",
        make: "Callable[[Arrays], dict[str, Any] | DataError]",
    ) -> dict[str, Any] | None:
        """Return what `make` makes of the record that takes this one's place; None for none.

        make: runs the stages on one record, in arrays with a leading axis of 1, as `fetch` returns
            them; it returns the `DataError` of a record that is bad too.

        The outcome depends on the arguments alone, whatever was read before; bad records are
        `noted` in this thread. Several threads may call it at a time. Raises `error` if bad records
        are not tolerated, and `DataError` if they are too many.
        """
        return None


class Noted(Protocol):
    """A source that is given what its readers noted, step by step, in the order of the steps."""

    def note(self, noted: list[Any]) -> None:
        """Take it over; raise `DataError` if that is one record too many."""


class Timed(Protocol):
    """A source that measures how long it decodes.

    decode_seconds: seconds spent on decoding so far; threads at work together count once.
    """

    decode_seconds: float


class Columnar(Protocol):
    """A source that gives one field of all records without reading the others."""

    def column(self, field: str) -> "NDArray[Any]":
        """Return an array with leading axis `len(self)`."""
        raise NotImplementedError


class Precomputing(Protocol):
    """A source that keeps what it makes of its records, and can make it ahead."""

    def precompute(self) -> None:
        """Make what is not kept yet, as `feedrace.plugin.jobs_run` chose."""


class Composed(Protocol):
    """A source whose records are those of several sources, one after another.

    parts: the name of each source, in order, to (its first record, its number of records).
    """

    parts: Mapping[str, tuple[int, int]]

    def part(self, name: str) -> Any:
        """Return the source of this name."""


class Classed(Protocol):
    """A source whose field `label` numbers classes that have names.

    classes: the name of each class, by number; empty if they have none.
    """

    classes: Sequence[str]


# Optional, for samplers


class Epochal(Protocol):
    """A sampler whose epoch is not its whole length.

    records_per_epoch: positions in an epoch; `len` is a multiple of it.
    """

    records_per_epoch: int


class Windowed(Protocol):
    """A sampler each of whose elements is a window of records."""

    def index_spec(self) -> Any:
        """Return the shape and dtype of one element: () for a single record number."""


class Traceable(Protocol):
    """An order that JAX can compute, in a sampler or a source."""

    def indices_at(self, epoch: "jax.Array", positions: "jax.Array") -> "jax.Array":
        """Return record numbers for int32 positions within a uint32 epoch, traceably."""
        raise NotImplementedError


class Attached(Protocol):
    """A sampler that needs to know the source, such as its labels."""

    def attach(self, source: Any) -> None:
        """Take the source; called once, before the first index."""


class EpochListener(Protocol):
    """A sampler that wants to know when an epoch was handed out whole."""

    def epoch_completed(self, epoch: int) -> None:
        """Take note; called from the loop's thread when it asks for the next batch."""


# Optional, for batchers


class RowWise(Protocol):
    """A batcher that may be row-wise.

    row_wise: whether row i of a batch is record i, stacked and padded and no more. Each host then
        reads only its own rows, and batches can be gathered on the device.
    """

    row_wise: bool


class Collating(Protocol):
    """A batcher that takes records that are stacked already."""

    def collate(self, records: Arrays, *, batch_size: int) -> Arrays:
        """Return one batch of up to `batch_size` records."""
        return {}


class Grouping(Protocol):
    """A batcher that groups by what is in the records, a window of them at a time."""

    def window_size(self, batch_size: int) -> int:
        """Return the number of records in a window."""
        return 0

    def collate_window(self, records: Arrays, *, batch_size: int) -> Iterator[Any]:
        """Yield (batch, rows, keys), or (batch, rows), for a window of records.

        rows: int64 places in the window of the records that begin in the batch; each place of the
            window comes once in all.
        keys: int64 (batch_size,), another number for each row of the window, which seeds stochastic
            stages: the place of its record if a row is one whole record, else above all places.

        Raises `errors.RecordError` for a record that does not fit.
        """
        return iter(())


class ManyShapes(Protocol):
    """A batcher whose batches have several shapes."""

    def batch_specs(self, element_spec: Any, *, batch_size: int) -> Sequence[Arrays]:
        """Return the spec of each shape, the largest last."""
        return ()


class Filling(Protocol):
    """A batcher that measures its padding.

    fill: share of the positions of all batches so far that hold data; None before the first.
    """

    fill: float | None


# Optional, for schedulers


class MultiStream(Protocol):
    """A scheduler of several streams.

    callbacks: one object for each stream but the train stream, with the attributes `stream` (its
        name), `source`, `sampler`, `batcher`, `stages` and `batch_size`; None takes the pipeline's.
    """

    callbacks: Sequence[Any]


class Counted(Protocol):
    """A scheduler that knows the length of a pass."""

    def steps_per_pass(self, plans: Mapping[str, Any]) -> int | None:
        """Return the number of steps in the first pass.

        None if it never ends, or if only reading shows it, as with a `feedrace.plugin.WindowPlan`.
        """


class CountedAtLeast(Protocol):
    """A scheduler that knows how many steps a pass has at least, whatever reading shows."""

    def least_steps_per_pass(self, plans: Mapping[str, Any]) -> int | None:
        """Return a number of steps that the first pass has at least, None if it never ends."""


class Drawn(Protocol):
    """A scheduler that draws its schedule."""

    def timeline(self, plans: Mapping[str, Any]) -> list[str]:
        """Return lines of text for `feedrace describe`."""
        return []


# Optional, for stages


class Placed(Protocol):
    """A stage that says where it runs.

    on: "record", on one record as soon as it is read; "host", on a batch of numpy arrays before it
        moves; or "device", the default. A record is a dict of field to an array, a numpy scalar,
        or text. Workers hold stages on records: several threads call one at a time, processes need
        to pickle it, and it needs numpy alone.
    """

    on: str


class Stochastic(Protocol):
    """A stage that may draw random numbers.

    stochastic: whether it is called as `stage(batch, keys)` with one PRNG key for each row: a JAX
        key array on the device, uint32 (rows, 2) on the host. On a record it is called as
        `stage(record, rng)` with a `numpy.random.Generator`, for this call alone.
    """

    stochastic: bool


class Specified(Protocol):
    """A stage on the host or on records that changes shapes or dtypes."""

    def spec(self, spec: Arrays) -> Arrays:
        """Return the spec of what it returns for batches, or a record, of `spec`.

        Raises `DataError` for those that it cannot take.
        """
        return {}


class Fitted(Protocol):
    """A stage that takes numbers, such as a mean, from the statistics of the training records.

    It runs on the host or on the device, and no stage but the record stages may come before it,
    and other stages like it for other fields: they might change what the numbers are of.

    fits: the dotted name of the field whose statistics it takes; None if it takes none.
    fitted: the numbers it took, as JSON, which are a part of saved states; None before `fit`.
    """

    fits: str | None
    fitted: Any

    def fit(self, statistics: Any) -> None:
        """Take what it needs of a `feedrace.plugin.FieldStatistics`.

        Called once for each pipeline when it is built, with the statistics of all records of the
        train stream's source after its record stages, also if another stream has the stage. Raises
        `ConfigError` or `DataError` if it cannot use them, or was fitted to other numbers before.
        """


class Fusing(Protocol):
    """A stage on records that can do the work of the one before it with its own, and faster."""

    def fused(self, before: Any) -> Any:
        """Return one stage in place of `before` and this one, or None; one of them may be random.

        It is `Placed`, and `Stochastic` if one of them is.
        """
