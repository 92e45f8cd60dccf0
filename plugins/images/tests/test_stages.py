"""The stages on records give what their specs say, alone and fused with decoding."""

import io
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from feedrace.plugin import ConfigError, DataError, LeafSpec
from feedrace_images import (
    CenterCrop,
    CenterCropConfig,
    DecodeImage,
    DecodeImageConfig,
    PadImage,
    PadImageConfig,
    RandomFlip,
    RandomFlipConfig,
    RandomResizedCrop,
    RandomResizedCropConfig,
    Resize,
    ResizeConfig,
)

ENCODED = {"image": LeafSpec((), np.dtype(object)), "label": LeafSpec((), np.dtype(np.int32))}


def decoded(height=None, width=None, channels=3, dtype=np.uint8):
    return {"image": LeafSpec((height, width, channels), np.dtype(dtype))}


def photograph(height, width, seed=0):
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height // 9 + 2, width // 7 + 2, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def encode(image, kind="JPEG", **options):
    file = io.BytesIO()
    made = image if isinstance(image, Image.Image) else Image.fromarray(image)
    made.save(file, kind, **({"quality": 95} if kind == "JPEG" else {}), **options)
    return file.getvalue()


def crop(**config):
    return RandomResizedCrop(RandomResizedCropConfig(**config))


def resize(size, **config):
    return Resize(ResizeConfig(size=size, **config))


def center(size):
    return CenterCrop(CenterCropConfig(size=size))


def run(stages, record, seed=0):
    """The record after all stages; those that draw begin with the same seed."""
    for stage in stages:
        rng = (np.random.default_rng(seed),) if getattr(stage, "stochastic", False) else ()
        record = stage(record, *rng)
    return record


def fused(*stages):
    """One stage in place of all."""
    one, *others = stages
    for stage in others:
        one = stage.fused(one)
        assert one is not None
    return one


def fits(value, leaf):
    assert value.dtype == leaf.dtype
    assert len(value.shape) == len(leaf.shape)
    assert all(n is None or n == m for n, m in zip(leaf.shape, value.shape, strict=True))


# Decoding


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1"])
def test_a_png_has_exactly_the_values_that_were_stored(mode, channels):
    image = Image.fromarray(photograph(23, 31)).convert(mode)
    found = DecodeImage(DecodeImageConfig(channels=channels))({"image": encode(image, "PNG")})
    stored = np.asarray(image.convert("L" if channels == 1 else "RGB")).reshape(23, 31, channels)
    assert found["image"].dtype == np.uint8
    # Pillow and OpenCV round the same weights of colours differently.
    off = 1 if channels == 1 and mode in ("RGB", "RGBA", "P") else 0
    assert np.abs(found["image"].astype(int) - stored).max() <= off


@pytest.mark.parametrize("channels", [1, 3])
def test_of_a_png_of_16_bits_the_high_bytes_remain(channels):
    values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1023
    found = DecodeImage(DecodeImageConfig(channels=channels))({"image": encode(values, "PNG")})
    expected = np.repeat((values >> 8).astype(np.uint8)[..., None], channels, axis=2)
    assert np.array_equal(found["image"], expected)


def test_a_png_of_16_bit_colours_keeps_the_high_bytes():
    import cv2

    values = np.random.default_rng(0).integers(0, 65536, (9, 7, 3)).astype(np.uint16)
    encoded = cv2.imencode(".png", values[..., ::-1])[1].tobytes()
    found = DecodeImage()({"image": encoded})["image"]
    assert np.array_equal(found, (values >> 8).astype(np.uint8))


def test_jpegs_in_grey_and_in_four_inks_become_colours():
    image = photograph(40, 30)
    stage = DecodeImage(DecodeImageConfig(fast=False))
    grey = stage({"image": encode(image[..., 0])})["image"]
    assert np.abs(grey.astype(int) - image[..., :1]).mean() < 4
    assert np.array_equal(grey[..., 0], grey[..., 2])
    inks = encode(Image.fromarray(image).convert("CMYK"))
    found = stage({"image": inks})["image"]
    assert np.array_equal(found, np.asarray(Image.open(io.BytesIO(inks)).convert("RGB")))
    assert np.abs(found.astype(int) - image).mean() < 6
    part = fused(stage, center([20, 10]))({"image": inks})["image"]
    assert np.array_equal(part, found[10:30, 10:20])


def test_a_jpeg_becomes_grey_if_one_channel_is_asked_for():
    image = photograph(40, 30)
    found = DecodeImage(DecodeImageConfig(channels=1))({"image": encode(image)})["image"]
    assert found.shape == (40, 30, 1)
    grey = np.asarray(Image.fromarray(image).convert("L"))
    assert np.abs(found[..., 0].astype(int) - grey).mean() < 3


@pytest.mark.parametrize("kind", ["GIF", "BMP", "WEBP", "TIFF"])
def test_other_formats_are_those_of_pillow(kind):
    encoded = encode(photograph(12, 14), kind)
    found = DecodeImage()({"image": encoded})["image"]
    assert np.array_equal(found, np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB")))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP"])
def test_an_image_of_one_pixel(kind):
    encoded = encode(np.full((1, 1, 3), 77, np.uint8), kind)
    assert np.array_equal(DecodeImage()({"image": encoded})["image"], np.full((1, 1, 3), 77))
    for stage in (crop(size=[4, 5]), resize([4, 5]), resize(4), resize([4, 5], antialias=True)):
        found = run([fused(DecodeImage(), stage)], {"image": encoded})["image"]
        assert set(np.unique(found)) == {77}
    bordered = fused(DecodeImage(), center([3, 3]))({"image": encoded})["image"]
    assert bordered[1, 1].tolist() == [77] * 3
    assert bordered.sum() == 3 * 77


@pytest.mark.parametrize(
    "value", [bytearray(b"x"), memoryview(b"x"), np.frombuffer(b"x", np.uint8)], ids=type
)
def test_encoded_data_comes_as_bytes_or_their_array(value):
    encoded = encode(photograph(5, 6), "PNG")
    made = {
        bytearray: bytearray(encoded),
        memoryview: memoryview(encoded),
        np.ndarray: np.frombuffer(encoded, np.uint8),
    }[type(value)]
    assert DecodeImage()({"image": made})["image"].shape == (5, 6, 3)


@pytest.mark.parametrize(
    ("damaged", "what"),
    [
        (b"", "image of 0 bytes"),
        (b"text", "image of 4 bytes that cannot be decoded: cannot identify image file$"),
        (encode(photograph(50, 50))[:-300], "JPEG of .* Premature end of JPEG file"),
        (encode(photograph(50, 50))[:30], "JPEG of 30 bytes"),
        (encode(photograph(50, 50), "PNG")[:-300], "PNG of .* truncated"),
        (encode(photograph(50, 50), "PNG")[:40], "PNG of 40 bytes"),
        (encode(photograph(50, 50), "BMP")[:-300], "image of .* truncated"),
    ],
)
def test_damaged_data_is_refused_with_what_is_wrong(damaged, what):
    for stage in (DecodeImage(), fused(DecodeImage(), center([9, 9]))):
        with pytest.raises(DataError, match=f"decode-image: field 'image' holds an? {what}"):
            stage({"image": damaged})


def test_a_field_that_is_no_encoded_image_is_refused():
    stage = DecodeImage(DecodeImageConfig(field="photo"))
    for bad in ({"image": b""}, {"photo": 3}, {"photo": "text"}, {"photo": photograph(3, 3)}):
        with pytest.raises(DataError, match=r"decode-image: .*field 'photo'"):
            stage(bad)
    for bad in (ENCODED, {"photo": LeafSpec((None, None, 3), np.dtype(np.uint8))}):
        with pytest.raises(DataError, match=r"decode-image: .*field 'photo'"):
            stage.spec(bad)


# Fused and not


SIZES = st.integers(1, 90)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_fused_stages_give_what_their_specs_and_the_separate_stages_say(data):
    side = st.integers(1, 40)
    size = data.draw(st.tuples(side, side))
    antialias = data.draw(st.booleans())
    first = data.draw(
        st.sampled_from(
            [
                crop(size=size, antialias=antialias),
                resize(size, antialias=antialias),
                resize(size[0], antialias=antialias),
                center(size),
            ]
        )
    )
    stages = [DecodeImage(DecodeImageConfig(channels=data.draw(st.sampled_from([1, 3])))), first]
    if not isinstance(first, CenterCrop) and data.draw(st.booleans()):
        stages.append(center(data.draw(st.tuples(side, side))))
    kind = data.draw(st.sampled_from(["JPEG", "PNG"]))
    height, width = data.draw(SIZES), data.draw(SIZES)
    record = {"image": encode(photograph(height, width), kind), "label": np.int32(3)}
    one = fused(*stages)
    spec = ENCODED
    for stage in stages:
        spec = stage.spec(spec)
    assert one.spec(ENCODED) == spec
    separate, together = run(stages, record), run([one], record)
    for found in (separate, together):
        assert found.keys() == spec.keys()
        fits(found["image"], spec["image"])
    assert together["image"].shape == separate["image"].shape


def close(one, other, mean, most):
    difference = np.abs(one.astype(int) - other)
    assert difference.mean() <= mean
    assert difference.max() <= most


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_crop_that_is_not_shrunk_by_half_is_the_same_fused_byte_for_byte(kind, fast):
    decode = DecodeImage(DecodeImageConfig(fast=fast))
    record = {"image": encode(photograph(300, 200), kind)}
    for seed in range(20):
        for antialias in (False, True):
            stages = [decode, crop(size=[180, 190], antialias=antialias)]
            separate, together = run(stages, record, seed), run([fused(*stages)], record, seed)
            assert np.array_equal(separate["image"], together["image"])


@pytest.mark.parametrize("antialias", [True, False])
def test_a_crop_that_is_shrunk_more_is_nearly_the_same_fused(antialias):
    """JPEGs are reduced while they are decoded: means of blocks that were rounded elsewhere."""
    record = {"image": encode(photograph(500, 400))}
    for seed in range(20):
        stages = [DecodeImage(), crop(size=[48, 56], antialias=antialias)]
        separate, together = run(stages, record, seed), run([fused(*stages)], record, seed)
        close(together["image"], separate["image"], 2.5, 25)


def test_a_jpeg_that_is_shrunk_along_one_axis_is_the_same_fused_byte_for_byte():
    record = {"image": encode(photograph(600, 40))}
    stages = [DecodeImage(), resize([9, 50])]
    assert np.array_equal(fused(*stages)(record)["image"], run(stages, record)["image"])
    for seed in range(10):
        stages = [DecodeImage(), crop(size=[9, 60], scale=[0.1, 0.9], ratio=[0.1, 0.3])]
        separate, together = run(stages, record, seed), run([fused(*stages)], record, seed)
        assert np.array_equal(separate["image"], together["image"])


def test_a_png_that_is_shrunk_is_the_same_fused_byte_for_byte():
    record = {"image": encode(photograph(500, 400), "PNG")}
    stages = [DecodeImage(), crop(size=[48, 56])]
    for seed in range(20):
        separate, together = run(stages, record, seed), run([fused(*stages)], record, seed)
        assert np.array_equal(separate["image"], together["image"])


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize(("side", "mean"), [(250, 0.5), (90, 2.5)])
def test_resize_and_center_crop_are_nearly_the_same_fused(side, mean, antialias):
    record = {"image": encode(photograph(300, 400))}
    stages = [DecodeImage(), resize(side, antialias=antialias), center([side - 20, side - 30])]
    close(fused(*stages)(record)["image"], run(stages, record)["image"], mean, 25)


def test_only_the_needed_rows_of_a_jpeg_are_decoded(monkeypatch):
    from feedrace_images import jpeg

    shapes = []
    decode = jpeg.decode_jpeg
    monkeypatch.setattr(
        jpeg, "decode_jpeg", lambda *a, **k: shapes.append((made := decode(*a, **k)).shape) or made
    )
    record = {"image": encode(photograph(400, 400))}
    fused(DecodeImage(), center([100, 100]))(record)
    fused(DecodeImage(), resize([90, 90]))(record)
    fused(DecodeImage(), resize(100), center([50, 50]))(record)
    assert shapes == [(256, 400, 3), (100, 100, 3), (76, 100, 3)]


def test_what_cannot_be_fused_stays_apart():
    decode, first = DecodeImage(), crop(size=[8, 8])
    one = fused(decode, first)
    assert one.stochastic
    assert resize(8).fused(one) is None
    assert first.fused(RandomFlip()) is None
    assert center([4, 4]).fused(fused(decode, center([8, 8]))) is None
    assert crop(size=[8, 8], field="other").fused(decode) is None
    assert CenterCrop(CenterCropConfig(size=[8, 8], field="other")).fused(one) is None
    assert not fused(decode, resize(8)).stochastic


# Each stage


def torchvisions_part(rows, columns, scale, ratio, random):
    """The part that the published algorithm takes, with these random numbers."""
    for _ in range(10):
        area = rows * columns * (scale[0] + next(random) * (scale[1] - scale[0]))
        low, high = np.log(ratio)
        aspect = np.exp(low + next(random) * (high - low))
        width, height = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if 0 < width <= columns and 0 < height <= rows:
            top, left = next(random), next(random)
            return int(top * (rows - height + 1)), int(left * (columns - width + 1)), height, width
    return None


@settings(max_examples=50, deadline=None)
@given(SIZES, SIZES, st.integers(0, 100))
def test_random_parts_lie_in_the_image_and_are_those_of_the_algorithm(height, width, seed):
    stage = crop(size=[1, 1])
    from feedrace_images.windows import whole

    window = stage.window(whole(height, width), np.random.default_rng(seed))
    assert 0 <= window.top <= window.top + window.height <= height
    assert 0 <= window.left <= window.left + window.width <= width
    assert window.height >= 1 <= window.width
    numbers = iter(np.random.default_rng(seed).random(100).tolist())
    expected = torchvisions_part(height, width, (0.08, 1), (3 / 4, 4 / 3), numbers)
    if expected is not None:
        assert (window.top, window.left, window.height, window.width) == expected


@pytest.mark.parametrize(
    ("height", "width", "scale", "expected"),
    [
        (100, 10, 1, (43, 0, 13, 10)),
        (10, 100, 1, (0, 43, 10, 13)),
        (20, 20, 1e-6, (0, 0, 20, 20)),
    ],
)
def test_a_part_that_never_fits_is_the_middle(height, width, scale, expected):
    from feedrace_images.windows import whole

    stage = crop(size=[1, 1], scale=[scale, scale])
    window = stage.window(whole(height, width), np.random.default_rng(0))
    assert (window.top, window.left, window.height, window.width) == expected


def test_random_parts_follow_the_generator():
    record = {"image": photograph(60, 60)}
    stage = crop(size=[20, 20])
    first = run([stage], record, 1)["image"]
    assert np.array_equal(run([stage], record, 1)["image"], first)
    assert not np.array_equal(run([stage], record, 2)["image"], first)


def test_antialiasing_gives_what_pillow_gives():
    image = photograph(200, 150)
    expected = Image.fromarray(image).resize((40, 50), Image.Resampling.BILINEAR)
    found = resize([50, 40], antialias=True)({"image": image})["image"]
    assert np.array_equal(found, np.asarray(expected))


def test_a_pattern_of_single_pixels_becomes_grey_when_it_shrinks():
    pattern = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    image = np.repeat(pattern[..., None], 3, axis=2)
    for antialias, off in ((False, 1), (True, 12)):
        found = resize([60, 60], antialias=antialias)({"image": image})["image"]
        assert np.abs(found.astype(int) - 127).max() <= off


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_decoded_arrays_are_resized_in_their_dtype(channels, dtype, antialias):
    ramp = np.linspace(0, 200, 90, dtype=np.float32)[:, None, None] + np.zeros((90, 77, channels))
    image = ramp.astype(dtype)
    for size, stage in (
        ((30, 20), resize([30, 20], antialias=antialias)),
        ((20, 20), crop(size=[20, 20], antialias=antialias)),
        ((105, 90), resize(90, antialias=antialias)),
    ):
        found = run([stage], {"image": image})["image"]
        fits(found, stage.spec(decoded(90, 77, channels, dtype))["image"])
        assert found.shape == (*size, channels)
        steps = np.diff(found.astype(float), axis=0)
        assert steps.min() >= 0
        assert np.ptp(found, axis=(1, 2)).max() <= 1e-3


def test_a_shorter_side_keeps_the_proportions():
    assert resize(30)({"image": photograph(60, 101)})["image"].shape == (30, 50, 3)
    assert resize(30)({"image": photograph(101, 60)})["image"].shape == (50, 30, 3)
    assert resize(30).spec(decoded())["image"].shape == (None, None, 3)
    assert resize(30).spec(decoded(101, 60))["image"].shape == (50, 30, 3)
    with pytest.raises(
        DataError, match="resize: an image of 1 x 9000 would become 3000 x 27000000"
    ):
        resize(3000)({"image": np.zeros((1, 9000, 3), np.uint8)})


@pytest.mark.parametrize(("size", "top", "left"), [([4, 4], 2, 2), ([5, 3], 2, 2), ([8, 8], 0, 0)])
def test_the_middle_is_cut_out(size, top, left):
    image = photograph(8, 8)
    found = center(size)({"image": image})["image"]
    assert np.array_equal(found, image[top : top + size[0], left : left + size[1]])


def test_a_smaller_image_gets_a_border():
    found = center([5, 9])({"image": np.ones((3, 12, 1), np.uint8)})["image"]
    assert found[..., 0].sum(1).tolist() == [0, 9, 9, 9, 0]
    assert center([4, 4])({"image": np.ones((1, 1, 1), bool)})["image"].sum() == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int64])
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize(("direction", "axis"), [("horizontal", 1), ("vertical", 0)])
def test_images_are_mirrored_with_the_probability(direction, axis, channels, dtype):
    image = np.arange(6 * channels).reshape(2, 3, channels).astype(dtype)
    rng, mirrored = np.random.default_rng(0), 0
    stage = RandomFlip(RandomFlipConfig(direction=direction, probability=0.25))
    for _ in range(400):
        found = stage({"image": image}, rng)["image"]
        fits(found, stage.spec(decoded(2, 3, channels, dtype))["image"])
        is_mirrored = np.array_equal(found, np.flip(image, axis))
        assert is_mirrored or np.array_equal(found, image)
        mirrored += is_mirrored
    assert 60 < mirrored < 140
    for probability, expected in ((0, image), (1, np.flip(image, axis))):
        stage = RandomFlip(RandomFlipConfig(direction=direction, probability=probability))
        assert np.array_equal(stage({"image": image}, rng)["image"], expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 15), st.sampled_from([np.uint8, np.float32]))
def test_images_are_padded_and_their_size_is_kept(height, width, dtype):
    stage = PadImage(PadImageConfig(size=[12, 15], value=7))
    image = photograph(height, width).astype(dtype)
    found = stage({"image": image})
    spec = stage.spec(decoded(None, None, 3, dtype))
    fits(found["image"], spec["image"])
    fits(found["image_size"], spec["image_size"])
    assert found["image_size"].tolist() == [height, width]
    assert np.array_equal(found["image"][:height, :width], image)
    assert (found["image"] == 7).sum() >= 3 * (12 * 15 - height * width)


def test_what_cannot_be_padded_is_refused():
    stage = PadImage(PadImageConfig(size=[12, 15]))
    with pytest.raises(DataError, match="an image of 13 x 3 does not fit into 12 x 15"):
        stage({"image": photograph(13, 3)})
    with pytest.raises(DataError, match="does not fit"):
        stage.spec(decoded(None, 16))
    with pytest.raises(DataError, match="a field 'image_size' already"):
        stage.spec({**decoded(), "image_size": LeafSpec((), np.dtype(np.int32))})
    with pytest.raises(DataError, match=r"value 0.5 is not one that uint8 holds"):
        PadImage(PadImageConfig(size=[2, 2], value=0.5)).spec(decoded())
    with pytest.raises(ConfigError, match="size_field"):
        PadImageConfig(size=[2, 2], size_field="image")


STAGES = [
    DecodeImage(),
    crop(size=[4, 4]),
    resize(4),
    center([4, 4]),
    RandomFlip(),
    PadImage(PadImageConfig(size=[9, 9])),
    fused(DecodeImage(), crop(size=[4, 4])),
    fused(DecodeImage(), resize(6), center([4, 4])),
]


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: type(stage).__name__)
def test_stages_can_be_pickled_and_leave_their_input_alone(stage):
    image = photograph(9, 9)
    takes_bytes = hasattr(stage, "decode") or isinstance(stage, DecodeImage)
    record = {"image": encode(image, "PNG") if takes_bytes else image, "label": np.int32(3)}
    before = pickle.dumps(record)
    found = run([stage], record)
    assert pickle.dumps(record) == before
    assert found["label"] == 3
    other = run([pickle.loads(pickle.dumps(stage))], record)
    assert np.array_equal(found["image"], other["image"])


@pytest.mark.parametrize("stage", STAGES[1:6], ids=lambda stage: type(stage).__name__)
def test_views_of_other_arrays_are_images_too(stage):
    image = photograph(40, 40)
    image.flags.writeable = False
    views = [
        image,
        image[::-1],
        image[:, ::-1],
        image[::2, 1:30],
        image[..., 1:2],
        image[..., ::-1],
    ]
    for view in views:
        found = run([stage], {"image": view[:9, :9]})["image"]
        expected = run([stage], {"image": np.array(view[:9, :9])})["image"]
        assert np.array_equal(found, expected)


def test_the_stages_work_without_jax():
    program = """
import pickle, sys
import numpy as np
stages, record = pickle.load(sys.stdin.buffer)
for stage in stages:
    drawn = (np.random.default_rng(0),) if getattr(stage, "stochastic", False) else ()
    record = stage(record, *drawn)
print([name for name in ("jax", "flax", "tensorflow") if name in sys.modules])
"""
    stages = [fused(DecodeImage(), crop(size=[9, 9], antialias=True)), *STAGES[2:6]]
    given = pickle.dumps((stages, {"image": encode(photograph(30, 30))}))
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=given,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert done.stdout.decode().strip() == "[]", done.stderr.decode()


@pytest.mark.parametrize("stage", STAGES[1:6], ids=lambda stage: type(stage).__name__)
def test_fields_that_are_no_images_are_refused(stage):
    for bad in ({"x": 1}, {"image": b"text"}, {"image": np.zeros((4, 4), np.uint8)}):
        with pytest.raises(DataError, match=r"-.*|resize: .*field 'image'"):
            run([stage], bad)
    with pytest.raises(DataError, match="without pixels"):
        run([stage], {"image": np.zeros((0, 4, 3), np.uint8)})
    for bad in (ENCODED, {"x": ENCODED["image"]}):
        with pytest.raises(DataError, match="field 'image'"):
            stage.spec(bad)


@pytest.mark.parametrize("stage", STAGES[1:3], ids=lambda stage: type(stage).__name__)
def test_dtypes_that_cannot_be_resized_are_refused(stage):
    with pytest.raises(DataError, match=r"int32.*; an image that is resized is uint8"):
        stage.spec(decoded(None, None, 3, np.int32))


@pytest.mark.parametrize(
    ("config", "values"),
    [
        (DecodeImageConfig, {"channels": 4}),
        (DecodeImageConfig, {"fast": 1}),
        (RandomResizedCropConfig, {"size": 224}),
        (RandomResizedCropConfig, {"size": [0, 3]}),
        (RandomResizedCropConfig, {"size": [3, 20_000]}),
        (RandomResizedCropConfig, {"size": [3, 3], "scale": [0.5, 0.1]}),
        (RandomResizedCropConfig, {"size": [3, 3], "scale": [0, 1]}),
        (RandomResizedCropConfig, {"size": [3, 3], "ratio": [float("nan"), 1]}),
        (ResizeConfig, {"size": True}),
        (ResizeConfig, {"size": [3]}),
        (CenterCropConfig, {"size": [3, 4, 5]}),
        (RandomFlipConfig, {"probability": 1.5}),
        (RandomFlipConfig, {"direction": "sideways"}),
        (PadImageConfig, {"size": [3, 3], "value": float("inf")}),
    ],
)
def test_configs_refuse_what_is_out_of_bounds(config, values):
    with pytest.raises(ConfigError, match=list(values)[-1]):
        config(**values)
