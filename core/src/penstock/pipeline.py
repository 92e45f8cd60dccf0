"""The pipeline: plan -> source.fetch -> batcher -> device -> stages, readable top to bottom."""

import itertools
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

import jax
import numpy as np
from flax import nnx

from penstock import registry, specs, state
from penstock.config import check_integer
from penstock.errors import ConfigError, PenstockError, Problem, StateError
from penstock.placement import Closing, Prefetched
from penstock.plan import TRAIN, Step, StreamPlan
from penstock.stream import INSIDE, is_windowed
from penstock.wiring import Wiring


class Pipeline:
    """An iterable of batches on the device: dicts of arrays of static shape with a `valid_mask`.

    source: gives records by number (`penstock.protocols.IndexedSource`).
    stages: callables on a batch, jitted together.
    batch_size: records in a batch; the last of an epoch is padded, or dropped with
        `drop_remainder`.
    rngs: `nnx.Rngs` whose default stream is the seed of stochastic stages.
    sampler: orders the records; without one, a pass is one epoch in the source's own order.
    batcher: groups records into batches; by default they are padded and masked as they come.
    scheduler: orders the steps of several streams; by default there is the train stream alone.
    prefetch: batches made ahead by a thread; 0 makes each when it is asked for.

    Components may also be given as `{"use": name, ...}`. Raises `ConfigError` with all problems.
    """

    def __init__(
        self,
        *,
        source: Any,
        batch_size: int,
        stages: Sequence[Any] = (),
        rngs: nnx.Rngs | None = None,
        sampler: Any = None,
        batcher: Any = None,
        scheduler: Any = None,
        drop_remainder: bool = False,
        prefetch: int = 2,
    ) -> None:
        specs.check_batch_size(batch_size)
        check_integer("prefetch", prefetch, 0)
        if not isinstance(drop_remainder, bool):
            raise _problem("drop_remainder", f"{drop_remainder!r} is neither true nor false")
        if not isinstance(stages, list | tuple):
            raise _problem("stages", f"is one {type(stages).__name__}; give a list of stages")
        self._key = _default_key(rngs)
        self._rngs = rngs
        self.drop_remainder = drop_remainder
        self.prefetch = prefetch
        wiring = Wiring(
            rngs=rngs, key=self._key, drop_remainder=drop_remainder, batch_size=batch_size
        )
        self.scheduler = wiring.scheduler(scheduler)
        self._streams = wiring.wire(
            self.scheduler, source=source, sampler=sampler, batcher=batcher, stages=stages
        )
        problems = wiring.problems
        self._counters: dict[str, int] = {"pass": 0}
        self._iteration: object = None
        self._handed: Step | None = None  # the last step, until its epoch has been told of
        self._live = False  # whether a step of this pass was handed out by this very object
        with problems.of("", data_path="sampler"):
            next(self.scheduler.steps(self._counters, self.plans), None)  # can a schedule be made?
        problems.tell()
        registry.notify("penstock_after_build", pipeline=self)

    def __iter__(self) -> Closing:
        """Return an iterator over the batches that are left of the current pass, of all streams."""
        return Closing(self._batches())

    def steps(self) -> Closing:
        """Return an iterator over the steps that are left of the current pass, with their batches.

        The pass after it is the next epoch or epochs. It begins, too, where an earlier iteration
        stopped on the very last step. A newer iteration, or `set_state`, ends this one with a
        `PenstockError`. The iterator is closed by the end of the loop, by `close()`, as a context
        manager, and when it is garbage collected.
        """
        return Closing(self._steps())

    def _batches(self) -> Generator[dict[str, Any]]:
        with self.steps() as steps:
            for step in steps:
                yield step.batch

    def _steps(self) -> Generator[Step]:
        mine = self._iteration = object()
        self._finish_step()
        planned = self._planned()
        first = next(planned, None)
        if first is None and self._live:
            self._end_pass()
            planned = self._planned()
            first = next(planned, None)
        if first is not None:
            made = self._made(itertools.chain([first], planned))
            with Prefetched(made, self.prefetch) if self.prefetch else closing(made) as steps:
                for step in steps:
                    self._counters = dict(step.after)
                    self._handed, self._live = step, True
                    yield step
                    if self._iteration is not mine:
                        raise PenstockError(
                            "this iteration is out of date: the pipeline was iterated anew or "
                            "given a state since"
                        )
                    self._finish_step()
        self._end_pass()

    def _finish_step(self) -> None:
        """Tell the sampler of an epoch that the last step handed out has completed."""
        step, self._handed = self._handed, None
        if step is not None:
            stream = self._streams[step.stream]
            told = getattr(stream.sampler, "epoch_completed", None)
            whole = INSIDE not in step.after
            if told is not None and whole and stream.plan.ends_epoch(step.start):
                told(step.start // stream.plan.records_per_epoch)
            if step.last:
                registry.notify(
                    "penstock_epoch_end", pipeline=self, stream=step.stream, epoch=step.epoch
                )

    def _planned(self) -> Iterator[Step]:
        counters, _ = _split_counters(self._counters)
        planned: Iterator[Step] = self.scheduler.steps(counters, self.plans)
        return planned

    def _made(self, planned: Iterator[Step]) -> Generator[Step]:
        """Yield the planned steps with their batches; a window's step becomes several."""
        before, inside = _split_counters(self._counters)
        for step in planned:
            stream = self._streams[step.stream]
            with _told(step):
                for loaded in stream.load(step, before, inside):
                    yield stream.finish(loaded)
            before, inside = dict(step.after), 0

    def _end_pass(self) -> None:
        self._counters, self._live = {"pass": self._counters["pass"] + 1}, False

    @property
    def plans(self) -> Mapping[str, StreamPlan]:
        """The plan of each stream: batches per epoch and pass, batch size, which records when."""
        return {name: stream.plan for name, stream in self._streams.items()}

    def batch_spec(self, stream: str = TRAIN) -> dict[str, Any]:
        """Return the spec of a stream's batches: a dict of `jax.ShapeDtypeStruct`."""
        if stream not in self._streams:
            known = ", ".join(self._streams)
            raise _problem("stream", f"no stream is called {stream!r}; there are {known}")
        return self._streams[stream].batch_spec()

    def components(self) -> dict[str, tuple[str, Any]]:
        """Return its parts by path (`source`, `stages[0]`, `test.source`), as (kind, object)."""
        parts: dict[str, tuple[str, Any]] = {}
        for name, stream in self._streams.items():
            prefix = "" if name == TRAIN else f"{name}."
            parts[f"{prefix}source"] = ("source", stream.source)
            if stream.sampler is not None:
                parts[f"{prefix}sampler"] = ("sampler", stream.sampler)
            if stream.batcher is not None:
                parts[f"{prefix}batcher"] = ("batcher", stream.batcher)
            for i, stage in enumerate(stream.stages.stages):
                parts[f"{prefix}stages[{i}]"] = ("stage", stage)
        return {**parts, "scheduler": ("scheduler", self.scheduler)}

    @property
    def config(self) -> dict[str, Any]:
        """A mapping from which `penstock.build` makes an equal pipeline.

        Raises `UnknownComponentError` where a part has no name.
        """
        train = self._streams[TRAIN]
        config: dict[str, Any] = {} if self._key is None else {"seed": self._seed()}
        config |= {
            "batch_size": train.batch_size,
            "drop_remainder": self.drop_remainder,
            "prefetch": self.prefetch,
            "stages": [registry.describe("stage", stage) for stage in train.stages.stages],
        }
        for kind, part in (
            ("source", train.source),
            ("sampler", train.sampler),
            ("batcher", train.batcher),
            ("scheduler", self.scheduler),
        ):
            if part is not None:
                config[kind] = registry.describe(kind, part)
        return config

    def _seed(self) -> int:
        words = np.asarray(jax.random.key_data(self._key)).reshape(-1)
        if words.shape != (2,):
            raise PenstockError("the key of the pipeline's rngs is not one that a seed makes")
        return int(words[0]) << 32 | int(words[1])

    def get_state(self) -> dict[str, Any]:
        """Return where the pipeline stands, as a JSON document of less than 2 KB.

        It names the batches that were handed out: what a thread made ahead does not count.
        """
        made = state.document(self._counters, self._print())
        registry.notify("penstock_state_saved", pipeline=self, state=made)
        return made

    def set_state(self, document: dict[str, Any], *, ignore_fingerprint: bool = False) -> None:
        """Go to a state that `get_state` gave, here or in another process; nothing is read.

        Raises `TypeError` for anything but a dict; `StateError` where it is cut, or of another
        pipeline (saying what differs) unless `ignore_fingerprint`. Nothing is changed then.
        """
        counters = state.counters_of(document, self._print(), ignore_fingerprint=ignore_fingerprint)
        planned, inside = _split_counters(counters)
        step = next(self.scheduler.steps(planned, self.plans), None)  # refuses what cannot be
        if inside and (step is None or not is_windowed(self._streams[step.stream].batcher)):
            raise StateError(f"the state stands inside a window ({INSIDE}={inside}); there is none")
        self._go_to(counters)
        registry.notify("penstock_state_restored", pipeline=self, state=document)

    def reset(self) -> None:
        """Go back to the first batch of epoch 0."""
        self._go_to({"pass": 0})

    def _go_to(self, counters: dict[str, int]) -> None:
        self._iteration = object()
        self._handed, self._live = None, False
        self._counters = counters

    def _print(self) -> dict[str, Any]:
        parts: dict[str, Any] = {
            name: [stream.batch_size, stream.plan.records_per_epoch]
            for name, stream in self._streams.items()
        }
        parts["drop_remainder"] = self.drop_remainder
        if self._key is not None:
            parts["key"] = np.asarray(jax.random.key_data(self._key)).tolist()
        for path, (kind, part) in self.components().items():
            parts[path] = registry.describe(kind, part, identity_only=True)
            if hasattr(part, "identity"):
                parts[path]["data"] = part.identity()
        return state.fingerprint(parts)


def _problem(path: str, message: str) -> ConfigError:
    return ConfigError([Problem(path, message)])


def _default_key(rngs: Any) -> Any:
    """Return the key of the default stream, or None without rngs."""
    if rngs is None:
        return None
    if not isinstance(rngs, nnx.Rngs) or "default" not in rngs:
        raise _problem("rngs", f"{rngs!r} is no nnx.Rngs with a default stream, as nnx.Rngs(0) is")
    return rngs["default"].key.get_value()


def _split_counters(counters: Mapping[str, int]) -> tuple[dict[str, int], int]:
    """Return the scheduler's counters, and the batches done of the window after them."""
    return {name: n for name, n in counters.items() if name != INSIDE}, counters.get(INSIDE, 0)


@contextmanager
def _told(step: Step) -> Iterator[None]:
    """Note on an error which step it belongs to."""
    try:
        yield
    except Exception as error:
        shown = ", ".join(map(str, step.indices[:8])) + (", ..." * (len(step.indices) > 8))
        error.add_note(
            f"while making the batch of stream {step.stream!r}, epoch {step.epoch}, "
            f"update {step.update}, records [{shown}]"
        )
        raise
