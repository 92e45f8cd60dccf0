"""One spawned worker process, in which components are made anew from their descriptions."""

import atexit
import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from feedrace import registry
from feedrace.registry import catalog

_pool: ProcessPoolExecutor | None = None


def in_spawned_process(
    observe: Callable[[Any, Any], Any],
    material: Any,
    kind: str,
    mapping: dict[str, Any],
    *,
    timeout: float = 120,
) -> Any:
    """Return `observe(component, material)` for a component made in another process.

    observe: a function of an importable module; it, `material` and its result are pickled.

    The process was spawned, not forked: it finds installed plugins by its own scan, and is handed
    what this process registered.
    """
    global _pool
    if _pool is None:
        _pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        atexit.register(_pool.shutdown)
    registered = catalog.registered()
    work = _pool.submit(_observe, observe, material, kind, mapping, registered, list(sys.path))
    try:
        return work.result(timeout)
    except BrokenProcessPool:
        _pool = None
        said = "or what observe needs, cannot be sent to another process: is it importable by name?"
        raise AssertionError(f"what is registered in code, {said}") from None


def _observe(
    observe: Callable[[Any, Any], Any],
    material: Any,
    kind: str,
    mapping: dict[str, Any],
    registered: tuple[Any, ...],
    path: list[str],
) -> Any:
    if sys.path != path:
        sys.path[:] = path
    catalog.refresh()
    with catalog.temporary():
        catalog.adopt(registered)
        return observe(registry.instantiate(registry.parse(kind, mapping)), material)
