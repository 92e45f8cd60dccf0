"""One spawned worker process, which makes components from their descriptions."""

import atexit
import multiprocessing
import pickle
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import feedrace
from feedrace.plugin import registry

_pool: ProcessPoolExecutor | None = None


def in_spawned_process(
    observe: Callable[[Any, Any], Any],
    material: Any,
    kind: str,
    description: Mapping[str, Any],
    *,
    timeout: float = 120,
) -> Any:
    """Return `observe(component, material)` for a component that another process makes.

    observe: a function of an importable module; it, `material` and its result are pickled.

    The process is spawned, not forked: it scans for installed plugins itself, and adopts what this
    process registered in code. Raises `AssertionError` if any of this cannot be sent there.
    """
    global _pool
    if _pool is None:
        _pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        atexit.register(_pool.shutdown)
    try:
        sent = pickle.dumps((observe, material, kind, description, feedrace.registered()))
    except (AttributeError, TypeError, pickle.PicklingError) as error:
        raise _not_sent(error) from error
    return _pool.submit(_observe, sent, list(sys.path)).result(timeout)


def _observe(sent: bytes, path: list[str]) -> Any:
    sys.path[:] = path
    try:
        observe, material, kind, description, registered = pickle.loads(sent)
    except Exception as error:
        raise _not_sent(error) from error
    feedrace.refresh()
    with feedrace.temporary():
        feedrace.adopt(registered)
        return observe(registry.instantiate(registry.parse(kind, description)), material)


def _not_sent(error: Exception) -> AssertionError:
    return AssertionError(
        "what is registered in code, or what `observe` needs, cannot be sent to another process: "
        f"{type(error).__name__}: {error}; define it in a module that can be imported there"
    )
