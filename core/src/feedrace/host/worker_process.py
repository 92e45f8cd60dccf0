"""Worker processes, as the process that trains sees them: started, asked, replaced if they die.

They are started afresh, never forked. The end of its input ends a worker at once, whatever it does:
nothing is left when the process that asks is gone.
"""

import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import IO, Any

from feedrace.errors import DataError, FeedraceError, class_name, clipped, in_words
from feedrace.host.loader import HostLoader
from feedrace.host.memory import Block, Ring
from feedrace.host.messages import Setup, receive, send
from feedrace.host.record_loader import Loaded, RecordLoader
from feedrace.host.records import ALIGNMENT
from feedrace.host.timing import Clock, where

_DEATHS = 3  # of workers at one step, before it is an error
_MARK = "FEEDRACE_WORKER"  # in the environment of workers
_HIDDEN = {  # accelerators are for the process that trains
    "JAX_PLATFORMS": "cpu",
    "CUDA_VISIBLE_DEVICES": "",
    "HIP_VISIBLE_DEVICES": "",
    "ROCR_VISIBLE_DEVICES": "",
    "TPU_VISIBLE_CHIPS": "",
}
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from feedrace.host.worker_main import main; main()"
)


class Payload:
    """The loaders of all streams as worker processes need them: pickled once, arrays shared."""

    def __init__(self, loaders: Mapping[str, RecordLoader]) -> None:
        # What the program itself defines comes back under this name, as from multiprocessing.
        sys.modules.setdefault("__mp_main__", sys.modules["__main__"])
        found: list[pickle.PickleBuffer] = []
        text = pickle.dumps(dict(loaders), protocol=5, buffer_callback=found.append)
        raw = [buffer.raw() for buffer in found]
        sizes = [-(-one.nbytes // ALIGNMENT) * ALIGNMENT for one in raw]
        starts = itertools.accumulate(sizes, initial=0)
        ranges = [(start, start + one.nbytes) for start, one in zip(starts, raw, strict=False)]
        self.block = Block(sum(sizes))
        for (start, end), one in zip(ranges, raw, strict=True):
            self.block.memory[start:end] = one
        self.setup = Setup(text, ranges, self.block.handle, _program())


class WorkerProcess:
    """A worker process, as the thread sees it that asks it: it is replaced if it dies.

    ring: the blocks that it writes into. died: counts and warns; called with a sentence.
    """

    def __init__(self, payload: Payload, ring: Ring, died: Callable[[str], None]) -> None:
        if os.environ.get(_MARK):
            raise FeedraceError(
                "a worker process has run the script that started it, and that began to iterate; "
                "put what the script does under `if __name__ == '__main__':`"
            )
        self._payload, self._ring, self._died = payload, ring, died
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def start(self) -> None:
        """Start it, without waiting until it is ready."""
        flags: dict[str, Any] = {}
        files = [self._payload.block.handle, *(block.handle for block in self._ring.blocks)]
        if sys.platform == "win32":
            flags["creationflags"] = subprocess.CREATE_NEW_PROCESS_GROUP
        else:  # Ctrl-C is for the process that trains
            flags |= {"process_group": 0, "pass_fds": [handle.file for handle in files]}
        environment = {**dict.fromkeys(_ONE_THREAD, "1"), **os.environ, **_HIDDEN, _MARK: "1"}
        options = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        folders = [folder for folder in sys.path if isinstance(folder, str)]  # as import does
        process = subprocess.Popen(
            [sys.executable, "-P", *options, "-c", _START, json.dumps(folders)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            **flags,
        )
        self._process = process
        if self._closed:  # meanwhile
            self.kill()
            return
        with suppress(OSError):  # dead already, which is noticed when it is asked
            send(process.stdin, self._payload.setup)

    @property
    def pid(self) -> int:
        """Its process id, 0 if there is none."""
        return self._process.pid if self._process is not None else 0

    def load(self, task: Any, clock: Clock) -> Callable[[], Loaded]:
        """Have a task loaded; return a function that gives its records, in memory that is shared.

        Raises what was raised there, with its traceback as a note; `FeedraceError` if three workers
        died of this step.
        """
        step = task.step
        clock.enter("room")
        number = self._ring.take()
        try:
            for death in range(1, _DEATHS + 1):
                clock.enter("worker process")
                reply = self._ask(step, number)
                if self._closed:
                    raise FeedraceError("the iteration was closed")
                if reply is not None:
                    break
                last = self._end()
                if death == _DEATHS:
                    raise FeedraceError(
                        f"{_DEATHS} worker processes died, one after another, while they made "
                        f"{where(step)}; the last one {last}; if it is for lack of memory, fewer "
                        f"workers or smaller batches help"
                    )
                self._died(f"a worker process {last} while it made {where(step)}")
                self.start()
        except BaseException:
            self._ring.give(number)
            raise
        made, spans, error, trace = reply
        clock.add(spans)
        if error is not None:
            self._ring.give(number)
            error.add_note(f"in worker process {self.pid}:\n{trace}")
            raise error
        described, skipped, noted = made

        def loaded() -> Loaded:
            return Loaded(self._ring.lend(number, described), skipped, noted)

        return loaded

    def _ask(self, step: Any, number: int) -> Any:
        """Return the worker's reply; None if it is dead."""
        process, block = self._process, self._ring.blocks[number]
        try:
            if process is None:
                return None
            send(process.stdin, (step.stream, step.indices, step.start, block.handle))
            reply = receive(process.stdout)
            if type(reply) is int:  # bytes that the records take
                if reply > self._ring.most:
                    send(process.stdin, None)
                    receive(process.stdout)
                    raise DataError(
                        f"the records of one step take {reply / 2**20:,.0f} MiB, and worker "
                        f"processes pass on {self._ring.most / 2**20:,.0f} MiB at most (half of "
                        f"the memory, over all batches under way); use smaller batches, fewer "
                        f"workers, or threads"
                    )
                block.grow(reply + reply // 4)
                send(process.stdin, block.handle)
                reply = receive(process.stdout)
            return reply
        except (OSError, EOFError):
            return None

    def _end(self) -> str:
        """Wait for a process that is dead, and return how it died."""
        process = self._process
        self._process = None
        if process is None:
            return "did not start"
        for pipe in (process.stdin, process.stdout):
            _close(pipe)
        try:
            code = process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        if code < 0:
            with suppress(ValueError):  # a real-time signal has no name
                return f"was killed by {signal.Signals(-code).name}"
            return f"was killed by signal {-code}"
        return f"ended with exit status {code}"

    def kill(self) -> None:
        """End it at once, from any thread; do not wait for it."""
        self._closed = True
        process = self._process
        if process is not None:
            process.kill()

    def close(self) -> None:
        """End it, and wait until it is gone."""
        self.kill()
        self._end()


def obstacles_for_processes(
    host: HostLoader, instead: str = "use threads (workers = 2)"
) -> Iterator[str]:
    """Yield what keeps worker processes from a stream's work, and what to do, in sentences."""
    loader, source = host.record_loader(), class_name(host.source)
    if host.reader() is None:
        yield (
            f"source {source} has no reader() that processes could hold; {instead}, or give it "
            f"one (feedrace.plugin.protocols.Readable)"
        )
    else:
        yield from _pickled(loader.reader, f"the reader of source {source}", instead)
    for name, stage in zip(loader.stages.names, loader.stages.stages, strict=True):
        yield from _pickled(stage, f"record stage {name}", instead)


def _pickled(value: Any, what: str, instead: str) -> Iterator[str]:
    try:
        pickled = _dumps(value)
    except Exception as error:  # noqa: BLE001 (whatever an object's own methods raise)
        name, part = _culprit(value)
        which = f": its {name} is {clipped(part)}" if name else ""
        yield (
            f"{what} cannot be pickled, as processes need ({in_words(error)}){which}; define it at "
            f"the top of a module, or {instead}"
        )
        return
    if b"__main__" in pickled and not any(_program()):
        yield (
            f"{what} is defined in an interactive session, which processes cannot run; put it in a "
            f"module, or {instead}"
        )


def _dumps(value: Any) -> bytes:
    return pickle.dumps(value, protocol=5, buffer_callback=lambda _: None)


def _culprit(value: Any, name: str = "") -> tuple[str, Any]:
    """Return the dotted name and the value of the innermost attribute that cannot be pickled."""
    slots = getattr(type(value), "__slots__", ())
    names = [slot for slot in slots if not slot.startswith("__")] if type(slots) is tuple else []
    held = {slot: getattr(value, slot, None) for slot in names}
    for key, part in {**held, **getattr(value, "__dict__", {})}.items():
        try:
            _dumps(part)
        except Exception:  # noqa: BLE001 (whatever an object's own methods raise)
            inner = f"{name}.{key}" if name else key
            return (inner, part) if inner.count(".") > 4 else _culprit(part, inner)
    return name, value


def _program() -> tuple[str, str]:
    """Return how another process finds what runs as `__main__`: ("file" or "module", its name)."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return "module", str(spec.name)
    path = getattr(main, "__file__", None)
    if path is None or not os.path.isfile(path):  # a session, or a program from standard input
        return "", ""
    return "file", os.path.abspath(path)


def _close(pipe: IO[bytes] | None) -> None:
    with suppress(OSError):  # for what was not sent yet
        if pipe is not None:
            pipe.close()
