"""Stages of a batch of images on the device.

Every number is drawn and computed in 32 bits, so that JAX's x64 mode changes none.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from feedrace.plugin import VALID_MASK, Configured, DataError, FieldStatistics
from feedrace_images import config as configs

_LEAST_STD = 1e-6  # as of a std that is given


class Normalize(Configured):
    """Images of values from 0 to 1, minus a mean, divided by a deviation.

    Integers are divided by the greatest of their dtype first; floating images are taken as they
    are. The result is float32 or bfloat16, computed in float32.

    With `statistics = "auto"` a pipeline gives it the statistics of the records it trains on. A
    channel whose deviation is below 1e-6 is then divided by 1.

    fitted: `mean` and `std` from statistics, of values from 0 to 1; None if there are none.

    Raises `DataError` for a field that is missing or holds no images, for another number of
    channels, and if it has no statistics although its config asks for them.
    """

    def __init__(self, config: configs.NormalizeConfig | None = None) -> None:
        self.config = config or configs.NormalizeConfig()
        self.fits = None if self.config.statistics is None else self.config.field
        self.fitted: dict[str, list[float]] | None = None

    def fit(self, statistics: FieldStatistics) -> None:
        """Take mean and deviation from the statistics of the field.

        Raises `DataError` for a field without finite numbers, and if it was fitted to others.
        """
        numbers = np.array([statistics.mean, statistics.std])
        if not numbers.size or not np.isfinite(numbers).all():
            raise DataError(
                f"normalize: field {self.config.field!r} ({statistics.dtype}) has no finite mean "
                f"and std in each channel; encoded images need decode-image before"
            )
        dtype = jnp.dtype(statistics.dtype)
        unit = np.iinfo(dtype).max if jnp.issubdtype(dtype, jnp.integer) else 1
        mean, std = numbers / unit
        found = {"mean": _short(mean), "std": _short(np.where(std < _LEAST_STD, 1, std))}
        if self.fitted not in (None, found):
            raise DataError(
                f"normalize: this stage was fitted to other records before, with mean "
                f"{self.fitted['mean']} and std {self.fitted['std']}; give each pipeline a stage "
                f"of its own, or these numbers as mean and std"
            )
        self.fitted = found

    def details(self) -> list[str]:
        """Return the numbers that it took from statistics, for `feedrace describe`."""
        return [f"{name} of the training records: {v}" for name, v in (self.fitted or {}).items()]

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the batch with the images normalized."""
        images = _images("normalize", batch, self.config.field)
        channels = images.shape[-1]
        given: Any = self.fitted or {"mean": self.config.mean, "std": self.config.std}
        if self.fits is not None and self.fitted is None:
            raise DataError(
                'normalize: statistics = "auto" takes mean and std from the training records of a '
                "pipeline; put the stage in one, or give the numbers"
            )
        for name, numbers in given.items():
            if len(numbers) not in (1, channels):
                raise DataError(
                    f"normalize: {name} has {len(numbers)} numbers; field {self.config.field!r} "
                    f"has {channels} channels"
                )
        mean, std = (np.array(given[name], np.float32) for name in ("mean", "std"))
        values = (_unit(images) - mean) / std
        return {**batch, self.config.field: values.astype(self.config.dtype)}


class RandomCrop(Configured):
    """A random part of each image, after a border of zeros was added.

    Raises `DataError` for a field that is missing or holds no images, and for images that are
    smaller than the part.
    """

    stochastic = True

    def __init__(self, config: configs.RandomCropConfig) -> None:
        self.config = config

    def __call__(self, batch: dict[str, Any], keys: Any) -> dict[str, Any]:
        """Return the batch with the parts; `keys` holds one PRNG key a record."""
        images = _images("random-crop", batch, self.config.field)
        (height, width), border = self.config.size, self.config.padding
        tall, wide = (side + 2 * border for side in images.shape[1:3])
        if tall < height or wide < width:
            raise DataError(
                f"random-crop: images of {images.shape[1]} x {images.shape[2]} with padding "
                f"{border} are smaller than size {height} x {width}; raise padding or lower size"
            )
        images = jnp.pad(images, ((0, 0), (border, border), (border, border), (0, 0)))
        room = np.array([tall - height + 1, wide - width + 1], np.int32)

        def part(key: Any, image: Any) -> Any:
            top, left = jax.random.randint(key, (2,), 0, room, np.int32)
            place, shape = (top, left, np.int32(0)), (height, width, image.shape[-1])
            return jax.lax.dynamic_slice(image, place, shape)

        return {**batch, self.config.field: jax.vmap(part)(keys, images)}


class ColorJitter(Configured):
    """Brightness, contrast, saturation and hue of colour images, changed at random, in this order.

    Floating images hold values from 0 to 1, and uint8 images from 0 to 255; both keep their dtype,
    and values are clipped to that range after each change. As torchvision does it: brightness is
    multiplied, contrast changes the distance from the mean grey of the image, saturation that from
    the grey of the pixel, and the hue is turned in HSV.

    Raises `DataError` for a field that is missing or holds no images of three channels.
    """

    stochastic = True

    def __init__(self, config: configs.ColorJitterConfig | None = None) -> None:
        self.config = config or configs.ColorJitterConfig()

    def __call__(self, batch: dict[str, Any], keys: Any) -> dict[str, Any]:
        """Return the batch with other colours; `keys` holds one PRNG key a record."""
        images = _images("color-jitter", batch, self.config.field)
        if images.shape[-1] != 3:
            found = f"field {self.config.field!r} has {images.shape[-1]} channels"
            raise DataError(f"color-jitter: {found}; it needs red, green and blue")
        changed = jax.vmap(self._jitter)(keys, _unit(images))
        return {**batch, self.config.field: _like(images, changed)}

    def _jitter(self, key: Any, image: Any) -> Any:
        config = self.config
        drawn = jax.random.uniform(key, (4,), np.float32, minval=-1)
        image = jnp.clip(image * (1 + config.brightness * drawn[0]), 0, 1)
        image = _away_from(_grey(image).mean(), image, 1 + config.contrast * drawn[1])
        image = _away_from(_grey(image)[..., None], image, 1 + config.saturation * drawn[2])
        return _turned(image, 6 * config.hue * drawn[3])


class Mixup(Configured):
    """Images and labels blended with those of other records of the batch (Zhang et al., 2018).

    Each record draws its own share and its own partner, from the records of the batch that are
    valid; it may draw itself, and then stays as it is. So the partner depends on what else is in
    the batch. Padding is neither changed nor mixed in. Both fields need a floating dtype.

    Raises `DataError` for a field that is missing, integer images, or labels that are not vectors.
    """

    stochastic = True

    def __init__(self, config: configs.MixupConfig | None = None) -> None:
        self.config = config or configs.MixupConfig()

    def __call__(self, batch: dict[str, Any], keys: Any) -> dict[str, Any]:
        """Return the mixed batch; `keys` holds one PRNG key a record."""
        images = _images("mixup", batch, self.config.field)
        labels = _labels("mixup", batch, self.config.label)
        if not jnp.issubdtype(images.dtype, jnp.floating):
            message = f"field {self.config.field!r} holds {images.dtype}; put normalize before"
            raise DataError(f"mixup: {message}")
        keys = _split(keys, 2)
        partners = _partners(keys[:, 0], batch[VALID_MASK])
        shares = _shares(keys[:, 1], self.config.alpha, batch[VALID_MASK])
        mixed = {self.config.field: images, self.config.label: labels}
        return {**batch, **{k: _blend(v, v[partners], shares) for k, v in mixed.items()}}


class Cutmix(Configured):
    """Images with a box taken from another record of the batch, labels blended by area (Yun, 2019).

    Each record draws its own box and its own partner, from the records of the batch that are valid;
    it may draw itself, and then stays as it is. So the partner depends on what else is in the
    batch. Padding is neither changed nor mixed in.

    Raises `DataError` for a field that is missing or labels that are not vectors.
    """

    stochastic = True

    def __init__(self, config: configs.CutmixConfig | None = None) -> None:
        self.config = config or configs.CutmixConfig()

    def __call__(self, batch: dict[str, Any], keys: Any) -> dict[str, Any]:
        """Return the mixed batch; `keys` holds one PRNG key a record."""
        images = _images("cutmix", batch, self.config.field)
        labels = _labels("cutmix", batch, self.config.label)
        keys = _split(keys, 3)
        partners = _partners(keys[:, 0], batch[VALID_MASK])
        shares = _shares(keys[:, 1], self.config.alpha, batch[VALID_MASK])
        boxes = jax.vmap(lambda key, share: _box(key, share, images.shape[1:3]))(keys[:, 2], shares)
        kept = 1 - boxes.mean(axis=(1, 2), dtype=jnp.float32)
        mixed = jnp.where(boxes[..., None], images[partners], images)
        labels = _blend(labels, labels[partners], kept)
        return {**batch, self.config.field: mixed, self.config.label: labels}


def _short(numbers: Any) -> list[float]:
    """Return numbers with the digits that a float32 holds."""
    return [float(str(number)) for number in numbers.astype(np.float32)]


def _images(stage: str, batch: dict[str, Any], field: str) -> Any:
    images = _field(stage, batch, field)
    if images.ndim != 4:
        shape = f"records of shape {list(images.shape[1:])}"
        raise DataError(f"{stage}: field {field!r} has {shape}, not (height, width, channels)")
    return images


def _labels(stage: str, batch: dict[str, Any], field: str) -> Any:
    labels = _field(stage, batch, field)
    if labels.ndim != 2 or not jnp.issubdtype(labels.dtype, jnp.floating):
        found = f"{labels.dtype} records of shape {list(labels.shape[1:])}"
        fix = "labels are mixed as float vectors; put one-hot before"
        raise DataError(f"{stage}: field {field!r} has {found}; {fix}")
    return labels


def _field(stage: str, batch: dict[str, Any], field: str) -> Any:
    if field not in batch:
        raise DataError(f"{stage}: no field {field!r}; the batch has {', '.join(sorted(batch))}")
    if not hasattr(batch[field], "dtype"):
        raise DataError(f"{stage}: field {field!r} is not an array on the device")
    return batch[field]


def _unit(images: Any) -> Any:
    """Return images as float32 from 0 to 1."""
    if jnp.issubdtype(images.dtype, jnp.floating):
        return images.astype(jnp.float32)
    return images.astype(jnp.float32) / np.iinfo(images.dtype).max


def _like(images: Any, values: Any) -> Any:
    """Return values from 0 to 1 in the range and dtype of `images`."""
    if jnp.issubdtype(images.dtype, jnp.floating):
        return values.astype(images.dtype)
    return jnp.round(values * np.iinfo(images.dtype).max).astype(images.dtype)


def _grey(image: Any) -> Any:
    """Return the luma of an image (ITU-R BT.601), without its last axis."""
    return 0.299 * image[..., 0] + 0.587 * image[..., 1] + 0.114 * image[..., 2]


def _away_from(grey: Any, image: Any, factor: Any) -> Any:
    return jnp.clip(grey + factor * (image - grey), 0, 1)


def _turned(image: Any, sixths: Any) -> Any:
    """Return an image whose hue in HSV is turned by sixths of a circle."""
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    high = jnp.maximum(jnp.maximum(red, green), blue)
    spread = high - jnp.minimum(jnp.minimum(red, green), blue)
    by = jnp.where(spread > 0, spread, 1)
    # Never `high == red`: compiled, the two may be rounded differently (dm-pix 0.4.5 has that).
    hue = jnp.where(green >= blue, 2 + (blue - red) / by, 4 + (red - green) / by)
    hue = jnp.where((red >= green) & (red >= blue), (green - blue) / by, hue)
    places = (hue[..., None] + sixths + np.array([5, 3, 1], np.float32)) % 6
    return high[..., None] - spread[..., None] * jnp.clip(jnp.minimum(places, 4 - places), 0, 1)


def _split(keys: Any, count: int) -> Any:
    return jax.vmap(lambda key: jax.random.split(key, count))(keys)


def _partners(keys: Any, valid: Any) -> Any:
    """Return for each row the number of a valid row, each as likely as the others."""
    order = jnp.argsort(~valid, stable=True)  # valid rows first
    count = jnp.maximum(valid.sum(dtype=np.int32), 1)
    drawn = jax.vmap(lambda key: jax.random.randint(key, (), 0, count, np.int32))(keys)
    return order[drawn]


def _shares(keys: Any, alpha: float, valid: Any) -> Any:
    """Return for each row what it keeps of itself: all of it if it is padding."""
    shares = jax.vmap(lambda key: jax.random.beta(key, alpha, alpha, (), np.float32))(keys)
    return jnp.where(valid, shares, 1.0)


def _blend(own: Any, other: Any, shares: Any) -> Any:
    shares = shares.reshape(-1, *[1] * (own.ndim - 1)).astype(jnp.float32)
    mixed = other + shares * (own.astype(jnp.float32) - other)
    return jnp.where(shares == 1, own, mixed.astype(own.dtype))


def _box(key: Any, share: Any, size: Any) -> Any:
    """Return (height, width): which pixels lie in a random box of 1 - `share` of the area."""
    center = jax.random.uniform(key, (2,), np.float32)
    half = jnp.sqrt(1 - share) / 2
    inside = []
    for place, pixels in zip(center, size, strict=True):
        low = jnp.clip(jnp.round((place - half) * pixels), 0, pixels)
        high = jnp.clip(jnp.round((place + half) * pixels), 0, pixels)
        index = jnp.arange(pixels)
        inside.append((index >= low) & (index < high))
    return inside[0][:, None] & inside[1][None, :]
