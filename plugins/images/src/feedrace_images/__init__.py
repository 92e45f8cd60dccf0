"""Images for Feedrace: decoded, cropped and resized by record, augmented on the device."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from feedrace_images.center_crop import CenterCrop
    from feedrace_images.config import (
        CenterCropConfig,
        ColorJitterConfig,
        CutmixConfig,
        DecodeImageConfig,
        MixupConfig,
        NormalizeConfig,
        PadImageConfig,
        RandomCropConfig,
        RandomFlipConfig,
        RandomResizedCropConfig,
        ResizeConfig,
    )
    from feedrace_images.decode_image import DecodeImage
    from feedrace_images.device import ColorJitter, Cutmix, Mixup, Normalize, RandomCrop
    from feedrace_images.pad_image import PadImage
    from feedrace_images.random_flip import RandomFlip
    from feedrace_images.random_resized_crop import RandomResizedCrop
    from feedrace_images.resize import Resize

__all__ = [
    "CenterCrop",
    "CenterCropConfig",
    "ColorJitter",
    "ColorJitterConfig",
    "Cutmix",
    "CutmixConfig",
    "DecodeImage",
    "DecodeImageConfig",
    "Mixup",
    "MixupConfig",
    "Normalize",
    "NormalizeConfig",
    "PadImage",
    "PadImageConfig",
    "RandomCrop",
    "RandomCropConfig",
    "RandomFlip",
    "RandomFlipConfig",
    "RandomResizedCrop",
    "RandomResizedCropConfig",
    "Resize",
    "ResizeConfig",
]
_HOMES = {
    "CenterCrop": "center_crop",
    "ColorJitter": "device",
    "Cutmix": "device",
    "DecodeImage": "decode_image",
    "Mixup": "device",
    "Normalize": "device",
    "PadImage": "pad_image",
    "RandomCrop": "device",
    "RandomFlip": "random_flip",
    "RandomResizedCrop": "random_resized_crop",
    "Resize": "resize",
}


def __getattr__(name: str) -> Any:
    # The plugin is imported whenever names are listed; its code only when it is used.
    if name not in __all__:
        raise AttributeError(f"module 'feedrace_images' has no attribute {name!r}")
    home = importlib.import_module(f"feedrace_images.{_HOMES.get(name, 'config')}")
    return getattr(home, name)
