"""Results of calls that a module with `cacheable` keeps."""

from collections.abc import Callable, Iterator
from typing import Any


class IdentityDict(dict[Any, Any]):
    """A dict compared by identity, so that it can be a static attribute of an NNX module."""

    __hash__ = object.__hash__  # type: ignore[assignment]
    __eq__ = object.__eq__


def cached(
    cache: dict[Any, Any], function: Callable[..., Any], args: Any, kwargs: dict[str, Any]
) -> Any:
    """Return `function(*args, **kwargs)`, kept in `cache` if it may be.

    1, True and 1.0 are different arguments. Calls with arguments that cannot be hashed are not
    kept, nor are iterators, which another call would find used up.
    """
    key = _key((args, tuple(sorted(kwargs.items()))))
    try:
        if key in cache:
            return cache[key]
    except TypeError:  # not hashable
        return function(*args, **kwargs)
    result = function(*args, **kwargs)
    if not isinstance(result, Iterator):
        cache[key] = result
    return result


def _key(value: Any) -> Any:
    if isinstance(value, tuple):
        return (type(value), *map(_key, value))
    return type(value), value
