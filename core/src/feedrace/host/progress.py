"""Progress bars: one way to make them, for everything that takes long."""

import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

DELAY = 0.5  # seconds of work that show nothing

Advance = Callable[..., None]  # (how much more is done, a note to show beside it)


def bars_are_shown() -> bool:
    """Return whether stderr is a terminal, or the output of a notebook's cell."""
    stream: Any = sys.stderr
    notebook = type(stream).__module__ == "ipykernel.iostream"  # whose `isatty` says no
    return notebook or (stream is not None and stream.isatty())


@contextmanager
def progress(what: str, total: int | None, unit: str) -> Generator[Advance]:
    """Show on stderr how much of some work is done; yield what to call with how much more is.

    what: names the work. total: None if it is unknown. unit: of `total`, such as "files"; bytes
        are "B".

    The bar comes once the work takes above half a second, and only in a terminal or a notebook. Any
    thread may call `advance(amount, note)`; `note` is a text to show beside the bar.
    """
    if not bars_are_shown():
        yield _nothing
        return
    size = {"unit": unit, "unit_scale": True, "unit_divisor": 1024}
    shown: Any = size if unit == "B" else {"unit": f" {unit}"}
    lock, began, done = threading.Lock(), time.monotonic(), 0
    bar: Any = None

    def advance(amount: int = 1, note: str = "") -> None:
        nonlocal bar, done
        with lock:
            done += amount
            took = time.monotonic() - began
            if bar is None and took >= DELAY:
                from tqdm import tqdm

                bar, amount = tqdm(desc=what, total=total, **shown), done
                if not bar.disable:  # as TQDM_DISABLE asks
                    bar.start_t -= took
            if bar is not None:
                if note:
                    bar.set_postfix_str(note, refresh=False)
                bar.update(amount)

    try:
        yield advance
    finally:
        if bar is not None:
            bar.close()


def _nothing(amount: int = 1, note: str = "") -> None:
    """Show nothing."""
