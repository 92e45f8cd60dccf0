"""Files that are compressed as a whole: no record in them can be read by number."""

_MAGIC = {
    b"\x1f\x8b\x08": ("gzip", "gunzip FILE"),
    b"BZh": ("bzip2", "bunzip2 FILE"),
    b"\xfd7zXZ\x00": ("xz", "unxz FILE"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd FILE"),
}
_BLOCK = b"1AY&SY"  # at byte 4 of a bzip2 file; text may begin with BZh, too


def compression_of(head: bytes) -> tuple[str, str] | None:
    """Return (how a file that begins with these bytes is compressed, what undoes it), or None.

    head: the first 16 bytes of the file, or all of a shorter one.
    """
    for magic, found in _MAGIC.items():
        if head.startswith(magic) and (magic != b"BZh" or head[4:10] == _BLOCK):
            return found
    return None
