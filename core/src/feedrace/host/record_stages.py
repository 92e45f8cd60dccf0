"""Stages on records: functions of one record, called as soon as it is read."""

import functools
import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from feedrace.errors import ConfigError, DataError, Problem, class_name, clipped, in_words
from feedrace.host.records import arriving_dtype, is_host_dtype, leaves, map_leaves
from feedrace.host.stages import LeafSpec, note_function_of_array, spec_text
from feedrace.protocols import Fusing, Specified, is_stochastic, provides
from feedrace.registry.reprs import Configured

Spec = Mapping[str, Any]


def record(
    function: Callable[..., Any] | None = None,
    *,
    spec: Callable[[Any], Any] | Spec | None = None,
    stochastic: bool | None = None,
) -> Any:
    """Return a stage that calls a function of one record; `@record(spec=...)` decorates one.

    function: `function(record)`, or `function(record, rng)` with a `numpy.random.Generator`, which
        returns the record that follows: a dict of arrays, numbers and text. Workers call it:
        several threads at a time, or processes, which find it by its name in its module.
    spec: what the function changes: a dict of field to an object with `shape` and `dtype`, or to
        None for a field that goes; or a function from the spec of the records that come in to that
        of those that come out. Without it nothing changes.
    stochastic: whether it takes `rng`; by default, if it needs two arguments.
    """
    if function is None:
        return functools.partial(record, spec=spec, stochastic=stochastic)
    return FunctionStage(function, spec, stochastic)


class FunctionStage(Configured):
    """A function as a stage on records; see `record`. It can still be called as a function."""

    on = "record"

    def __init__(self, function: Any, spec: Any, stochastic: bool | None) -> None:
        if not callable(function):
            message = f"{clipped(function)} is not a function of a record"
            raise ConfigError([Problem("function", message)])
        if spec is not None and not callable(spec) and not isinstance(spec, Mapping):
            message = f"{clipped(spec)} is neither a dict of specs nor a function that returns one"
            raise ConfigError([Problem("spec", message)])
        self._function, self._spec = function, spec
        self.stochastic = _needs_two(function) if stochastic is None else bool(stochastic)
        named = function.func if isinstance(function, functools.partial) else function
        functools.update_wrapper(
            self, named if hasattr(named, "__qualname__") else type(named), updated=()
        )

    def __repr__(self) -> str:
        return f"record({class_name(self)})"

    def __call__(self, record: dict[str, Any], *rng: Any) -> Any:
        return self._function(record, *rng)

    def spec(self, spec: Any) -> Any:
        """Return the spec of what the function returns for records of `spec`."""
        if callable(self._spec):
            return self._spec(spec)
        changed = {**spec, **(self._spec or {})}
        return {name: leaf for name, leaf in changed.items() if leaf is not None}

    def __reduce__(self) -> Any:
        name = getattr(self._function, "__qualname__", "")  # a callable object has none
        if name and getattr(inspect.getmodule(self._function), name, None) is self:
            return name  # it was decorated
        return FunctionStage, (self._function, None, self.stochastic)  # workers know the spec


def _needs_two(function: Callable[..., Any]) -> bool:
    """Return whether a function has two positional parameters without a default."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # of a builtin
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p for p in parameters if p.kind in positional and p.default is p.empty]
    return len(needed) >= 2


@attrs.frozen
class _Promise:
    """What a leaf is to be. is_text: text or another object, which stays on the host."""

    shape: Any
    dtype: Any
    is_text: bool

    def holds(self, shape: Any, dtype: Any) -> bool:
        """Return whether an array of numbers is that, or is once its dtype has arrived."""
        if dtype != self.dtype and arriving_dtype(dtype, wide=False) != self.dtype:
            return False
        return bool(shape == self.shape) or (
            len(shape) == len(self.shape)
            and all(n is None or n == m for n, m in zip(self.shape, shape, strict=True))
        )


Promises = Mapping[str, _Promise]  # by dotted name


@attrs.frozen(eq=False, kw_only=True)
class RecordStages:
    """The stages on records of a stream, fused where they can be; workers hold them.

    names: of the stages, for messages. specs: of the records that come in, and after each stage;
        promises: the same, each as a flat dict of its leaves.
    keys: two words for each stage that draws random numbers; None for the others.
    """

    stages: tuple[Any, ...]
    names: tuple[str, ...]
    specs: tuple[Any, ...]
    keys: tuple[Any, ...]
    promises: tuple[Promises, ...] = attrs.field(
        init=False, default=attrs.Factory(lambda self: _promises(self.specs), takes_self=True)
    )

    @property
    def spec(self) -> Any:
        """The spec of the records that come out: a nest of `LeafSpec`s."""
        return self.specs[-1]

    def runner(self, epoch: int) -> Callable[[Any, int, int, int], dict[str, Any]]:
        """Return a function of (record, number, position, inner) for records of an epoch.

        It returns the flat values of the record after all stages, by dotted name. number: of the
        record, for messages. position: in the epoch; inner: in a window of the sampler, else 0.

        It raises `DataError` for a stage that returns something other than its spec says, and what
        a stage raises with a note on the stage and the record. For one thread.
        """
        rngs = [None if key is None else _Rng(key, epoch) for key in self.keys]
        steps = list(zip(self.stages, self.names, rngs, self.promises[1:], strict=True))

        def run(record: Any, number: int, position: int, inner: int) -> dict[str, Any]:
            values: dict[str, Any] = record
            for stage, name, rng, promise in steps:
                try:
                    if rng is None:
                        record = stage(record)
                    else:
                        record = stage(record, rng.at(position, inner))
                    values = _checked(name, number, record, promise)
                except Exception as error:
                    error.add_note(f"in record stage {name}, record {number}")
                    note_function_of_array(error, stage, record, "record")
                    raise
            return values

        return run


def record_stages(stages: Sequence[Any], element_spec: Any, *, key: bytes | None) -> RecordStages:
    """Return the stages on records of a stream whose source has records of `element_spec`.

    key: up to 64 bytes that seed those of its stages that draw random numbers.

    Raises `ConfigError` at `stages[i]` for a stage that cannot take what comes, or whose spec is
    not one.
    """
    spec = map_leaves(lambda leaf: LeafSpec(tuple(leaf.shape), leaf.dtype), element_spec)
    made: list[Any] = []
    specs = [spec]
    for i, stage in enumerate(stages):
        try:
            spec = _as_spec(stage.spec(spec)) if provides(stage, Specified) else spec
        except ConfigError as error:
            raise ConfigError(error.at(f"stages[{i}]")) from error
        except Exception as error:
            message = str(error) if isinstance(error, DataError) else f"spec: {in_words(error)}"
            raise ConfigError([Problem(f"stages[{i}]", message)]) from error
        one = stage.fused(made[-1]) if made and provides(stage, Fusing) else None
        if one is None:
            made.append(stage)
            specs.append(spec)
        else:
            made[-1], specs[-1] = one, spec
    keys: list[Any] = []
    for stage in made:
        number = len([one for one in keys if one is not None])
        words = None
        if is_stochastic(stage):
            text = number.to_bytes(4, "little")
            digest = hashlib.blake2b(text, digest_size=16, key=key or b"").digest()
            words = np.frombuffer(digest, "<u8").astype(np.uint64)
        keys.append(words)
    names = tuple(map(class_name, made))
    return RecordStages(stages=tuple(made), names=names, specs=tuple(specs), keys=tuple(keys))


class _Rng:
    """The random numbers of one stage in one epoch: Philox (Salmon et al., 2011), by counter."""

    def __init__(self, key: Any, epoch: int) -> None:
        self._bits = np.random.Philox(key=key)
        self._generator = np.random.Generator(self._bits)
        self._state: Any = self._bits.state
        self._counter = self._state["state"]["counter"]
        self._counter[:] = 0, 0, 0, epoch
        self._state["buffer_pos"] = 4  # nothing is left of another record's

    def at(self, position: int, inner: int) -> np.random.Generator:
        """Return the generator for one record."""
        self._counter[1], self._counter[2] = inner, position
        self._bits.state = self._state
        return self._generator


def _as_spec(spec: Any) -> Any:
    """Return what a stage's `spec` returned, as a nest of `LeafSpec`s."""
    if not isinstance(spec, dict) or not spec:
        raise DataError(f"its spec returned {clipped(spec)}; a record is a dict of fields")
    for name, leaf in leaves(spec):
        if not hasattr(leaf, "shape") or not hasattr(leaf, "dtype"):
            rule = "has no shape and dtype, as a jax.ShapeDtypeStruct or an array has"
            raise DataError(f"its spec has {clipped(leaf)} for field {name!r}, which {rule}")
    return map_leaves(lambda leaf: LeafSpec(tuple(leaf.shape), leaf.dtype), spec)


def _promises(specs: Sequence[Any]) -> tuple[Promises, ...]:
    return tuple(
        {n: _Promise(leaf.shape, leaf.dtype, is_host_dtype(leaf.dtype)) for n, leaf in leaves(spec)}
        for spec in specs
    )


def check_delivered(records: dict[str, Any], promise: Promises, source: Any) -> None:
    """Raise `DataError` unless the rows that a source gave are what its spec promises.

    Records of different shapes come as one array of arrays; each is checked if a stage takes it.
    """
    flat = records if records.keys() == promise.keys() else dict(leaves(records))
    if flat.keys() != promise.keys() or not all(
        promise[name].is_text or leaf.ndim == 1
        if is_host_dtype(leaf.dtype)
        else promise[name].holds(leaf.shape[1:], leaf.dtype)
        for name, leaf in flat.items()
    ):
        given = {name: LeafSpec(leaf.shape[1:], leaf.dtype) for name, leaf in leaves(records)}
        raise DataError(
            f"source {class_name(source)} gave records of {spec_text(given)}; its element_spec "
            f"says {spec_text(promise)}; correct one of the two"
        )


def _checked(stage: str, number: int, record: Any, promise: Promises) -> dict[str, Any]:
    """Return the flat values of what a stage returned; raise `DataError` unless they fit."""
    if type(record) is dict:
        flat = record if record.keys() == promise.keys() else dict(leaves(record))
        if flat.keys() == promise.keys() and all(
            _fits(value, promise[name]) for name, value in flat.items()
        ):
            return flat
    found = f"returned {clipped(record)}"
    if isinstance(record, dict) and record:
        shown = [f"{name}: {_shown(value)}" for name, value in sorted(leaves(record))]
        found = f"returned {', '.join(shown) or 'no field'}"
    raise DataError(
        f"record stage {stage} {found} for record {number}; its spec, or what came in if it has "
        f"none, says {spec_text(promise)}; correct one of the two (feedrace.record takes `spec`)"
    )


def _fits(value: Any, promise: _Promise) -> bool:
    if promise.is_text:  # None stands for text that is missing
        return promise.shape == () or np.ndim(value) == len(promise.shape)
    if isinstance(value, np.ndarray | np.generic):
        return promise.holds(value.shape, value.dtype)
    # Python's numbers have no dtype: what the spec says holds them if their kind does.
    if promise.shape != () or not isinstance(value, bool | int | float):
        return False
    return bool(np.can_cast(np.min_scalar_type(value), promise.dtype, "same_kind"))


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray | np.generic):
        return f"{value.dtype}{list(value.shape)}"
    return f"a {type(value).__name__}"
