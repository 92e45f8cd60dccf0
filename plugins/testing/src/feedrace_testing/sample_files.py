"""Writers of small files in the formats that sources read, for tests and benchmarks.

Each needs the library of its format, which the plugin that reads it depends on.
"""

import io
import struct
import tarfile
from collections.abc import Iterable
from os import PathLike
from typing import Any

from feedrace.plugin import example_class

Path = str | PathLike[str]


def write_tar(path: Path, files: Iterable[tuple[str, bytes]], **options: Any) -> None:
    """Write a tar of files, each given by its name and bytes; options go to `tarfile.open`."""
    with tarfile.open(path, "w", **options) as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def write_tfrecord(path: Path, records: Iterable[bytes]) -> None:
    """Write a TFRecord file."""
    with open(path, "wb") as file:
        for record in records:
            length = struct.pack("<Q", len(record))
            file.write(length + _checksum(length) + record + _checksum(record))


def _checksum(data: bytes) -> bytes:
    import google_crc32c

    crc = int(google_crc32c.value(data))
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def write_array_record(path: Path, records: Iterable[bytes], options: str = "group_size:1") -> None:
    """Write an ArrayRecord file; options go to its writer."""
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(path), options)
    for record in records:
        writer.write(record)
    writer.close()


def example_of(**features: list[bytes] | list[float] | list[int]) -> bytes:
    """Return a `tf.train.Example` of these lists."""
    made = example_class()()
    for name, values in features.items():
        feature = made.features.feature[name]
        kinds = {bytes: feature.bytes_list, float: feature.float_list, int: feature.int64_list}
        for value in values:
            kinds[type(value)].value.append(value)
    return bytes(made.SerializeToString())


def grey_image(value: int, size: int = 4) -> bytes:
    """Return a PGM image, all of one grey."""
    return b"P5 %d %d 255\n" % (size, size) + bytes([value]) * size * size
