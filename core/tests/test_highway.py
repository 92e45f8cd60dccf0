import pytest

from feedrace.storage.highway import riegeli_hash

# Of the format's specification: the signature at the begin of each file, and the hash of no bytes.
SIGNATURE = bytes.fromhex(
    "83af70d10d884a3f 0000000000000000 4000000000000000 91bac23c9287e1a9"
    "0000000000000000 e19f13c0e9b1c372 7300000000000000 0000000000000000"
)


@pytest.mark.parametrize(
    ("at", "data"),
    [
        (0, SIGNATURE[8:24]),  # the header of a block: half a packet
        (24, SIGNATURE[32:64]),  # the header of a chunk: a whole one
        (40, b""),
    ],
)
def test_the_hashes_of_the_file_signature_are_those_of_the_specification(at, data):
    assert riegeli_hash(data) == int.from_bytes(SIGNATURE[at : at + 8], "little")
