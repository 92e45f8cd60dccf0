"""Rows of the tokens of many documents, joined and cut: numpy alone, for workers."""

import base64
import itertools
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from feedrace.plugin import (
    DataError,
    Order,
    Records,
    aligned,
    arriving_dtype,
    canonical,
    check_numbers,
    map_leaves,
)
from feedrace_compose.readers import Numbers, Skips, invalid

_TOKENS = 1 << 24  # of the documents that are read at a time, if one has no more
_RECENT = 64 << 20  # bytes of tokens that a process keeps

Tokens = list[NDArray[Any]]  # of a document, field by field


@attrs.frozen
class TokenCount:
    """The work of a job: the number of tokens in each document, which `counted` unpacks.

    Raises `DataError` for a document whose fields differ in length.
    """

    fields: tuple[str, ...]

    def __call__(self, number: int, records: Records) -> dict[str, Any]:
        found = {document: self._count(document, values) for document, values in records}
        first = min(found, default=0)
        lengths = np.zeros(max(found, default=-1) + 1 - first, "<i8")  # 0 of what was left out
        lengths[np.fromiter(found, np.int64) - first] = list(found.values())
        packed = base64.b64encode(zlib.compress(lengths.tobytes())).decode()
        return {"first": first, "lengths": packed}

    def _count(self, document: int, values: Mapping[str, Any]) -> int:
        lengths = {name: len(values[name]) for name in self.fields}
        if len(set(lengths.values())) > 1:
            raise _unequal(document, lengths)
        return lengths[self.fields[0]]


def counted(value: Mapping[str, Any]) -> tuple[int, NDArray[np.int64]]:
    """Return the number of a first document, and the lengths of it and those behind it."""
    lengths = np.frombuffer(zlib.decompress(base64.b64decode(value["lengths"])), "<i8")
    return value["first"], lengths


def column_lengths(columns: Mapping[str, Any]) -> NDArray[np.int64]:
    """Return the number of tokens in each document, from the fields of all; raises as above."""
    lengths: dict[str, NDArray[np.int64]] = {}
    for name, column in columns.items():
        ragged = column.dtype == np.dtype(object)
        each = map(len, column) if ragged else itertools.repeat(column.shape[1])
        lengths[name] = np.fromiter(each, np.int64, len(column))
    first, *others = lengths.values()
    for other in others:
        for document in np.flatnonzero(first != other)[:1].tolist():
            raise _unequal(document, {name: int(a[document]) for name, a in lengths.items()})
    return first


@attrs.frozen(eq=False)
class Joined:
    """Where each document lies in the stream of all tokens.

    starts: int64 (documents + 1,), where the document at each place begins, and last the end.
    """

    starts: NDArray[np.int64]
    order: Order

    def numbers(self, places: Numbers) -> Numbers:
        """Return the record numbers of the documents at these places."""
        # The inverse of a permutation is one, too, and is known for any places at once.
        return self.order.positions(0, places)


@attrs.frozen(eq=False)
class TokenField:
    """A field of tokens: its dtype as it arrives, the padding, and the separator or None."""

    name: str
    dtype: Any
    padding: Any
    separator: Any


@attrs.frozen(eq=False)
class _Pieces:
    """The parts of documents that make up some rows, in the order of the rows; int64 (pieces,).

    row: which row. place: that of the document. at, size: where in the row, and how many tokens.
    begin: where in the document. whole: the tokens of the document, its separator among them.
    """

    row: Numbers
    place: Numbers
    at: Numbers
    size: Numbers
    begin: Numbers
    whole: Numbers


class Recent:
    """The tokens of the documents that this process needed last; any thread may use it.

    So a document of many rows is not staged again for each batch if rows come nearly in order. At
    most 64 MiB are kept; a pickled one is empty.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[int, Tokens] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __reduce__(self) -> Any:
        return Recent, ()

    def find(self, numbers: Sequence[int]) -> dict[int, Tokens]:
        """Return those of these documents that are kept, by number."""
        with self._lock:
            found = {n: self._kept[n] for n in numbers if n in self._kept}
            for number in found:
                self._kept.move_to_end(number)
        return found

    def keep(self, number: int, tokens: Tokens) -> None:
        """Keep a document, in the place of those that were needed longest ago."""
        # A view would keep what it is a view of.
        tokens = [part if part.base is None else part.copy() for part in tokens]
        with self._lock:
            if number not in self._kept:
                self._kept[number] = tokens
                self._bytes += _size(tokens)
            while self._bytes > _RECENT:
                self._bytes -= _size(self._kept.popitem(last=False)[1])


def _size(tokens: Tokens) -> int:
    return sum(part.nbytes for part in tokens)


@attrs.frozen(eq=False, kw_only=True)
class RowReader(Skips):
    """Reads rows of tokens by their numbers; row i begins at token i * `stride` of all.

    stages: make tokens of the records of the only source. count: the number of rows.
    wide: whether JAX's x64 mode is on.
    """

    stages: Any
    joined: Joined
    fields: tuple[TokenField, ...]
    length: int
    stride: int
    count: int
    wide: bool
    recent: Recent = attrs.field(factory=Recent)

    def fetch(self, indices: Numbers) -> dict[str, Any]:
        """Return these rows: each field with its segmentation, positions and mask.

        Each document of theirs is read once. Raises `DataError` for a number out of range, for a
        document that has another length than it had when they were counted, and for a token that
        does not fit.
        """
        numbers = np.asarray(indices, np.int64)
        check_numbers(numbers, self.count)
        starts = numbers * self.stride
        stops = np.minimum(starts + self.length, self.joined.starts[-1])
        pieces = self._pieces(starts, stops)
        tokens = [self._filled(len(numbers), field) for field in self.fields]
        self._cut(pieces, tokens)
        rows: dict[str, Any] = {}
        for field, array in zip(self.fields, tokens, strict=True):
            if field.separator is not None:
                last = pieces.begin + pieces.size == pieces.whole
                array[pieces.row[last], (pieces.at + pieces.size)[last] - 1] = field.separator
            rows |= {field.name: array, **self._marks(field.name, pieces, stops - starts)}
        return rows

    def invalid_rows(self, indices: Numbers) -> NDArray[np.bool_]:
        """Return that none of these is blank: documents that are left out have no token."""
        return np.zeros(len(indices), bool)

    def _pieces(self, starts: Numbers, stops: Numbers) -> _Pieces:
        bounds = self.joined.starts
        first = np.searchsorted(bounds, starts, side="right") - 1
        counts = np.searchsorted(bounds, stops, side="left") - first
        row = np.repeat(np.arange(len(starts)), counts)
        place = np.arange(len(row)) + np.repeat(first - (np.cumsum(counts) - counts), counts)
        filled = bounds[place + 1] > bounds[place]
        row, place = row[filled], place[filled]
        begin, end = np.maximum(starts[row], bounds[place]), bounds[place + 1]
        return _Pieces(
            row=row,
            place=place,
            at=begin - starts[row],
            size=np.minimum(stops[row], end) - begin,
            begin=begin - bounds[place],
            whole=end - bounds[place],
        )

    def _filled(self, rows: int, field: TokenField) -> NDArray[Any]:
        array: NDArray[Any] = aligned((rows, self.length), field.dtype)
        array[...] = field.padding
        return array

    def _cut(self, pieces: _Pieces, rows: Tokens) -> None:
        """Put the tokens of the pieces into the rows of each field."""
        numbers, firsts, which = np.unique(
            self.joined.numbers(pieces.place), return_index=True, return_inverse=True
        )
        order = np.argsort(which, kind="stable")
        where = np.stack([pieces.row, pieces.at, pieces.begin, pieces.size], axis=1)
        ordered = iter(where[order].tolist())
        counts = np.bincount(which, minlength=len(numbers)).tolist()
        documents = self._documents(numbers, pieces.whole[firsts])
        for tokens, count in zip(documents, counts, strict=True):
            for row, at, begin, size in itertools.islice(ordered, count):
                for field, array, sequence in zip(self.fields, rows, tokens, strict=True):
                    part = canonical(field.name, sequence[begin : begin + size], wide=self.wide)
                    array[row, at : at + len(part)] = part

    def _documents(self, numbers: Numbers, lengths: Numbers) -> Iterator[Tokens]:
        """Yield the tokens of these records; lengths: with separators."""
        listed = numbers.tolist()
        kept = self.recent.find(listed)
        missing = np.array([number not in kept for number in listed], bool)
        read = self._read(numbers[missing], lengths[missing])
        for number in listed:
            tokens = kept.get(number)
            if tokens is None:
                tokens = next(read)
                if self.stages.stages:  # otherwise it is only read
                    self.recent.keep(number, tokens)
            yield tokens

    def _read(self, numbers: Numbers, lengths: Numbers) -> Iterator[Tokens]:
        source, staged = self.sources[0], bool(self.stages.stages)
        run = self.stages.runner(0)
        blocks = np.flatnonzero(np.diff(np.cumsum(lengths) // _TOKENS)) + 1
        for block, known in zip(np.split(numbers, blocks), np.split(lengths, blocks), strict=True):
            read = map_leaves(np.asarray, source.fetch(block))
            blank = invalid(source, block)
            for i, number in enumerate(block.tolist()):
                record = map_leaves(lambda leaf, i=i: leaf[i], read)
                if blank[i]:
                    raise _changed(number, 0, int(known[i]))
                if staged:
                    try:
                        record = run(record, number, number, 0)
                    except DataError as error:
                        record = self.stages.tolerated(source, error, run, number, number, 0)
                        if record is None:
                            raise _changed(number, 0, int(known[i])) from error
                yield self._checked(number, record, int(known[i]))

    def _checked(self, number: int, record: Mapping[str, Any], known: int) -> Tokens:
        tokens = [np.asarray(record[field.name]) for field in self.fields]
        known -= self.fields[0].separator is not None
        for field, sequence in zip(self.fields, tokens, strict=True):
            dtype = sequence.dtype
            if dtype != field.dtype:
                dtype = arriving_dtype(dtype, wide=self.wide)
            if sequence.ndim != 1 or dtype != field.dtype:
                raise DataError(
                    f"field {field.name!r} of record {number} is "
                    f"{sequence.dtype}{list(sequence.shape)}, not {field.dtype}[any]"
                )
            if len(sequence) != known:
                raise _changed(number, len(sequence), known)
        return tokens

    def _marks(self, name: str, pieces: _Pieces, filled: Numbers) -> dict[str, NDArray[Any]]:
        """Return what stands beside a field; filled: how many tokens each row has."""
        shape = (len(filled), self.length)
        segmentation, position = aligned(shape, np.int32), aligned(shape, np.int32)
        mask: NDArray[np.bool_] = aligned(shape, np.bool_)
        np.less(np.arange(self.length), filled[:, None], out=mask)
        before = np.searchsorted(pieces.row, pieces.row)  # pieces of the rows before
        segment = np.arange(1, len(pieces.row) + 1) - before
        behind = np.cumsum(pieces.size) - pieces.size
        segments = np.repeat(segment.astype(np.int32), pieces.size)
        places = np.arange(len(segments)) - np.repeat(behind, pieces.size)
        if (filled == self.length).all():
            segmentation.reshape(-1)[:], position.reshape(-1)[:] = segments, places
        else:
            segmentation[...] = position[...] = 0
            segmentation[mask], position[mask] = segments, places
        return {
            f"{name}_segmentation": segmentation,
            f"{name}_position": position,
            f"{name}_mask": mask,
        }


def _unequal(document: int, lengths: Mapping[str, int]) -> DataError:
    shown = ", ".join(f"{length} in {name}" for name, length in lengths.items())
    return DataError(
        f"record {document} has tokens of several lengths, {shown}; fields of one "
        f"document need one length"
    )


def _changed(number: int, found: int, known: int) -> DataError:
    return DataError(
        f"record {number} has {found} tokens, and had {known} when they were counted: the data, or "
        f"what a stage reads, changed since; build the pipeline again, and if this comes again, "
        f"remove the folders jobs/token-lengths-* in the cache folder (FEEDRACE_CACHE_DIR)"
    )
