import contextlib
import gc
import itertools
import json
import pickle
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from feedrace import Pipeline, build, create
from feedrace.errors import ConfigError, DataError, FeedraceError, StateError
from feedrace.pipeline.options import PipelineOptions

N = 10


def config(**changes):
    return {
        "batch_size": 4,
        "source": {"use": "memory", "data": {"x": np.arange(N, dtype=np.float32)}, "shuffle": True},
        "sampler": {"use": "sequential", "num_epochs": 2},
        **changes,
    }


def flat(lists):
    return list(itertools.chain.from_iterable(lists))


def ids(steps):
    return [step.indices.tolist() for step in steps]


class Counting:
    """An indexed source without a base class, that fails or falls short where it should."""

    def __init__(self, n, fail_at=None, short_at=None):
        self.n, self.fail_at, self.short_at = n, fail_at, short_at

    def __len__(self):
        return self.n

    def element_spec(self):
        return {"x": jax.ShapeDtypeStruct((), np.int32)}

    def fetch(self, indices):
        if self.fail_at in indices:
            raise OSError("bad disk")
        if self.short_at in indices:
            indices = indices[:-1]
        return {"x": np.asarray(indices, np.int32)}


@pytest.fixture(params=[0, 2], ids=["prefetch=0", "prefetch=2"])
def prefetch(request):
    return request.param


def once(test):
    """Mark a test that reads no batch, or that says itself how: one way is enough."""
    test.once = True
    return test


def pytest_generate_tests(metafunc):
    """Run tests with a thread, without one, and with records that are on the device.

    Those that take `prefetch` choose the thread themselves.
    """
    ways = ["prefetched", "not prefetched", "on the device"]
    if "prefetch" in metafunc.fixturenames:
        ways.remove("not prefetched")
    if hasattr(metafunc.function, "once"):
        ways = ["on the device"]
    metafunc.parametrize("way", ways, indirect=True)


@pytest.fixture(autouse=True)
def way(request, monkeypatch):
    if request.param == "not prefetched":
        monkeypatch.setitem(PipelineOptions.__init__.__kwdefaults__, "prefetch", 0)
    if request.param != "on the device":
        monkeypatch.setattr("feedrace.pipeline.streams.holds_records", lambda source: False)


@pytest.fixture(autouse=True)
def no_thread_left():
    yield
    left = [t for t in threading.enumerate() if t.name == "feedrace-prefetch"]
    if left:
        gc.collect()
    for thread in left:
        thread.join(timeout=20)
        assert not thread.is_alive()


def test_batches_have_static_shapes_and_true_masks(prefetch):
    pipeline = build(config(prefetch=prefetch))
    spec = pipeline.batch_spec()
    seen = []
    for batch in pipeline:
        assert {k: (v.shape, v.dtype) for k, v in batch.items()} == {
            k: (v.shape, v.dtype) for k, v in spec.items()
        }
        assert all(isinstance(v, jax.Array) for v in batch.values())
        assert not batch["x"][~batch["valid_mask"]].any()
        seen += batch["x"][batch["valid_mask"]].tolist()
    assert seen == [*range(N), *range(N)]


def test_drop_remainder_drops_the_short_batch_of_each_epoch():
    steps = list(build(config(drop_remainder=True)).steps())
    assert ids(steps) == [[0, 1, 2, 3], [4, 5, 6, 7]] * 2


def test_without_a_sampler_each_pass_is_one_newly_shuffled_epoch(prefetch):
    pipeline = build(config(sampler=None, prefetch=prefetch))
    passes = [flat(ids(pipeline.steps())) for _ in range(3)]
    assert all(sorted(p) == list(range(N)) for p in passes)
    assert len(set(map(tuple, passes))) == 3


def test_steps_say_where_they_stand():
    steps = list(build(config()).steps())
    assert [s.stream for s in steps] == ["train"] * 6
    assert [s.epoch for s in steps] == [0, 0, 0, 1, 1, 1]
    assert [s.update for s in steps] == [1, 2, 3, 4, 5, 6]
    assert [s.sample for s in steps] == [4, 8, 10, 14, 18, 20]
    assert [s.first for s in steps] == [True, False, False] * 2
    assert [s.last for s in steps] == [False, False, True] * 2


@pytest.mark.slow
@pytest.mark.parametrize("sampler", [None, {"use": "sequential", "num_epochs": 2}])
def test_state_at_every_step_continues_exactly(prefetch, sampler):
    unbroken = build(config(sampler=sampler, prefetch=prefetch))
    passes, states = [], []
    for p in range(3):
        with contextlib.closing(unbroken.steps()) as steps:
            documents = [json.dumps(unbroken.get_state())]
            passes.append([])
            for step in steps:
                passes[p].append(step.indices.tolist())
                documents.append(json.dumps(unbroken.get_state()))
        states.append(documents)
    for p, expected in enumerate(passes):
        for taken, document in enumerate(states[p]):
            assert len(document) < 2048
            resumed = build(config(sampler=sampler, prefetch=prefetch))
            resumed.set_state(json.loads(document))
            assert ids(resumed.steps()) == expected[taken:], (p, taken)
            if p + 1 < len(passes):
                assert ids(resumed.steps()) == passes[p + 1]


def test_breaking_off_and_going_on_loses_and_repeats_nothing(prefetch):
    pipeline = build(config(prefetch=prefetch))
    seen = []
    for _ in range(9):
        for batch in pipeline:
            seen += batch["x"][batch["valid_mask"]].tolist()
            break
    assert seen == [*range(N)] * 3
    assert len(list(pipeline)) == 3  # what is left of the second pass


@pytest.mark.parametrize("sampler", [None, {"use": "sequential", "num_epochs": 2}])
def test_stopping_on_the_last_step_of_a_pass_leads_to_the_next(prefetch, sampler):
    pipeline = build(config(sampler=sampler, prefetch=prefetch))
    whole = build(config(sampler=sampler))
    length = whole.plans["train"].batches_per_pass
    for _ in range(3):
        with contextlib.closing(pipeline.steps()) as steps:
            assert ids(itertools.islice(steps, length)) == ids(whole.steps())


def test_state_does_not_depend_on_what_was_made_ahead():
    states = []
    for ahead in (0, 1, 5):
        pipeline = build(config(prefetch=ahead))
        steps = pipeline.steps()
        next(steps)
        states.append(pipeline.get_state())
        steps.close()
    assert states[0] == states[1] == states[2]


def test_a_newer_iteration_ends_the_older():
    pipeline = build(config())
    old = pipeline.steps()
    next(old)
    new = pipeline.steps()
    assert next(new).update == 2
    with pytest.raises(FeedraceError, match="out of date"):
        next(old)
    new.close()


def test_a_state_of_another_pipeline_is_refused_and_changes_nothing():
    other = build(config(batch_size=5))
    next(iter(other))
    pipeline = build(config())
    before = pipeline.get_state()
    with pytest.raises(StateError, match=r"train: \[5, 10\] -> \[4, 10\]"):
        pipeline.set_state(other.get_state())
    assert pipeline.get_state() == before
    pipeline.set_state(other.get_state(), ignore_fingerprint=True)
    assert pipeline.get_state()["counters"]["update"] == 1


def test_other_data_is_another_pipeline():
    changed = config()
    changed["source"] = {**changed["source"], "data": {"x": np.zeros(N, np.float32)}}
    with pytest.raises(StateError, match=r"source\.data"):
        build(changed).set_state(build(config()).get_state())


@once
def test_config_builds_an_equal_pipeline():
    given = config(
        seed=5,
        drop_remainder=True,
        stages=[{"use": "rescale", "field": "x", "scale": 0.5}, {"use": "select", "fields": ["x"]}],
    )
    pipeline = build(given)
    again = build(pipeline.config)
    assert again.config == pipeline.config
    assert again.get_state() == pipeline.get_state()
    assert ids(again.steps()) == ids(pipeline.steps())


@once
def test_a_seed_of_its_own_survives_the_round_trip_even_if_it_is_the_default():
    given = config(seed=7)
    given["source"] = {**given["source"], "seed": 42}
    del given["sampler"]
    pipeline = build(given)
    assert ids(build(pipeline.config).steps()) == ids(pipeline.steps())
    made = Pipeline(source=given["source"], batch_size=4, rngs=nnx.Rngs(7))
    assert build(made.config).get_state() == made.get_state()


@once
def test_a_large_seed_is_kept_whole():
    seeds = [3, 3 + 2**32, 3 + 2**62]
    pipelines = [build(config(seed=seed)) for seed in seeds]
    assert [p.config["seed"] for p in pipelines] == seeds
    assert len({json.dumps(p.get_state()["fingerprint"]["key"]) for p in pipelines}) == 3
    made = Pipeline(source=Counting(3), batch_size=2, rngs=nnx.Rngs(3))
    assert made.get_state()["fingerprint"]["key"] == [0, 3]


@once
def test_a_part_without_a_name_cannot_be_in_a_config():
    pipeline = Pipeline(source=create("source", "memory", data={"x": np.zeros(3)}), batch_size=2,
                        stages=[lambda batch: batch])  # fmt: skip
    with pytest.raises(FeedraceError, match=r"feedrace\.register"):
        _ = pipeline.config


def test_built_in_stages_do_what_they_say():
    data = {"x": np.array([[1, 2], [3, 4]], np.uint8), "y": np.array([0, 2])}
    pipeline = build(
        {
            "batch_size": 2,
            "source": {"use": "memory", "data": data},
            "stages": [
                {"use": "one-hot", "field": "y", "num_classes": 3},
                {"use": "cast", "field": "x", "dtype": "int32"},
                {"use": "rescale", "field": "x", "scale": 2.0, "offset": 1.0},
            ],
        }
    )
    [batch] = list(pipeline)
    assert batch["x"].tolist() == [[3.0, 5.0], [7.0, 9.0]]
    assert batch["y"].tolist() == [[1, 0, 0], [0, 0, 1]]
    assert pipeline.batch_spec()["x"].dtype == np.float32


def flipped(batch_size, start=0):
    data = {"x": np.arange(40, dtype=np.float32).reshape(20, 2)}
    pipeline = build(
        {
            "seed": 3,
            "batch_size": batch_size,
            "source": {"use": "memory", "data": data, "shuffle": True},
            "stages": [{"use": "flip", "field": "x", "axis": 0}],
        }
    )
    rows = []
    for _ in range(2):
        for step in pipeline.steps():
            values = np.asarray(step.batch["x"])[: len(step.indices)]
            rows += [(int(i), float(v[0])) for i, v in zip(step.indices, values, strict=True)]
    return rows


@pytest.mark.slow
def test_a_record_is_augmented_alike_whatever_the_batch_size():
    rows = flipped(20)
    assert rows == flipped(3) == flipped(7)
    first, second = dict(rows[:20]), dict(rows[20:])
    turned = [first[i] != 2 * i for i in range(20)]
    assert 2 < sum(turned) < 18
    assert turned != [second[i] != 2 * i for i in range(20)]


def test_two_stochastic_stages_draw_independently():
    rows = 200
    data = {"x": np.tile(np.arange(4.0).reshape(1, 2, 2), (rows, 1, 1))}
    flips = [{"use": "flip", "field": "x", "axis": axis} for axis in (0, 1)]
    source = {"use": "memory", "data": data}
    [batch] = build({"seed": 1, "batch_size": rows, "source": source, "stages": flips})
    corners = np.asarray(batch["x"][:, 0, 0], np.int32)  # 0 to 3: which flips were made
    counts = np.bincount(corners, minlength=4)
    assert min(counts) > 25, counts  # 50 each are expected, with a deviation of 6


@once
def test_a_stochastic_stage_needs_a_seed():
    with pytest.raises(
        ConfigError, match=r"stages\[0\]: .*Flip is stochastic, but the pipeline has no seed"
    ):
        build(config(stages=[{"use": "flip", "field": "x", "axis": 0}]))


class Scale(nnx.Module):
    def __init__(self, factor):
        self.factor = nnx.Param(jnp.float32(factor))

    def __call__(self, batch):
        return {**batch, "x": batch["x"] * self.factor[...]}


def test_a_module_may_be_a_stage_and_its_parameters_show_when_they_change():
    stage = Scale(2.0)
    source = create("source", "memory", data={"x": np.ones(4, np.float32)})
    pipeline = Pipeline(source=source, batch_size=2, stages=[stage], prefetch=0)
    batches = iter(pipeline)
    assert next(batches)["x"].tolist() == [2.0, 2.0]
    stage.factor.set_value(jnp.float32(5.0))
    assert next(batches)["x"].tolist() == [5.0, 5.0]
    assert list(batches) == []


def test_strings_pass_by_the_stages():
    data = {"x": np.zeros(3, np.float32), "name": np.array(["a", "b", "c"])}
    pipeline = build(
        {
            "batch_size": 2,
            "source": {"use": "memory", "data": data},
            "stages": [{"use": "rescale", "field": "x", "offset": 1.0}],
        }
    )
    batches = list(pipeline)
    assert [b["name"].tolist() for b in batches] == [["a", "b"], ["c", None]]
    assert batches[1]["x"].tolist() == [1.0, 1.0]
    assert pipeline.batch_spec()["name"].dtype == object


def test_select_keeps_and_drops_strings_too():
    data = {"x": np.zeros(3, np.float32), "name": np.array(["a", "b", "c"])}
    for fields in (["x"], ["name", "x"]):
        pipeline = build(
            {
                "batch_size": 2,
                "source": {"use": "memory", "data": data},
                "stages": [{"use": "select", "fields": fields}],
            }
        )
        [first, _] = list(pipeline)
        assert sorted(first) == sorted(pipeline.batch_spec()) == sorted([*fields, "valid_mask"])
    with pytest.raises(DataError, match="field 'name' is not an array on the device"):
        list(build({**pipeline.config, "stages": [{"use": "rescale", "field": "name"}]}))


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (lambda batch: None, "returned NoneType"),
        (lambda batch: {"x": batch["x"][:1]}, r"leading axis 4"),
        (create("stage", "rescale", field="z"), r"no field 'z'; the batch has valid_mask, x"),
    ],
)
def test_a_stage_that_returns_something_else_is_named(stage, message, prefetch):
    source = create("source", "memory", data={"x": np.zeros(8)})
    pipeline = Pipeline(source=source, batch_size=4, stages=[stage], prefetch=prefetch)
    with pytest.raises(DataError, match=message) as caught:
        list(pipeline)
    assert "update 1, records [0, 1, 2, 3]" in "".join(caught.value.__notes__)


def test_a_protocol_is_enough_for_a_source(prefetch):
    pipeline = Pipeline(source=Counting(5), batch_size=2, prefetch=prefetch)
    assert [b["x"].tolist() for b in pipeline] == [[0, 1], [2, 3], [4, 0]]


def test_an_error_comes_at_its_step_with_the_records(prefetch):
    pipeline = Pipeline(source=Counting(9, fail_at=5), batch_size=2, prefetch=prefetch)
    steps = pipeline.steps()
    assert [next(steps).update, next(steps).update] == [1, 2]
    with pytest.raises(OSError, match="bad disk") as caught:
        next(steps)
    assert "stream 'train', epoch 0, update 3, records [4, 5]" in caught.value.__notes__[0]
    assert pipeline.get_state()["counters"]["update"] == 2


def test_a_source_that_falls_short_is_refused():
    pipeline = Pipeline(source=Counting(4, short_at=3), batch_size=4)
    with pytest.raises(DataError, match="gave 3 records; 4 were asked for"):
        list(pipeline)


class Wrapper:
    """A batcher without a base class and without `collate`."""

    def process(self, elements, *, batch_size, drop_remainder=False):
        rows = np.array([e["x"] for e in elements] + [-1] * (batch_size - len(elements)))
        yield {"x": rows.astype(np.int32), "valid_mask": rows >= 0}

    def batch_spec(self, element_spec, *, batch_size):
        return {}


def test_a_protocol_is_enough_for_a_batcher():
    pipeline = Pipeline(source=Counting(3), batcher=Wrapper(), batch_size=2)
    assert [b["x"].tolist() for b in pipeline] == [[0, 1], [2, -1]]


@once
def test_what_cannot_be_a_source_is_refused():
    with pytest.raises(ConfigError, match=r"source: record 0: an element of type int needs 1 name"):
        Pipeline(source=[1, 2], batch_size=2)


@once
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": 5}, "stages: is one int"),
        ({"stages": {"use": "rescale", "field": "x"}}, "stages: is one dict"),
        ({"stages": [5]}, r"stages\[0\]: 5 is not a stage"),
        ({"stages": [None]}, r"stages\[0\]: None is not a stage"),
        ({"sampler": object()}, "sampler: .* is not a sampler: it lacks indices, __len__"),
        ({"batcher": dict}, "batcher: .* is not a batcher: it is the class dict"),
        ({"scheduler": object()}, "scheduler: .* is not a scheduler: it lacks steps"),
        ({"source": Counting}, "source: .* is not a source"),
        ({"rngs": 3}, "rngs: 3 is not an nnx.Rngs"),
        ({"rngs": nnx.Rngs(params=0)}, r"(?s)rngs: .* with a default stream"),
        ({"drop_remainder": "yes"}, "drop_remainder: expected 'bool', got 'str'"),
        ({"prefetch": -1}, "prefetch: -1 is not an int of 0 or more"),
        ({"batch_size": 0}, "batch_size: 0 is not an int of 1 or more"),
        ({"batch_size": [1]}, "batch_size: expected 'int', got 'list'"),
        ({"batch_size": {"a": 1}}, "batch_size: expected 'int', got 'dict'"),
        ({"batch_size": None}, "batch_size: expected 'int', got 'None'"),
        ({"seed": "1"}, r"seed: expected 'int \| None', got 'str'"),
    ],
)
def test_a_wrong_part_is_named_with_its_path(changes, message):
    with pytest.raises(ConfigError, match=message):
        Pipeline(**{"source": Counting(5), "batch_size": 2, **changes})


@pytest.mark.parametrize(
    "counters",
    [
        {"pass": 0, "update": 10**9},
        {"pass": 3, "update": 0},
        {"pass": 0, "more": 1},
        {"pass": 0, "callback": 0, "batch": 1},
    ],
)
def test_counters_that_no_step_leads_to_are_refused(counters):
    pipeline = build(config())
    document = {**pipeline.get_state(), "counters": counters}
    with pytest.raises(StateError, match="not a place in a schedule of 6 updates"):
        pipeline.set_state(document)
    assert ids(pipeline.steps())[0] == [0, 1, 2, 3]


@once
def test_what_changes_the_order_changes_the_fingerprint():
    pipeline = build(config(sampler=None))
    document = pipeline.get_state()
    source = pipeline.components()["source"][1]
    source.set_random_order(False)
    with pytest.raises(StateError, match=r"source\.shuffle: true -> absent"):
        pipeline.set_state(document)
    assert build(pipeline.config).components()["source"][1].is_random_order is False
    source.set_random_order(True)
    source.reset(seed=5)
    with pytest.raises(StateError, match=r"source\.seed"):
        pipeline.set_state(document)


@once
def test_the_state_of_parts_without_names_is_the_same_in_every_process():
    class Config:
        pass

    class Own:
        config = Config()

        def indices(self, start, stop):
            return np.arange(start, stop) % 5

        def __len__(self):
            return 5

    def make():
        return Pipeline(source=Counting(5), sampler=Own(), batch_size=2, stages=[lambda b: b])

    text = json.dumps(make().get_state())
    assert text == json.dumps(make().get_state())
    assert " at 0x" not in text


@once
def test_a_factory_is_found_again_by_the_object_it_made():
    from feedrace import register, unregister

    component = register("source", "counting", lambda: Counting(4))
    try:
        pipeline = build({"batch_size": 2, "source": {"use": "counting"}})
        assert pipeline.config["source"] == {"use": "counting"}
    finally:
        unregister(component)


@once
def test_a_sampler_of_more_records_than_the_source_has_is_refused():
    with pytest.raises(ConfigError, match=r"sampler\.num_records: 11 is more than the 10"):
        build(config(sampler={"use": "sequential", "num_records": 11}))


def test_a_sampler_hears_of_each_epoch_once():
    from feedrace.plugin import SamplerConfig, SamplerModule

    heard = []

    class Listening(SamplerModule):
        def indices(self, start, stop):
            return np.arange(start, stop) % self.records_per_epoch

        def epoch_completed(self, epoch):
            heard.append(epoch)

    sampler = Listening(SamplerConfig(num_records=5))
    pipeline = Pipeline(source=Counting(5), sampler=sampler, batch_size=2, drop_remainder=True)
    list(pipeline)
    list(pipeline)
    assert heard == [0, 1]


def test_a_sampler_that_gives_too_few_indices_is_named():
    class Few:
        def indices(self, start, stop):
            return np.arange(start, stop - 1)

        def __len__(self):
            return 8

    with pytest.raises(ConfigError, match=r"sampler: Few of stream 'train' gave indices of shape"):
        Pipeline(source=Counting(8), sampler=Few(), batch_size=4)


@once
def test_a_sampler_without_indices_is_refused_when_the_pipeline_is_made():
    from feedrace.plugin import SamplerConfig, SamplerModule

    class Unfinished(SamplerModule):
        pass

    sampler = Unfinished(SamplerConfig(num_records=5))
    with pytest.raises(ConfigError, match="sampler: Unfinished must define indices"):
        Pipeline(source=Counting(5), sampler=sampler, batch_size=2)


def test_iterators_are_context_managers():
    pipeline = build(config())
    with pipeline.steps() as steps:
        assert next(steps).update == 1
    with iter(pipeline) as batches:
        assert next(batches)["x"].tolist() == [4, 5, 6, 7]
    assert list(batches) == []


@once
def test_problems_of_several_parts_come_in_one_error():
    with pytest.raises(ConfigError) as caught:
        Pipeline(source=Counting(5), stages=[3, {"use": "rescal"}], batch_size=0, prefetsh=2)
    assert sorted(p.path for p in caught.value.problems) == [
        "batch_size",
        "prefetsh",
        "stages[0]",
        "stages[1].use",
    ]

    class Drawing:
        stochastic = True

        def __call__(self, batch, keys):
            return batch

    with pytest.raises(ConfigError) as caught:  # what only the parts themselves can show
        Pipeline(
            source=Counting(5),
            sampler={"use": "sequential", "num_records": 9},
            stages=[Counting, Drawing()],
            batch_size=2,
        )
    assert [p.path for p in caught.value.problems] == [
        "stages[0]",
        "stages[1]",
        "sampler.num_records",
    ]


def test_a_callback_that_raises_after_the_last_step_does_not_make_a_pass_empty():
    from feedrace.plugin import SamplerConfig, SamplerModule

    class Raising(SamplerModule):
        def indices(self, start, stop):
            return np.arange(start, stop) % self.records_per_epoch

        def epoch_completed(self, epoch):
            if epoch == 0:
                raise RuntimeError("its own error")

    sampler = Raising(SamplerConfig(num_records=5))
    pipeline = Pipeline(source=Counting(5), sampler=sampler, batch_size=2)
    with pytest.raises(RuntimeError, match="its own error"):
        list(pipeline)
    assert [len(list(pipeline)) for _ in range(2)] == [3, 3]


def test_leaving_the_loop_in_any_way_leaves_no_thread():
    for _ in range(20):
        pipeline = build(config())
        for _ in pipeline:
            break
        with pytest.raises(ZeroDivisionError):
            for _ in pipeline:
                1 / 0  # noqa: B018
        next(iter(pipeline))


def test_reset_goes_back_to_the_first_batch():
    pipeline = build(config())
    list(pipeline)
    pipeline.reset()
    assert ids(pipeline.steps())[0] == [0, 1, 2, 3]


@pytest.mark.slow
def test_a_thousand_iterators_leave_no_thread_and_no_memory():
    import tracemalloc

    pipeline = build(config())
    counting = Pipeline(source=Counting(40), batch_size=4)
    before = threading.active_count()

    def use(times):
        for _ in range(times):
            next(iter(pipeline))
            next(iter(counting))

    use(50)
    gc.collect()
    tracemalloc.start()
    use(450)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert grown < 200_000
    for thread in threading.enumerate():
        if thread.name == "feedrace-prefetch":
            thread.join(timeout=20)
    assert threading.active_count() <= before


@once
@pytest.mark.parametrize("seed", [0, 1, 2**40 + 7])
def test_rngs_seed_the_components_as_a_seed_does(seed):
    source = {"use": "memory", "data": {"x": np.arange(100)}, "shuffle": True}
    order = ids(Pipeline(source=source, batch_size=10, seed=seed).steps())
    if seed < 2**32:
        assert ids(Pipeline(source=source, batch_size=10, rngs=nnx.Rngs(seed)).steps()) == order
    assert ids(build({"source": source, "batch_size": 10, "seed": seed}).steps()) == order
    other = Pipeline(source=source, batch_size=10, rngs=nnx.Rngs(seed % 7 + 3))
    assert ids(other.steps()) != order
    with pytest.raises(ConfigError, match="seed: given with rngs"):
        Pipeline(source=source, batch_size=10, seed=1, rngs=nnx.Rngs(0))


def test_step_goes_on_after_a_state_at_the_very_end_of_a_pass():
    def make():
        return Pipeline(source=Counting(8), batch_size=4)

    pipeline = make()
    pipeline.step(), pipeline.step()
    resumed = make()
    resumed.set_state(pipeline.get_state())
    expected = np.asarray(pipeline.step()["x"]).tolist()
    assert np.asarray(resumed.step()["x"]).tolist() == expected == [0, 1, 2, 3]


@once
def test_the_signature_shows_the_options_and_help_describes_them():
    import inspect

    parameters = inspect.signature(Pipeline).parameters
    assert list(parameters)[:3] == ["source", "batch_size", "stages"]
    assert parameters["drop_remainder"].default is False
    assert "rngs" in parameters


@once
def test_a_field_called_as_the_mask_is_refused_before_a_record_is_read():
    source = create("source", "memory", data={"valid_mask": np.ones(4), "x": np.arange(4)})
    with pytest.raises(ConfigError, match=r"^source: a field is called 'valid_mask'.*field$"):
        Pipeline(source=source, batch_size=2)


@once
def test_a_step_that_was_made_before_another_thread_set_a_state_is_not_handed_out():
    class Waiting(Counting):
        def fetch(self, indices):
            if 4 in indices:
                reading.set()
                assert moved.wait(timeout=30)
            return super().fetch(indices)

    reading, moved, caught = threading.Event(), threading.Event(), []
    pipeline = Pipeline(source=Waiting(8), batch_size=4, prefetch=0)
    start = pipeline.get_state()
    steps = pipeline.steps()
    next(steps)

    def take():
        try:
            next(steps)
        except FeedraceError as error:
            caught.append(str(error))

    thread = threading.Thread(target=take)
    thread.start()
    assert reading.wait(timeout=30)
    pipeline.set_state(start)
    moved.set()
    thread.join()
    assert caught and "out of date" in caught[0]
    assert pipeline.get_state() == start


def test_a_sampler_whose_records_per_epoch_is_none_has_one_epoch():
    class Plain:
        records_per_epoch = None

        def __len__(self):
            return 6

        def indices(self, start, stop):
            return np.arange(start, stop) % 6

    pipeline = Pipeline(source=Counting(6), sampler=Plain(), batch_size=4)
    assert ids(pipeline.steps()) == [[0, 1, 2, 3], [4, 5]]


@once
def test_what_a_sampler_of_a_callback_refuses_is_reported_at_its_own_path():
    class Picky:
        def __len__(self):
            return 8

        def indices(self, start, stop):
            return np.arange(start, stop) % 8

        def attach(self, source):
            raise DataError("it has no labels")

    class Callback:
        stream, source, sampler = "test", Counting(8), Picky()
        batcher = stages = batch_size = None

    class Two:
        callbacks = (Callback(),)

        def steps(self, state, plans):
            return iter(())

    with pytest.raises(ConfigError) as caught:
        Pipeline(source=Counting(8), batch_size=4, scheduler=Two())
    assert [p.path for p in caught.value.problems] == ["scheduler.callbacks[0].sampler"]


@once
@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("shuffle", "a sampler shuffles"),
        ("drop_last", "here it is drop_remainder"),
        ("num_workers", "here it is workers"),
        ("num_epochs", "a sampler counts epochs"),
    ],
)
def test_options_of_other_loaders_are_answered_with_ours(option, hint):
    with pytest.raises(ConfigError, match=f"{option}: unknown key; {hint}"):
        Pipeline(source=create("source", "memory", data={"x": [1]}), batch_size=1, **{option: 2})


@once
def test_its_length_is_the_batches_of_a_pass_if_they_are_known():
    source = create("source", "memory", data={"x": np.arange(10)})
    assert len(Pipeline(source=source, batch_size=4)) == 3
    endless = create("sampler", "sequential", num_records=10, num_epochs=-1)
    pipeline = Pipeline(source=source, sampler=endless, batch_size=4)
    with pytest.raises(TypeError, match="not known beforehand"):
        len(pipeline)
    assert pipeline


@once
def test_its_repr_is_a_few_lines_without_values():
    source = create("source", "memory", data={"x": np.arange(100_000)})
    pipeline = Pipeline(source=source, batch_size=64, seed=5, stages=[lambda b: b])
    shown = repr(pipeline)
    assert str(pipeline) == shown
    assert shown.splitlines() == [
        "Pipeline(batch_size=64, seed=5)",
        "  train: 100000 records, 1563 batches of 64 an epoch, epochs in a pass: 1; MemorySource, "
        "1 stage",
    ]


def test_a_pickled_pipeline_goes_on_or_says_what_to_keep():
    source = {"use": "memory", "data": {"x": np.arange(10)}, "shuffle": True}
    pipeline = Pipeline(source=source, batch_size=4, seed=1)
    next(iter(pipeline))
    again = pickle.loads(pickle.dumps(pipeline))
    expected = [batch["x"].tolist() for batch in pipeline]
    assert [batch["x"].tolist() for batch in again] == expected
    with pytest.raises(TypeError, match=r"keep its get_state\(\)"):
        pickle.dumps(Pipeline(source=source, batch_size=4, stages=[lambda batch: batch]))


@pytest.mark.parametrize("place", ["record", "host", "device"])
def test_an_error_in_a_stage_names_its_number(place):
    def fails(batch):
        raise RuntimeError("no")

    fails.on = place
    first = create("source", "memory", data={"x": np.arange(4)})
    pipeline = Pipeline(source=first, batch_size=2, stages=[fails])
    with pytest.raises(RuntimeError) as caught:
        list(pipeline)
    notes = "\n".join(caught.value.__notes__)
    assert "stages[0]" in notes or "record stage" in notes
    assert "fails" in notes
    assert "records [0, 1]" in notes
