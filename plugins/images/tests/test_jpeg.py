"""JPEGs are decoded in part with the values that the whole has, and damage is found."""

import io

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from feedrace_images.jpeg import decode_jpeg, read_header


def photograph(height, width, seed=0):
    """A smooth image with edges in it, as a uint8 array."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height // 9 + 2, width // 7 + 2, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def as_jpeg(image, **options):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", **{"quality": 90, **options})
    return file.getvalue()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_rows_above_a_line_have_the_values_of_the_whole_image(data):
    height, width = data.draw(st.integers(1, 90)), data.draw(st.integers(1, 60))
    image = photograph(height, width, data.draw(st.integers(0, 9)))
    encoded = as_jpeg(
        image[..., 0] if data.draw(st.booleans()) else image,
        subsampling=data.draw(st.sampled_from([0, 1, 2])),
        progressive=data.draw(st.booleans()),
        restart_marker_blocks=data.draw(st.sampled_from([0, 3])),
    )
    header = read_header(encoded)
    assert (header.height, header.width, header.block > 0) == (height, width, True)
    reduced, bottom = data.draw(st.sampled_from([1, 2, 4, 8])), data.draw(st.integers(1, height))
    options = {
        "reduced": reduced,
        "channels": data.draw(st.sampled_from([1, 3])),
        "fast": data.draw(st.booleans()),
        "strict": True,
    }
    whole = decode_jpeg(encoded, header, **options)
    assert whole.shape[:2] == (-(-height // reduced), -(-width // reduced))
    part = decode_jpeg(encoded, header, bottom=bottom, **options)
    rows = -(-bottom // reduced)
    assert part.shape[0] >= rows
    assert np.array_equal(part[:rows], whole[:rows])


def test_rows_below_the_line_are_left_out():
    encoded = as_jpeg(photograph(300, 40))
    part = decode_jpeg(encoded, read_header(encoded), bottom=20, channels=3, fast=True, strict=True)
    assert part.shape == (32, 40, 3)


def test_the_accurate_values_are_those_of_pillow():
    encoded = as_jpeg(photograph(64, 80))
    found = decode_jpeg(encoded, read_header(encoded), channels=3, fast=False, strict=True)
    assert np.array_equal(found, np.asarray(Image.open(io.BytesIO(encoded))))


def test_a_reduced_image_is_near_the_means_of_blocks():
    encoded = as_jpeg(photograph(64, 80))
    header = read_header(encoded)
    options = {"channels": 3, "fast": False, "strict": True}
    whole = decode_jpeg(encoded, header, **options).astype(float)
    half = decode_jpeg(encoded, header, reduced=2, **options)
    means = whole.reshape(32, 2, 40, 2, 3).mean((1, 3))
    assert np.abs(half - means).mean() < 4


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("cut", [0.3, 0.6, 0.95, 1.0])
def test_a_jpeg_that_ends_too_early_is_refused_even_below_the_rows_that_are_decoded(cut, fast):
    encoded = as_jpeg(photograph(200, 200))
    short = encoded[: int(len(encoded) * cut) - 2]
    header = read_header(short)
    for bottom in (10, 200, None):
        for strict in (True, False):
            with pytest.raises(ValueError, match="Premature end"):
                decode_jpeg(short, header, bottom=bottom, channels=3, fast=fast, strict=strict)


def corrupt(encoded):
    """A JPEG that lacks some bytes in the middle of its data."""
    middle = len(encoded) // 2
    return encoded[:middle] + encoded[middle + 300 :]


def test_corrupt_data_is_refused_unless_libjpeg_may_go_on():
    encoded = corrupt(as_jpeg(photograph(200, 200)))
    header = read_header(encoded)
    with pytest.raises(ValueError, match="Corrupt JPEG data"):
        decode_jpeg(encoded, header, channels=3, fast=True, strict=True)
    lenient = decode_jpeg(encoded, header, channels=3, fast=True, strict=False)
    assert lenient.shape == (200, 200, 3)
    bottom = decode_jpeg(encoded, header, bottom=190, channels=3, fast=True, strict=False)
    assert np.array_equal(bottom[:190], lenient[:190])


def test_bytes_after_the_end_do_no_harm():
    encoded = as_jpeg(photograph(100, 50))
    header = read_header(encoded + b"junk")
    options = {"bottom": 30, "channels": 3, "fast": True, "strict": True}
    assert np.array_equal(
        decode_jpeg(encoded + b"junk", header, **options), decode_jpeg(encoded, header, **options)
    )


def test_a_header_with_bytes_between_its_segments_is_left_to_libjpeg():
    encoded = as_jpeg(photograph(100, 50))
    strange = encoded[:2] + b"\xff\xff" + encoded[2:]  # fill bytes, which the standard allows
    header = read_header(strange)
    assert (header.height, header.width, header.block) == (100, 50, 0)
    options = {"bottom": 30, "channels": 3, "fast": True, "strict": True}
    assert np.array_equal(
        decode_jpeg(strange, header, **options), simplejpeg.decode_jpeg(encoded, "RGB", True, True)
    )


def test_a_header_with_absurd_sizes_is_refused_before_memory_is_taken():
    encoded = bytearray(as_jpeg(photograph(40, 40)))
    at = read_header(encoded).height_at
    encoded[at : at + 4] = b"\xff\x00\xff\x00"
    with pytest.raises(ValueError, match="its header says 65280 x 65280, over"):
        read_header(encoded)


@pytest.mark.parametrize("length", [3, 10, 25, 160, 400])
def test_headers_that_end_are_refused(length):
    with pytest.raises(ValueError):
        read_header(as_jpeg(photograph(40, 40))[:length])
