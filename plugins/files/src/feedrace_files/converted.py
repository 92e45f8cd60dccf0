"""Records that `feedrace convert` wrote, decoded without JAX."""

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from feedrace.plugin import Arrays, DataError, Failure, Layout, Leaf, Raw
from feedrace_files import encoding


class ConvertedDecoder:
    """Decodes what `feedrace convert` wrote.

    stored: the fields of the records. chosen: those to decode.
    """

    def __init__(self, stored: Sequence[encoding.Field], chosen: Sequence[encoding.Field]) -> None:
        self._arguments = stored, chosen
        self._decode = encoding.Decoder(stored, [field.name for field in chosen])
        self.layout = Layout(tuple(Leaf(field.path, field.shape, field.numpy) for field in chosen))
        names = [field.name for field in self._decode.fields]
        self._order = [names.index(field.name) for field in chosen]

    def __reduce__(self) -> Any:
        return ConvertedDecoder, self._arguments

    def decode(self, records: Iterable[tuple[int, Raw]], arrays: Arrays) -> list[Failure]:
        """Put raw records into their slots; return which slots failed, and why."""
        puts = [
            (place, functools.partial(leaf.put, values, None) if leaf.shape else values.__setitem__)
            for place, leaf, values in zip(
                self._order, self.layout.leaves, arrays.values, strict=True
            )
        ]
        failures: list[Failure] = []
        for slot, record in records:
            try:
                if not isinstance(record, bytes):
                    raise DataError(record.reason)
                found = self._decode(record)
                for place, put in puts:
                    put(slot, found[place])
            except (ValueError, msgspec.DecodeError) as error:
                failures.append((slot, error.with_traceback(None)))
        return failures
