"""Threads that do work without holding up the end of the program."""

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

Task = tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]


class Daemons:
    """Up to `most` threads, started as they are needed; they end with this object.

    A `ThreadPoolExecutor` makes a program that ends, or is interrupted, wait for all that was
    submitted: for minutes, if a store does not answer.
    """

    def __init__(self, most: int, name: str) -> None:
        self._tasks = SimpleQueue[Task | None]()
        self._most, self._name, self._started = most, name, 0
        self._lock = threading.Lock()
        weakref.finalize(self, _end, self._tasks, most)

    def submit(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """Return the future result of `function(*args)`."""
        future = Future[T]()
        self._tasks.put((future, function, args))
        with self._lock:
            if self._started < self._most:
                name = f"{self._name}-{self._started}"
                threading.Thread(target=_work, args=(self._tasks,), name=name, daemon=True).start()
                self._started += 1
        return future


def _work(tasks: SimpleQueue[Task | None]) -> None:
    while (task := tasks.get()) is not None:
        future, function, args = task
        try:
            future.set_result(function(*args))
        except BaseException as error:  # noqa: BLE001 (it is raised where the result is asked for)
            future.set_exception(error)
        del task, future, function, args  # until the next task comes


def _end(tasks: SimpleQueue[Task | None], threads: int) -> None:
    for _ in range(threads):
        tasks.put(None)
