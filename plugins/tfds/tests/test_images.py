"""Images come out as TensorFlow decodes them."""

import io
import random
import struct
import sys
import zlib

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from feedrace_tfds.images import decode_image, image_decoder
from feedrace_tfds.png import decode_png


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def photo():
    datasets = pytest.importorskip("sklearn.datasets")
    return Image.fromarray(datasets.load_sample_image("china.jpg")).crop((3, 5, 120, 90))


def kinds(photo):
    alpha = photo.copy()
    alpha.putalpha(Image.fromarray(np.arange(117 * 85, dtype=np.uint8).reshape(85, 117)))
    deep = Image.fromarray((np.arange(1200).reshape(30, 40) * 50).astype(np.uint16))
    return {
        "png": encoded(photo, "PNG"),
        "grey png": encoded(photo.convert("L"), "PNG"),
        "palette png": encoded(photo.convert("P"), "PNG"),
        "alpha png": encoded(alpha, "PNG"),
        "grey alpha png": encoded(alpha.convert("LA"), "PNG"),
        "deep png": encoded(deep, "PNG"),
        "bmp": encoded(photo, "BMP"),
        "grey jpeg": encoded(photo.convert("L"), "JPEG"),
        "progressive jpeg": encoded(photo, "JPEG", progressive=True),
        **{
            f"jpeg {quality} {sampling}": encoded(
                photo, "JPEG", quality=quality, subsampling=sampling
            )
            for quality in (50, 95)
            for sampling in (0, 1, 2)
        },
    }


def test_images_have_the_values_that_tensorflow_gives(photo):
    tf = pytest.importorskip("tensorflow")
    for name, data in kinds(photo).items():
        for channels in (1, 3, 4):
            to_grey = channels == 1 and not ("grey" in name or "deep" in name)
            if to_grey and name.endswith("png"):
                wanted = tf.image.decode_image(data, channels=1).numpy().astype(int)
                assert abs(decode_image(data, 1, np.uint8) - wanted).max() <= 2, name
            if to_grey or (channels == 4 and ("jpeg" in name or name == "bmp")):
                continue  # TensorFlow refuses, or weighs colours to within 2 of 255 otherwise
            wanted = tf.image.decode_image(data, channels=channels).numpy()
            got = decode_image(data, channels, np.uint8)
            assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype), (name, channels)
            assert (got == wanted).all(), (name, channels)
            if "png" in name:
                wide = tf.image.decode_image(data, channels=channels, dtype=tf.uint16).numpy()
                assert (decode_image(data, channels, np.uint16) == wide).all(), (name, channels)


def test_an_inverted_jpeg_comes_within_one(photo):
    tf = pytest.importorskip("tensorflow")
    data = encoded(photo.convert("CMYK"), "JPEG")
    wanted = tf.image.decode_image(data, channels=3).numpy().astype(int)
    assert abs(decode_image(data, 3, np.uint8).astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("kind", ["png", "grey png", "palette png", "jpeg 95 2", "bmp"])
def test_images_are_decoded_into_their_place(photo, kind):
    data, channels = kinds(photo)[kind], 1 if "grey" in kind else 3
    images = np.zeros((3, 85, 117, channels), np.uint8)
    image_decoder(images)(1, data)
    assert (images[1] == decode_image(data, channels, np.uint8)).all()
    assert not images[[0, 2]].any()
    with pytest.raises(ValueError, match=r"is of shape|buffer"):
        image_decoder(np.zeros((1, 85, 118, channels), np.uint8))(0, data)
    with pytest.raises(ValueError, match=r"is of shape|buffer"):
        image_decoder(np.zeros((1, 20, 20, channels), np.uint8))(0, data)


@pytest.mark.parametrize("kind", ["png", "jpeg 95 2"])
def test_what_is_damaged_is_an_error(photo, kind):
    data = kinds(photo)[kind]
    for wrong in (b"", b"no image at all", data[:20], data[: len(data) // 2]):
        with pytest.raises((ValueError, RuntimeError, OSError)):
            decode_image(wrong, 3, np.uint8)


SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by colour type


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(colour, depth, transparency=b""):
    """A PNG of random pixels, 13x11, of a colour type and a depth in bits."""
    rng = np.random.default_rng(depth)
    row = (SAMPLES[colour] * depth * 13 + 7) // 8
    filters = np.arange(11) % 5
    pixels = b"".join(bytes([f]) + rng.bytes(row) for f in filters.tolist())
    palette = chunk(b"PLTE", rng.bytes(3 * 2**depth)) if colour == 3 else b""
    clear = chunk(b"tRNS", transparency) if transparency else b""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 13, 11, depth, colour, 0, 0, 0))
    body = header + palette + clear + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


TRANSPARENT = {0: b"\0\1", 2: b"\0\1\0\2\0\3", 3: b"\x80\x40", 4: b"", 6: b""}
PNGS = [
    (colour, depth, transparency)
    for colour in SAMPLES
    for depth in (1, 2, 4, 8, 16)
    if (depth >= 8 or colour in (0, 3)) and (colour, depth) != (3, 16)
    for transparency in {b"", TRANSPARENT[colour]}
]


@pytest.mark.parametrize(("colour", "depth", "transparency"), PNGS)
def test_a_png_of_any_kind_is_what_libpng_makes_of_it(colour, depth, transparency):
    data = png_of(colour, depth, transparency)
    wanted = imagecodecs.png_decode(data)
    got = decode_png(data)
    assert got.dtype == wanted.dtype
    assert (got == wanted.reshape(got.shape)).all()


@pytest.mark.parametrize(("colour", "depth"), [(0, 16), (2, 16), (4, 8), (4, 16), (3, 4), (0, 1)])
def test_damaged_pngs_cost_no_reference_to_none(colour, depth):
    rng = random.Random(depth)
    whole = png_of(colour, depth, TRANSPARENT[colour])
    before = sys.getrefcount(None)
    errors = 0
    for _ in range(300):
        data = bytearray(whole[: rng.randrange(30, len(whole))] if rng.random() < 0.2 else whole)
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(8, len(data))] ^= 1 << rng.randrange(8)
        try:
            decode_image(bytes(data), 3, np.uint8)
        except (ValueError, RuntimeError, OSError, SyntaxError):
            errors += 1
    assert errors > 200
    assert sys.getrefcount(None) > before - 50  # 3.12 counts none at all


def test_a_png_without_all_its_pixels_is_an_error():
    for colour, depth in ((0, 16), (2, 16), (4, 8)):
        data = png_of(colour, depth)
        at = data.index(b"IDAT") - 4
        pixels = zlib.decompress(data[at + 8 : -16])
        short = data[:at] + chunk(b"IDAT", zlib.compress(pixels[:-1])) + data[-12:]
        with pytest.raises(ValueError, match="lacks pixels"):
            decode_png(short)


def test_stray_bytes_between_segments_are_taken_as_tensorflow_takes_them(photo):
    tf = pytest.importorskip("tensorflow")
    data = encoded(photo, "JPEG")
    stray = data[:-2] + b"\x00\x01\x02" + data[-2:]
    wanted = tf.image.decode_image(stray, channels=3).numpy()
    assert (decode_image(stray, 3, np.uint8) == wanted).all()
