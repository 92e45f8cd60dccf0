"""Reading records through a cache: numpy alone, for workers; several threads at a time."""

import threading
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from feedrace.plugin import DataError, Records, aligned, check_numbers, map_leaves
from feedrace_compose.cache_files import CacheFiles, Numbers
from feedrace_compose.cache_place import Field, Place
from feedrace_compose.packing import packed

OWN = -1  # in `noted`: sentences of the cache itself, not what a source noted


class Opened:
    """The files of a cache, opened by the first thread that asks, and what was met on the way.

    skipped: the numbers of records that the source left out. Pickled, it starts anew.
    """

    def __init__(self) -> None:
        self.skipped: set[int] = set()
        self.of_thread = threading.local()
        self._files: CacheFiles | None = None
        self._is_closed = self._is_noted = False
        self._lock = threading.Lock()

    def __reduce__(self) -> Any:
        return Opened, ()

    def files(self, place: Place) -> CacheFiles | None:
        """Return the files; None if they cannot be used."""
        with self._lock:
            if self._files is None and not self._is_closed:
                try:
                    self._files = CacheFiles(place)
                    if not self._files.is_writable:
                        self.note(f"{place.folder} cannot be written; nothing is added to it")
                except (OSError, ImportError) as error:
                    self.stop(place, error)
            return self._files

    def stop(self, place: Place, error: Exception) -> None:
        """Keep no more records, and note why."""
        if self._files is not None:
            self._files.is_writable = False
        self._is_closed = True
        self.note(f"records are no longer kept in {place.folder}, but made each time: {error}")

    def note_unkept(self, number: int, error: Exception) -> None:
        """Note that a record is not kept; of several, the first one."""
        if not self._is_noted:
            self._is_noted = True
            self.note(f"records such as {number} are not kept, but made each time: it has {error}")

    def note(self, sentence: str) -> None:
        """Note a sentence for the source, which warns."""
        self._noted().append((OWN, [sentence]))

    def add(self, noted: Sequence[Any]) -> None:
        """Note what the reader of the source noted."""
        if noted:
            self._noted().append((0, noted))

    def take(self) -> list[Any]:
        """Return, and forget, what was noted in this thread."""
        found: list[Any] = vars(self.of_thread).pop("noted", [])
        return found

    def _noted(self) -> list[Any]:
        return vars(self.of_thread).setdefault("noted", [])  # type: ignore[no-any-return]


@attrs.frozen(eq=False)
class CacheReader:
    """Gives records that are kept, and makes and keeps the others.

    loader: a `RecordLoader`, which reads from the source and runs the stages. place: where the
    records are kept. opened: shared by the readers of one process.
    """

    loader: Any
    place: Place
    opened: Opened = attrs.field(factory=Opened)

    def fetch(self, indices: Numbers) -> dict[str, Any]:
        """Return these records after the stages; raise what the source and the stages raise."""
        numbers = np.asarray(indices, np.int64)
        check_numbers(numbers, self.place.count)
        files = self.opened.files(self.place)
        kept, blobs = np.zeros(len(numbers), bool), dict[int, list[Any]]()
        if files is not None:
            kept, blobs = files.look(numbers)
            if kept.all():
                flat = {field.name: files.gather(field, numbers) for field in self.place.fixed}
                return self._nested(numbers, flat, blobs, {})
        made, good = self._made(numbers, np.flatnonzero(~kept))
        self.opened.skipped.difference_update(numbers[kept].tolist())
        flat = {
            field.name: self._joined(field, numbers, kept, made, files)
            for field in self.place.fixed
        }
        if files is not None:
            self._keep(files, numbers, flat, {row: made[row] for row in good})
        return self._nested(numbers, flat, blobs, made)

    def invalid_rows(self, indices: Numbers) -> NDArray[np.bool_]:
        """Return which of these fetched records the source left out."""
        numbers = np.asarray(indices, np.int64)
        skipped = self.opened.skipped
        return np.fromiter(map(skipped.__contains__, numbers.tolist()), bool, len(numbers))

    def noted(self) -> list[Any]:
        """Return what the fetches of this thread noted: (0, what the source's reader noted)."""
        return self.opened.take()

    def is_kept(self, numbers: Numbers) -> bool:
        """Return whether all of these records are kept."""
        files = self.opened.files(self.place)
        return files is not None and bool(files.kept(numbers).all())

    def sync(self) -> None:
        """Have what is kept outlast a power failure."""
        files = self.opened.files(self.place)
        if files is not None:
            try:
                files.sync()
            except OSError as error:
                self.opened.stop(self.place, error)

    def _made(
        self, numbers: Numbers, rows: NDArray[np.int64]
    ) -> tuple[dict[int, dict[str, Any]], list[int]]:
        """Return the values of the records in these rows, by row, and which rows may be kept.

        A record that was left out has what the source gives for it, or nothing if there are stages.
        """
        read, each = self.loader.each(numbers[rows])
        made: dict[int, dict[str, Any]] = {}
        skipped = np.zeros(len(rows), bool) if read.skipped is None else read.skipped.copy()
        replaced: set[int] = set()  # by a stage's error
        for i, row in enumerate(rows.tolist()):
            count = len(read.noted)
            values = next(each)
            if values is None:
                skipped[i] = True
            else:
                made[row] = values
            if len(read.noted) > count:
                replaced.add(row)
        self.opened.skipped.difference_update(numbers[rows[~skipped]].tolist())
        self.opened.skipped.update(numbers[rows[skipped]].tolist())
        good: list[int] = rows[~skipped].tolist()
        if read.noted:
            # What was noted is to be noted each time, so that what it concerns is not kept.
            self.opened.add(read.noted)
            good = [
                row
                for row in good
                if row not in replaced and not self._notes(numbers[row : row + 1])
            ]
        return made, good

    def _notes(self, number: Numbers) -> bool:
        """Return whether the source's reader notes something on a record."""
        try:
            self.loader.reader.fetch(number)
            return bool(self.loader.reader.noted())
        except Exception:  # noqa: BLE001 (it could be read a moment ago; it is not kept)
            return True

    def _joined(
        self,
        field: Field,
        numbers: Numbers,
        kept: NDArray[np.bool_],
        made: dict[int, dict[str, Any]],
        files: CacheFiles | None,
    ) -> NDArray[Any]:
        """Return a field of all records, from those that are kept and those that were made."""
        dtypes = {getattr(record[field.name], "dtype", field.dtype) for record in made.values()}
        dtype = np.result_type(field.dtype, *dtypes)
        into: NDArray[Any] = aligned((len(numbers), *field.shape), dtype)
        if files is not None and kept.any():
            into[kept] = files.gather(field, numbers[kept])
        for row in range(len(numbers)):
            if row in made:
                value = made[row][field.name]
                try:
                    into[row] = value
                except OverflowError:
                    raise DataError(
                        f"record stage {self.loader.stages.names[-1]} returned {value} as "
                        f"{field.name!r} of record {numbers[row]}, beyond {dtype}"
                    ) from None
            elif not kept[row]:
                into[row] = np.zeros((), dtype)
        return into

    def _keep(
        self,
        files: CacheFiles,
        numbers: Numbers,
        flat: dict[str, NDArray[Any]],
        made: dict[int, dict[str, Any]],
    ) -> None:
        """Keep what was made, but for records that the files cannot hold as they are."""
        wide = [field for field in self.place.fixed if flat[field.name].dtype != field.dtype]
        blobs: dict[int, bytes] = {}
        chosen: dict[int, int] = {}  # rows by number
        for row, record in made.items():
            if not all(_fits(record[field.name], field.dtype) for field in wide):
                continue
            try:
                blobs[row] = packed([record[field.name] for field in self.place.packed])
            except TypeError as error:
                self.opened.note_unkept(int(numbers[row]), error)
                continue
            chosen[int(numbers[row])] = row
        if not chosen:
            return
        rising = sorted(chosen)
        try:
            at = np.array([chosen[number] for number in rising], np.int64)
            files.keep(np.array(rising, np.int64), at, flat, blobs)
        except TimeoutError:
            return  # they are made again the next time
        except OSError as error:
            self.opened.stop(self.place, error)

    def _nested(
        self,
        numbers: Numbers,
        flat: dict[str, NDArray[Any]],
        blobs: dict[int, list[Any]],
        made: dict[int, dict[str, Any]],
    ) -> dict[str, Any]:
        """Return the records, with what is packed."""
        for i, field in enumerate(self.place.packed):
            shape = () if None in field.shape else field.shape
            flat[field.name] = objects = np.full((len(numbers), *shape), None, object)
            for row, values in blobs.items():
                objects[row] = values[i]
            for row, record in made.items():
                objects[row] = record[field.name]
        arrays = iter([flat[field.name] for field in self.place.fields])
        return map_leaves(lambda _: next(arrays), self.loader.stages.spec)  # type: ignore[no-any-return]


@attrs.frozen
class Fill:
    """The work of a job that fills a cache: all that it does is to ask for the records.

    bounds: of the parts of the job.
    """

    reader: CacheReader
    bounds: tuple[int, ...]

    def __call__(self, number: int, records: Records) -> dict[str, Any]:
        start, stop = self.bounds[number : number + 2]
        if not self.reader.is_kept(np.arange(start, stop)):
            for _ in records:
                pass
        return {}


def _fits(value: Any, dtype: np.dtype[Any]) -> bool:
    return bool(np.can_cast(getattr(value, "dtype", dtype), dtype, "safe"))
