import re

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedrace.errors import DataError
from feedrace.storage import lines
from feedrace.storage.files import File


@attrs.frozen
class Content:
    """An open file of bytes in memory."""

    content: bytes

    @property
    def file(self):
        return File("words.txt", len(self.content), "1")

    def read(self, start, size):
        part = self.content[start : start + size]
        assert len(part) == size, "it reads beyond the end"
        return part


def found(content):
    table = lines.scan_lines(Content(content))
    starts, sizes = table.arrays["starts"], table.arrays["sizes"]
    assert starts.dtype == sizes.dtype == np.int64
    assert not table.damage
    pairs = zip(starts.tolist(), sizes.tolist(), strict=True)
    return [content[start : start + size] for start, size in pairs]


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"", []),
        (b"\n", [b""]),
        (b"a", [b"a"]),
        (b"a\n", [b"a"]),
        (b"a\r\nb", [b"a", b"b"]),
        (b"\r\n\r\n", [b"", b""]),
        (b"a\n\nb\n", [b"a", b"", b"b"]),
        (b"a\rb\n", [b"a\rb"]),  # a carriage return alone ends no line
        (b"a\r", [b"a\r"]),
        (b"\xef\xbb\xbfa\nb\n", [b"a", b"b"]),
        (b"\xef\xbb\xbf", []),
        (b"\xef\xbb\xbf\n", [b""]),
        (b"a\xff\nb", [b"a\xff", b"b"]),  # nothing is decoded
    ],
)
def test_lines_end_at_newlines(content, wanted):
    assert found(content) == wanted


@given(
    st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"ab", b"\x00", b"\xef\xbb\xbf"])),
    st.integers(1, 9),
)
def test_lines_are_those_of_a_split_at_newlines_whatever_the_window(parts, window):
    content = b"x" + b"".join(parts)
    wanted = content.split(b"\n")
    last = wanted.pop()
    wanted = [line.removesuffix(b"\r") for line in wanted] + [last] * bool(last)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_WINDOW", window)
        assert found(content) == wanted


def test_a_compressed_file_is_refused_with_the_command_that_decompresses_it():
    for head, kind, command in [
        (b"\x1f\x8b\x08\x00rest", "gzip", "gunzip words.txt"),
        (b"\x28\xb5\x2f\xfdrest", "zstd", "unzstd words.txt"),
        (b"\xfd7zXZ\x00rest", "xz", "unxz words.txt"),
        (b"BZh91AY&SYrest", "bzip2", "bunzip2 words.txt"),
    ]:
        message = f"words.txt is compressed with {kind}, .*: {re.escape(command)}"
        with pytest.raises(DataError, match=message):
            lines.scan_lines(Content(head))
    assert found(b"BZh is text\n") == [b"BZh is text"]


def test_text_in_another_unicode_encoding_is_refused():
    for encoding in ("utf-16", "utf-32"):
        with pytest.raises(DataError, match=r"begins .* of UTF-16; write it as UTF-8"):
            lines.scan_lines(Content("a\nb\n".encode(encoding)))
