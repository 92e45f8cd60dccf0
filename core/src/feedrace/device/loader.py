"""Batches of records that are on the device already: gathered, masked and staged in one program.

The host computes which records make up a step, as for every other source; XLA does the rest, for
one batch, for several in one dispatch, or for a whole epoch with the training step in it (`scan`).
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from feedrace.host.records import VALID_MASK, check_numbers
from feedrace.plan.steps import Step

_TOGETHER = 4  # batches in one dispatch: measured best on a CPU, where more leave the cache
_MOST_BYTES = 1 << 26  # of batches made ahead


def holds_records(source: Any) -> bool:
    """Return whether a source holds all fields of its records on the device."""
    return getattr(source, "device_data", None) is not None


class DevicePath:
    """Makes the batches of one stream on the device.

    stream: a `feedrace.pipeline.stream.Stream` that `holds_records`.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._placed: tuple[Any, Any] | None = None
        self._jitted = jax.jit(self._several, static_argnums=0)
        self._scanned = jax.jit(self._scan, static_argnums=(0, 1, 2))

    @functools.cached_property
    def together(self) -> int:
        """How many batches to make in one dispatch."""
        leaves = jax.tree.leaves(self._stream.source.device_data)
        size = self._stream.batch_size * sum(leaf.nbytes // len(leaf) for leaf in leaves)
        return int(max(1, min(_TOGETHER, _MOST_BYTES // max(size, 1))))

    def batches(self, steps: Sequence[Step]) -> list[dict[str, Any]]:
        """Return the batches of some steps, made in one dispatch."""
        fixed, parameters = self._stream.stages.split()
        made: list[dict[str, Any]] = self._jitted(
            fixed, parameters, self.data(), self._table(steps)
        )
        return [self._stream.placement.relabelled(batch) for batch in made]

    def scan(
        self, step_fn: Callable[..., Any], modules: Any, init_carry: Any, steps: Sequence[Step]
    ) -> Any:
        """Run `step_fn` on the batches of all steps in one program, updating the modules."""
        with_carry = init_carry is not None
        stages = self._stream.stages
        definition, state = nnx.split((modules, stages.modules))
        state, carry, outputs = self._scanned(
            definition, step_fn, with_carry, state, init_carry, self.data(), self._table(steps)
        )
        nnx.update((modules, stages.modules), state)
        return (carry, outputs) if with_carry else outputs

    def traced(self, source: Any, modules: Any, epoch: Any, offset: Any) -> dict[str, Any]:
        """Return the batch at a place that is traced, as is what `source` and `modules` hold.

        source: that of the stream as a traced function sees it; None where it is no module.
        epoch: uint32; offset: int32, the position in it of the first record.
        """
        stream = self._stream
        length = stream.plan.records_per_epoch
        positions = jnp.minimum(offset + jnp.arange(stream.batch_size), length - 1)
        rows = stream.plan.sampler.indices_at(epoch, positions)
        data = (stream.source if source is None else source).device_data
        count = jnp.minimum(length - offset, stream.batch_size)
        return self.batch(modules, data, rows, count, epoch, offset.astype(np.uint32))

    def data(self) -> dict[str, Any]:
        """Return the records, on the devices of the sharding where there is one."""
        data: dict[str, Any] = self._stream.source.device_data
        placement = self._stream.placement
        if placement.sharding is None:
            return data
        if self._placed is None or self._placed[0] is not jax.tree.leaves(data)[0]:
            self._placed = jax.tree.leaves(data)[0], placement.replicate(data)
        placed: dict[str, Any] = self._placed[1]
        return placed

    def _table(self, steps: Sequence[Step]) -> tuple[Any, Any, Any, Any]:
        """Return (rows, counts, epochs, positions) of the steps; raises `DataError` for no record.

        rows: int32, shape (len(steps), batch_size) and that of a window, where the sampler has one.
        """
        stream, number = self._stream, len(steps)
        shape = (number, stream.batch_size, *steps[0].indices.shape[1:])
        rows = np.zeros(shape, np.int64)
        counts = np.empty(number, np.int32)
        epochs, positions = np.empty(number, np.uint32), np.empty(number, np.uint32)
        for i, step in enumerate(steps):
            counts[i] = len(step.indices)
            rows[i, : counts[i]] = step.indices
            epochs[i], positions[i] = divmod(step.start, stream.plan.records_per_epoch)
        check_numbers(rows, len(stream.source))
        return rows.astype(np.int32), counts, epochs, positions

    def _several(self, fixed: Any, parameters: Any, data: Any, table: Any) -> list[Any]:
        modules = nnx.merge(fixed, parameters)
        return [
            self.batch(modules, data, *(column[i] for column in table))
            for i in range(len(table[0]))
        ]

    def batch(
        self, modules: Any, data: Any, rows: Any, count: Any, epoch: Any, position: Any
    ) -> dict[str, Any]:
        """Return one batch, traceably; `modules` are the stages that are modules."""
        valid = jnp.arange(self._stream.batch_size) < count

        def gather(leaf: Any) -> Any:
            picked = leaf.at[rows].get(mode="clip")
            keep = valid.reshape(-1, *[1] * (picked.ndim - 1))
            return jnp.where(keep, picked, jnp.zeros_like(picked))

        batch = {**jax.tree.map(gather, data), VALID_MASK: valid}
        batch = self._stream.placement.constrain(batch)
        staged: dict[str, Any] = self._stream.stages.apply(modules, batch, (epoch, position))
        return staged

    def _scan(
        self,
        definition: Any,
        step_fn: Callable[..., Any],
        with_carry: bool,
        state: Any,
        carry: Any,
        data: Any,
        table: Any,
    ) -> Any:
        def body(running: Any, row: Any) -> Any:
            state, carry = running
            modules, stages = nnx.merge(definition, state)
            batch = self.batch(stages, data, *row)
            if with_carry:
                carry, output = step_fn(carry, *modules, batch)
            else:
                output = step_fn(*modules, batch)
            _, state = nnx.split((modules, stages))
            return (state, carry), output

        (state, carry), outputs = jax.lax.scan(body, (state, carry), table)
        return state, carry, outputs
