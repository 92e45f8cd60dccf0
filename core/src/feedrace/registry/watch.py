"""Say which plugin is being imported where that takes long, and end it where it never ends."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self

SLOW = 3.0  # seconds between two looks at which plugin is at work


class ImportTimeout(BaseException):
    """An import took longer than allowed; no `except Exception` in a plugin catches it."""


class Watch:
    """A watch over the imports of one scan, a context manager.

    limit: seconds that one import may take, None for any. It is kept in the main thread alone, and
        where the system has interval timers that nobody else uses.
    """

    def __init__(self, limit: float | None) -> None:
        self._limit = limit if limit is not None and _timers_are_free() else None
        self._over: tuple[str, str] | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._tell, daemon=True, name="feedrace-imports")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._thread.join()

    @contextmanager
    def over(self, what: str, namespace: str) -> Iterator[None]:
        """Watch over the import of one plugin; raises `ImportTimeout` past the limit."""
        self._over = (what, namespace)
        try:
            if self._limit is None:
                yield
            else:
                with _alarm(self._limit):
                    yield
        except KeyboardInterrupt as error:
            error.add_note(f"while importing {what}; FEEDRACE_PLUGINS_DISABLE={namespace} hides it")
            raise
        finally:
            self._over = None

    def _tell(self) -> None:
        told = None
        while not self._done.wait(SLOW):
            over = self._over
            if over is not None and over != told:
                told = over
                print(
                    f"feedrace: {over[0]} is still being imported; "
                    f"FEEDRACE_PLUGINS_DISABLE={over[1]} leaves it out",
                    file=sys.stderr,
                    flush=True,
                )


def _timers_are_free() -> bool:
    return (
        hasattr(signal, "setitimer")
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    )


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:
        raise ImportTimeout(f"its import took longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)  # again each second, where one is swallowed
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
