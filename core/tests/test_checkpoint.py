"""Pipelines saved by Orbax, and by what saves grain's iterators."""

import json
from itertools import islice

import numpy as np
import pytest

from feedrace import Pipeline, create
from feedrace.errors import StateError

ocp = pytest.importorskip("orbax.checkpoint", reason="the extra `orbax` is not installed")


def make(n=20, **options):
    source = create("source", "memory", data={"x": np.arange(n)}, shuffle=True)
    return Pipeline(source=source, batch_size=4, **options)


def rest(steps):
    return [step.indices.tolist() for step in steps]


def test_a_checkpoint_manager_saves_the_model_and_the_pipeline_together(tmp_path):
    from feedrace.integrations.orbax import PipelineRestore, PipelineSave

    pipeline = make()
    list(islice(pipeline, 2))
    with ocp.CheckpointManager(tmp_path / "run") as manager:
        saved = ocp.args.Composite(
            model=ocp.args.StandardSave({"w": np.arange(3)}), data=PipelineSave(pipeline)
        )
        expected = rest(pipeline.steps())  # what happens after saving does not count
        manager.save(1, args=saved)
        manager.wait_until_finished()
    other = make()
    with ocp.CheckpointManager(tmp_path / "run") as manager:
        restored = manager.restore(
            1,
            args=ocp.args.Composite(
                model=ocp.args.StandardRestore({"w": np.zeros(3, int)}), data=PipelineRestore(other)
            ),
        )
        state = manager.restore(1, args=ocp.args.Composite(data=PipelineRestore())).data
    assert restored.data is other
    assert restored.model["w"].tolist() == [0, 1, 2]
    assert state == other.get_state()
    assert rest(other.steps()) == expected


def test_a_checkpoint_of_another_pipeline_is_refused(tmp_path):
    from feedrace.integrations.orbax import PipelineHandler, PipelineRestore, PipelineSave

    with ocp.Checkpointer(PipelineHandler()) as checkpointer:
        checkpointer.save(tmp_path / "one", args=PipelineSave(make()))
        with pytest.raises(StateError, match=r"train\[?.*20.*21"):
            checkpointer.restore(tmp_path / "one", args=PipelineRestore(make(21)))
        (tmp_path / "one" / "pipeline.json").write_text("{")
        with pytest.raises(StateError, match=r"pipeline\.json is not a whole state document"):
            checkpointer.restore(tmp_path / "one", args=PipelineRestore(make()))


@pytest.mark.parametrize("kind", ["batches", "steps"])
def test_iterators_go_to_a_state_and_on_from_there(kind):
    def begin(pipeline):
        return iter(pipeline) if kind == "batches" else pipeline.steps()

    def shown(item):
        return np.asarray(item["x"] if kind == "batches" else item.batch["x"]).tolist()

    iterator = begin(make())
    list(islice(iterator, 2))
    state = json.loads(json.dumps(iterator.get_state()))
    expected = [shown(item) for item in iterator]
    other = begin(make())
    next(other)
    other.set_state(state)
    assert [shown(item) for item in other] == expected
    with pytest.raises(StateError):
        other.set_state({"format": 2})


def test_what_checkpoints_an_iterator_of_grain_does_so_with_one_of_ours(tmp_path):
    grain = pytest.importorskip("grain", reason="grain is not installed")
    iterator = iter(make())
    list(islice(iterator, 2))
    handler = grain.checkpoint.CheckpointHandler()
    (tmp_path / "data").mkdir()
    handler.save(tmp_path / "data", args=grain.checkpoint.CheckpointSave(iterator))
    expected = [np.asarray(batch["x"]).tolist() for batch in iterator]
    other = iter(make())
    handler.restore(tmp_path / "data", args=grain.checkpoint.CheckpointRestore(other))
    assert [np.asarray(batch["x"]).tolist() for batch in other] == expected
