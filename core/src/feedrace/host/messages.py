"""What the process that trains and its worker processes say to one another.

Messages are pickles with their length in front, over a worker's standard input and output.
"""

import pickle
import struct
from typing import IO, Any

import attrs

from feedrace.host.memory import Handle

_LENGTH = struct.Struct("<Q")


@attrs.frozen
class Setup:
    """What a worker process is told first.

    loaders: pickled, by stream. buffers: where the arrays in them lie in `shared`, (start, end).
    program: the file or module that runs as `__main__`, for what is defined there.
    """

    loaders: bytes
    buffers: list[tuple[int, int]]
    shared: Handle
    program: tuple[str, str]


def send(pipe: IO[bytes] | None, message: Any) -> None:
    """Write a message."""
    text = pickle.dumps(message, protocol=5)
    assert pipe is not None
    pipe.write(_LENGTH.pack(len(text)) + text)
    pipe.flush()


def receive(pipe: IO[bytes] | None) -> Any:
    """Return the next message; raise `EOFError` if the other process is gone."""
    assert pipe is not None
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (size,) = _LENGTH.unpack(head)
    text = pipe.read(size)
    if len(text) < size:
        raise EOFError
    return pickle.loads(text)
