"""Records of bytes, and where they begin in TFRecord files, without JAX."""

from collections.abc import Iterable

import attrs

from feedrace.plugin import (
    Arrays,
    DataError,
    Failure,
    Layout,
    Leaf,
    OpenFile,
    Raw,
    Table,
    compression_of,
    scan_tfrecord,
)


@attrs.frozen(eq=False)
class BytesDecoder:
    """Leaves records as they are, in the field `record`."""

    layout: Layout = attrs.field(
        init=False,
        factory=lambda: Layout((Leaf(("record",), (), object),)),
    )

    def decode(self, records: Iterable[tuple[int, Raw]], arrays: Arrays) -> list[Failure]:
        """Put raw records into their slots; return which slots failed, and why."""
        values = arrays.values[0]
        failures: list[Failure] = []
        for slot, record in records:
            if isinstance(record, bytes):
                values[slot] = record
            else:
                failures.append((slot, DataError(record.reason)))
        return failures


def scan_uncompressed(opened: OpenFile) -> Table:
    """Return the table of a file's records; raise `DataError` for a compressed file."""
    table = scan_tfrecord(opened)
    if table.damage and not len(table.arrays["starts"]):
        packed = compression_of(opened.read(0, min(16, opened.file.size)))
        if packed is not None:
            kind, command = packed
            path = opened.file.path
            raise DataError(
                f"{path} is compressed with {kind}, so that no record in it can be read by number; "
                f"decompress it first: {command.replace('FILE', path)}"
            )
    return table
