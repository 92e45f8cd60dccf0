"""Which part of an image a stage takes, and what size that becomes."""

import attrs

Size = tuple[int, int]  # height and width
MOST = 2**28  # pixels of an image; more are taken for a mistake, or for damage


@attrs.frozen
class Window:
    """A rectangle of an image, in pixels that need not be whole, and the size it is brought to.

    size: height and width that the rectangle is resampled to.
    border: pixels of zeros that follow on each side: above, below, on the left, on the right.
    """

    top: float
    left: float
    height: float
    width: float
    size: Size
    border: tuple[int, int, int, int] = (0, 0, 0, 0)


def whole(height: int, width: int) -> Window:
    """Return the window of a whole image that stays as it is."""
    return Window(0, 0, height, width, (height, width))


def centered(window: Window, size: Size) -> Window:
    """Return the middle of what a window without a border shows."""
    height, width = size
    top, tall, rows, above, below = _middle(window.top, window.height, window.size[0], height)
    left, wide, columns, before, after = _middle(window.left, window.width, window.size[1], width)
    return Window(top, left, tall, wide, (rows, columns), (above, below, before, after))


def _middle(
    start: float, extent: float, pixels: int, wanted: int
) -> tuple[float, float, int, int, int]:
    """Return start, extent and pixels of the middle along an axis, and the border on both sides."""
    if wanted > pixels:
        before = (wanted - pixels) // 2
        return start, extent, pixels, before, wanted - pixels - before
    step = extent / pixels
    skipped = round((pixels - wanted) / 2)  # as torchvision rounds
    return start + skipped * step, wanted * step, wanted, 0, 0
