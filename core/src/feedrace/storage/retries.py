"""Requests that are tried again if what went wrong may pass."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

import attrs

from feedrace.errors import StorageError, cut

T = TypeVar("T")


class PassingError(Exception):
    """What may go well the next time: a store that is busy, a connection that broke.

    after: seconds for which the store asks.
    """

    def __init__(self, reason: str, after: float = 0.0) -> None:
        super().__init__(reason)
        self.after = after


@attrs.frozen
class Retries:
    """How often, and for how long, requests are tried.

    tries: at most. first, longest: seconds to wait after the first try, doubled after each further
    one up to `longest`; a random part of up to half is taken off, so that many readers do not come
    back at the same moment. limit: seconds for all tries together. at_once: seconds for one.
    """

    tries: int = 6
    first: float = 0.5
    longest: float = 15.0
    limit: float = 180.0
    at_once: float = 60.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def call(self, what: str, request: Callable[[float], T]) -> T:
        """Return what `request` returns, given the seconds that it may take.

        what: names the request in the error. Raises `StorageError` after the last try; what else
        `request` raises passes through.
        """
        began = self.clock()
        for tried in range(1, self.tries + 1):
            left = self.limit - (self.clock() - began)
            try:
                return request(min(self.at_once, left))
            except PassingError as error:
                pause = min(self.longest, self.first * 2 ** (tried - 1))
                pause = max(pause * random.uniform(0.5, 1.0), error.after)
                took = self.clock() - began
                if tried < self.tries and took + pause < self.limit:
                    self.sleep(pause)
                    continue
                times = f"{tried} tries" if tried > 1 else "1 try"
                raise StorageError(
                    f"{what} cannot be read: {cut(str(error), 500)} ({times} in {took:.0f} s); "
                    f"check that the store answers, and run again"
                ) from error
        raise AssertionError("unreachable")


RETRIES = Retries()
