"""Lines of text files by number, without JAX."""

from collections.abc import Iterable

import attrs
import numpy as np
from numpy.typing import NDArray

from feedrace.plugin import Arrays, DataError, Failure, Layout, Leaf, Raw, RawContent


@attrs.frozen(eq=False)
class TextDecoder:
    """Decodes lines from UTF-8."""

    layout: Layout = attrs.field(
        init=False,
        factory=lambda: Layout((Leaf(("text",), (), object),)),
    )

    def decode(self, records: Iterable[tuple[int, Raw]], arrays: Arrays) -> list[Failure]:
        """Put the text of lines into their slots; return which slots failed, and why."""
        values = arrays.values[0]
        failures: list[Failure] = []
        for slot, line in records:
            if not isinstance(line, bytes):
                failures.append((slot, DataError(line.reason)))
                continue
            try:
                values[slot] = line.decode()
            except UnicodeDecodeError as error:
                failures.append((slot, error))
        return failures


@attrs.frozen(eq=False)
class TextContent:
    """Lines, with errors that name the line."""

    _lines: RawContent

    @property
    def layout(self) -> Layout:
        """The layout of one field, `text`."""
        return self._lines.layout

    def __len__(self) -> int:
        return len(self._lines)

    def load(self, numbers: NDArray[np.int64], arrays: Arrays) -> list[Failure]:
        """Put lines into slots; return which slots failed, and why."""
        failures = self._lines.load(numbers, arrays)
        return [(slot, self._named(int(numbers[slot]), error)) for slot, error in failures]

    def _named(self, number: int, error: Exception) -> Exception:
        if not isinstance(error, UnicodeDecodeError):
            return error
        line = self.locate(number)[1] + 1
        wrong = error.object[error.start]
        return DataError(f"line {line}, byte {error.start + 1}: {wrong:#04x} is not UTF-8")

    def locate(self, number: int) -> tuple[str, int]:
        """Return the path of a line's file, and its number in it, from 0 on."""
        return self._lines.locate(number)

    def describe(self) -> list[str]:
        """Return a sentence on how lines are found."""
        return self._lines.describe()
