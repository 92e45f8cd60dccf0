"""What data of other libraries may have, which a source reads by number."""

from collections.abc import Sequence
from typing import Any, Protocol

# What is not a source, but a source can read: data sets of other libraries, and sequences


class RandomAccess(Protocol):
    """Gives elements by number, as a data set of torch or a list does; see the source `records`.

    Its elements are dicts, tuples, or values that are read as arrays.
    """

    def __len__(self) -> int:
        """Return the number of elements."""
        return 0

    def __getitem__(self, number: int, /) -> Any:
        """Return one element."""


class ManyAtOnce(Protocol):
    """Gives several elements at once, faster than one by one."""

    def __getitems__(self, numbers: list[int], /) -> Sequence[Any]:
        """Return a list with one element for each number."""
        return ()
