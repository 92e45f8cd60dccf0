"""Batches of records that are on the device: gathered, masked and staged in one program.

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

from feedrace.device.placement import Placement
from feedrace.device.stages import Stages
from feedrace.host.records import VALID_MASK, check_numbers
from feedrace.plan.steps import Step, StreamPlan
from feedrace.protocols import OnDevice, provides

_TOGETHER = 4  # batches in one dispatch: measured best on a CPU; more leave its cache
_MOST_BYTES = 1 << 26  # of batches made ahead


def holds_records(source: Any) -> bool:
    """Return whether a source holds all fields of its records on the device."""
    return provides(source, OnDevice) and bool(source.on_device)


class DeviceLoader:
    """Makes the batches of one stream on the device.

    source: a source that `holds_records`; they are read when the first batch is made.
    """

    def __init__(
        self,
        *,
        source: Any,
        plan: StreamPlan,
        batch_size: int,
        stages: Stages,
        placement: Placement,
    ) -> None:
        self._source, self._plan, self._batch_size = source, plan, batch_size
        self._stages, self._placement = stages, placement
        self._replica: tuple[Any, Any] | None = None
        self._jitted = jax.jit(self._several, static_argnums=0)
        self._scanned = jax.jit(self._scan, static_argnums=(0, 1, 2))

    @functools.cached_property
    def together(self) -> int:
        """How many batches to make in one dispatch."""
        leaves = jax.tree.leaves(self._source.device_data)
        size = self._batch_size * sum(leaf.nbytes // len(leaf) for leaf in leaves)
        return int(max(1, min(_TOGETHER, _MOST_BYTES // max(size, 1))))

    def batches(self, steps: Sequence[Step]) -> list[dict[str, Any]]:
        """Return the batches of some steps, made in one dispatch."""
        definition, parameters = self._stages.split()
        made: list[dict[str, Any]]
        made = self._jitted(definition, parameters, self._data(), self._table(steps))
        return made

    def scan(
        self, step_fn: Callable[..., Any], modules: Any, init_carry: Any, steps: Sequence[Step]
    ) -> Any:
        """Run `step_fn` on the batches of all steps in one program, updating the modules."""
        with_carry = init_carry is not None
        definition, state = nnx.split((modules, self._stages.modules))
        state, carry, outputs = self._scanned(
            definition, step_fn, with_carry, state, init_carry, self._data(), self._table(steps)
        )
        nnx.update((modules, self._stages.modules), state)
        return (carry, outputs) if with_carry else outputs

    def traced(self, source: Any, modules: Any, update: Any) -> dict[str, Any]:
        """Return the batch of a traced int32 `update`, from what the traced function holds.

        source: the source as the traced function sees it; None if it is not a module.
        """
        plan, size = self._plan, self._batch_size
        length = plan.records_per_epoch
        epoch = (update // plan.batches_per_epoch).astype(np.uint32)
        offset = update % plan.batches_per_epoch * size
        positions = jnp.minimum(offset + jnp.arange(size), length - 1)
        rows = plan.sampler.indices_at(epoch, positions)
        data = (self._source if source is None else source).device_data
        count = jnp.minimum(length - offset, size)
        return self._batch(modules, data, rows, count, epoch, offset.astype(np.uint32))

    def _data(self) -> dict[str, Any]:
        """Return the records, on all devices of the sharding if there is one."""
        data: dict[str, Any] = self._source.device_data
        if self._placement.sharding is None:
            return data
        first = jax.tree.leaves(data)[0]
        if self._replica is None or self._replica[0] is not first:
            self._replica = first, self._placement.replicate(data)
        replica: dict[str, Any] = self._replica[1]
        return replica

    def _table(self, steps: Sequence[Step]) -> tuple[Any, Any, Any, Any]:
        """Return (rows, counts, epochs, positions) of the steps; raise `DataError` for a wrong row.

        rows: int32 (len(steps), batch_size), and the axes of a window if the sampler has them.
        """
        number = len(steps)
        rows = np.zeros((number, self._batch_size, *steps[0].indices.shape[1:]), np.int64)
        counts = np.empty(number, np.int32)
        epochs, positions = np.empty(number, np.uint32), np.empty(number, np.uint32)
        for i, step in enumerate(steps):
            counts[i] = len(step.indices)
            rows[i, : counts[i]] = step.indices
            place = divmod(step.start, self._plan.records_per_epoch)
            epochs[i], positions[i] = (number & 0xFFFFFFFF for number in place)  # as keys take them
        check_numbers(rows, len(self._source))
        return rows.astype(np.int32), counts, epochs, positions

    def _several(self, definition: Any, parameters: Any, data: Any, table: Any) -> list[Any]:
        modules = nnx.merge(definition, parameters)
        return [
            self._batch(modules, data, *(column[i] for column in table))
            for i in range(len(table[0]))
        ]

    def _batch(
        self, modules: Any, data: Any, rows: Any, count: Any, epoch: Any, position: Any
    ) -> dict[str, Any]:
        """Return one batch, traceably; `modules` are the stages that are modules."""

        def gathered(data: Any, rows: Any, count: Any) -> dict[str, Any]:
            valid = jnp.arange(self._batch_size) < count

            def gather(leaf: Any) -> Any:
                picked = leaf.at[rows].get(mode="clip")
                keep = valid.reshape(-1, *[1] * (picked.ndim - 1))
                return jnp.where(keep, picked, jnp.zeros_like(picked))

            return {**jax.tree.map(gather, data), VALID_MASK: valid}

        if self._placement.sharding is None:
            batch = gathered(data, rows, count)
        else:
            batch = self._placement.made(gathered, data, rows, count)
        return self._stages.apply(modules, batch, (epoch, position))

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
            batch = self._batch(stages, data, *row)
            if with_carry:
                carry, output = step_fn(carry, *modules, batch)
            else:
                output = step_fn(*modules, batch)
            _, state = nnx.split((modules, stages))
            return (state, carry), output

        (state, carry), outputs = jax.lax.scan(body, (state, carry), table)
        return state, carry, outputs
