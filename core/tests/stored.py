"""A small format, as the part of a plugin that needs no JAX: a file is lines of `label:text`."""

import attrs
import numpy as np

from feedrace.plugin import (
    DataError,
    Layout,
    Leaf,
    Table,
    Unreadable,
)

LEAVES = {
    "label": Leaf(("label",), (), np.int64),
    "text": Leaf(("text",), (), object),
    "codes": Leaf(("codes",), (None,), "u1"),
}


def scan(opened):
    """The table of a file; `#` where a line should begin makes the rest unreadable."""
    data = opened.read(0, opened.file.size)
    whole, hash_, _ = data.partition(b"#")
    lengths = [len(line) for line in whole.split(b"\n")[:-1]]
    starts = np.cumsum([0] + [length + 1 for length in lengths])[:-1]
    arrays = {"starts": np.array(starts, np.int64), "sizes": np.array(lengths, np.int64)}
    return Table(arrays, "a # begins it" if hash_ else "")


def check(data):
    return Unreadable("it is marked as bad") if data.startswith(b"!") else data


@attrs.frozen(eq=False)
class LineDecoder:
    layout: Layout

    def decode(self, records, arrays):
        failures = []
        for slot, record in records:
            try:
                if not isinstance(record, bytes):
                    raise DataError(record.reason)
                label, text = record.split(b":")
                values = {
                    "label": int(label),
                    "text": text.decode(),
                    "codes": np.frombuffer(text, np.uint8),
                }
                for leaf, array in zip(self.layout.leaves, arrays.values, strict=True):
                    leaf.put(array, None, slot, values[leaf.dotted])
            except ValueError as error:
                failures.append((slot, error))
        return failures[::-1]  # in any order
