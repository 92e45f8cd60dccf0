"""Results made by threads ahead of time, in order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(
    function: Callable[[Item], Result], items: Iterable[Item], *, threads: int, most: int
) -> Generator[Result, None, None]:
    """Yield `function(item)` of each item, in their order, made by that many threads.

    most: how many results, at the most, are made or being made before they are asked for.

    An error is raised where its result would have come. The threads end soon
    after the iterator.
    """
    left = iter(items)
    pool = ThreadPoolExecutor(min(threads, most), "feedrace-ahead")
    try:
        made = deque(pool.submit(function, item) for item in islice(left, most))
        while made:
            result = made.popleft().result()
            made.extend(pool.submit(function, item) for item in islice(left, 1))
            yield result
    finally:
        # Without waiting: the garbage collector may close this in one of those threads.
        pool.shutdown(wait=False, cancel_futures=True)
