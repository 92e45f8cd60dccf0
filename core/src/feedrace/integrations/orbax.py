"""Pipelines saved by Orbax beside models: needs `pip install 'feedrace[orbax]'`.

manager.save(step, args=ocp.args.Composite(
model=ocp.args.StandardSave(model), data=PipelineSave(pipeline)))
manager.restore(step, args=ocp.args.Composite(
model=ocp.args.StandardRestore(model), data=PipelineRestore(pipeline)))
"""

import json
from typing import Any

import attrs
import jax
import orbax.checkpoint as ocp

from feedrace.plan.state import parse

_FILE = "pipeline.json"


class PipelineHandler(ocp.CheckpointHandler):  # type: ignore[misc]
    """Writes the state of a pipeline, or of its iterator, and restores it.

    Under `jax.distributed` the first process writes, and each restores: the state is the same.
    """

    def save(self, directory: Any, args: "PipelineSave") -> None:
        """Write the state of `args.item`; Orbax makes the folder valid once all is written."""
        if jax.process_index() == 0:
            (directory / _FILE).write_text(json.dumps(args.state))

    def restore(self, directory: Any, args: "PipelineRestore | None" = None) -> Any:
        """Restore `args.item` to the saved state and return it; without an item, return the state.

        Raises `feedrace.errors.StateError` if the state is cut, or belongs to another pipeline.
        """
        file = directory / _FILE
        state = parse(file.read_text(), str(file))
        if args is None or args.item is None:
            return state
        args.item.set_state(state)
        return args.item


@ocp.args.register_with_handler(PipelineHandler, for_save=True)
@attrs.frozen(init=False)
class PipelineSave(ocp.args.CheckpointArgs):  # type: ignore[misc]
    """Saves the state that `item`, a pipeline or an iterator of one, has when this is made."""

    state: dict[str, Any]

    def __init__(self, item: Any) -> None:
        self.__attrs_init__(item.get_state())


@ocp.args.register_with_handler(PipelineHandler, for_restore=True)
@attrs.frozen
class PipelineRestore(ocp.args.CheckpointArgs):  # type: ignore[misc]
    """Restores into `item`, a pipeline or an iterator of one; None gives the state alone."""

    item: Any = None
