"""Declarations of this plugin's components."""

from collections.abc import Iterator

from feedrace.plugin import Component, hookimpl

FEEDRACE_API = 1

# Name, module, class, summary and whether it draws random numbers.
_STAGES = (
    ("decode-image", "decode_image", "DecodeImage", "Encoded images as uint8 arrays.", False),
    ("random-resized-crop", "random_resized_crop", "RandomResizedCrop",
     "A random part of each image, brought to one size.", True),
    ("resize", "resize", "Resize", "Images brought to a size.", False),
    ("center-crop", "center_crop", "CenterCrop", "The middle of each image.", False),
    ("random-flip", "random_flip", "RandomFlip", "Images mirrored at random, on the host.", True),
    ("pad-image", "pad_image", "PadImage", "Images padded to one size, with their own size.",
     False),
    ("normalize", "device", "Normalize", "Images minus a mean, by a deviation, on the device.",
     False),
    ("random-crop", "device", "RandomCrop", "A random part of each image, on the device.", True),
    ("color-jitter", "device", "ColorJitter",
     "Brightness, contrast, saturation and hue at random, on the device.", True),
    ("mixup", "device", "Mixup", "Images and labels blended with others of the batch.", True),
    ("cutmix", "device", "Cutmix", "A box of each image taken from another of the batch.", True),
)  # fmt: skip


@hookimpl
def feedrace_components() -> Iterator[Component]:
    for name, module, cls, summary, stochastic in _STAGES:
        yield Component(
            kind="stage",
            name=name,
            target=f"feedrace_images.{module}:{cls}",
            config=f"feedrace_images.config:{cls}Config",
            summary=summary,
            capabilities=["stochastic"] if stochastic else [],
        )
