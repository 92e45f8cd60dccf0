"""What a worker process runs: it serves steps until its input ends."""

import io
import os
import pickle
import queue
import sys
import threading
import traceback
from typing import Any

import numpy as np

from feedrace.errors import DataError, FeedraceError, in_words
from feedrace.host.memory import Arena, Handle, mapped
from feedrace.host.messages import Setup, receive, send
from feedrace.host.record_loader import RecordLoader
from feedrace.host.records import leaves, map_leaves
from feedrace.host.timing import Clock, Span


def main() -> None:
    """Serve steps until the input ends."""
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull) as nothing:  # for code that asks for input
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)  # what code prints, each line at once
    sys.stdout = sys.stderr
    messages: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def listen() -> None:
        try:
            while True:
                messages.put(receive(source))
        except BaseException:  # noqa: BLE001 (whatever it is, there is nobody to serve)
            os._exit(0)

    setup = receive(source)
    threading.Thread(target=listen, daemon=True).start()
    memories: dict[Handle, Any] = {}
    loaders, problem = None, None
    try:
        loaders = _loaders(setup)
    except BaseException as error:  # noqa: BLE001 (reported at the first step)
        problem = error
    while True:
        stream, indices, start, handle = messages.get()
        spans: list[Span] = []
        clock = Clock(spans=spans)
        clock.enter("source")
        spans.clear()
        try:
            if loaders is None:
                raise FeedraceError(
                    f"a worker process cannot load the source's reader and the record stages: "
                    f"{in_words(problem) if problem else ''}; threads can"
                ) from problem
            if handle not in memories:
                memories[handle] = mapped(handle)
            arena = Arena(memories[handle])
            made = loaders[stream].load(indices, start, clock, arena.allocate)
            clock.enter("batch")
            described, needed = arena.place(made.records)
            if needed:
                own = map_leaves(np.array, made.records)
                send(sink, needed)
                larger = messages.get()
                memories.pop(handle)
                if larger is None:
                    send(sink, None)
                    continue
                memories[larger] = mapped(larger)
                described, needed = Arena(memories[larger]).place(own)
            clock.enter("input")
            try:
                send(sink, ((described, made.skipped, made.noted), spans, None, ""))
            except Exception:
                _check_picklable(described)
                raise
        except BaseException as error:  # noqa: BLE001 (raised where the step was asked for)
            send(sink, (None, spans, _picklable(error), traceback.format_exc()))


def _loaders(setup: Setup) -> dict[str, RecordLoader]:
    memory = mapped(setup.shared, private=True)
    buffers = [memory[start:end] for start, end in setup.buffers]
    loader = _Unpickler(io.BytesIO(setup.loaders), buffers=buffers)
    loader.program = setup.program
    found: dict[str, RecordLoader] = loader.load()
    return found


class _Unpickler(pickle.Unpickler):
    """Finds what is defined in `__main__` by running that program, as another module, if needed."""

    program = ("", "")

    def find_class(self, module: str, name: str) -> Any:
        if module == "__main__":
            kind, place = self.program
            if not kind:
                raise FeedraceError(
                    f"{name!r} was defined in an interactive session, which a worker process "
                    f"cannot run; put it in a module, or use threads"
                )
            _run_program(kind, place)
        return super().find_class(module, name)


def _run_program(kind: str, place: str) -> None:
    """Run the program once more as the module `__mp_main__`, as multiprocessing does."""
    import runpy
    import types

    if sys.modules["__main__"].__name__ == "__mp_main__":
        return
    module = types.ModuleType("__mp_main__")
    sys.modules["__mp_main__"] = module
    run: Any = runpy.run_path if kind == "file" else runpy.run_module
    module.__dict__.update(run(place, run_name="__mp_main__"))
    # Once more, as the import of multiprocessing sets it, too.
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module


def _check_picklable(described: Any) -> None:
    """Raise `DataError` for a field of objects that cannot be pickled."""
    for name, value in leaves(described):
        try:
            pickle.dumps(value)
        except Exception as error:
            raise DataError(
                f"field {name!r} holds objects that cannot be pickled, as processes need "
                f"({in_words(error)}); return other values, or use threads (workers = 2)"
            ) from error


def _picklable(error: BaseException) -> BaseException:
    """Return an error, or one with its type and text if it cannot be sent."""
    try:
        again: BaseException = pickle.loads(pickle.dumps(error))
        if type(again) is type(error) and str(again) == str(error):
            return error
    except Exception:  # noqa: BLE001 (an error class of the user's may fail in any way)
        pass
    replaced = FeedraceError(in_words(error))
    for note in getattr(error, "__notes__", ()):
        replaced.add_note(note)
    return replaced
