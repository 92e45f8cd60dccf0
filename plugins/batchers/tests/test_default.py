import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedrace import Pipeline, build, create
from feedrace.errors import ConfigError, DataError, StateError, UnknownComponentError
from feedrace_batchers import DefaultBatcher, DefaultBatcherConfig


def batcher():
    return DefaultBatcher(DefaultBatcherConfig())


def elements(count):
    return [{"x": np.full((2, 3), i, np.uint8), "in": {"y": np.int32(i)}} for i in range(count)]


@given(count=st.integers(0, 20), size=st.integers(1, 8), drop=st.booleans())
def test_the_valid_parts_give_back_the_input_in_order(count, size, drop):
    made = batcher()
    batches = list(made.process(elements(count), batch_size=size, drop_remainder=drop))
    element = {"x": jax.ShapeDtypeStruct((2, 3), np.uint8),
               "in": {"y": jax.ShapeDtypeStruct((), np.int32)}}  # fmt: skip
    spec = made.batch_spec(element, batch_size=size)
    seen = []
    for batch in batches:
        shapes = jax.tree.map(lambda v: jax.ShapeDtypeStruct(v.shape, v.dtype), batch)
        assert shapes == spec
        seen += batch["in"]["y"][batch["valid_mask"]].tolist()
        assert (batch["x"][:, 0, 0] == batch["in"]["y"]).all()
    kept = count - count % size if drop else count
    assert seen == list(range(kept))
    assert made.get_operation_stats()["skipped_count"] == count - kept


leaves = st.one_of(
    st.just(np.uint8),
    st.just(np.float64),
    st.just(np.int64),
    st.just(jax.numpy.float32),
    st.just(str),
)
shapes = st.lists(st.integers(0, 3), max_size=2).map(tuple)
trees = st.recursive(
    st.tuples(leaves, shapes),
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=3),
        st.lists(inner, min_size=1, max_size=3),
    ),
    max_leaves=5,
).filter(lambda tree: not isinstance(tree, tuple))


def element_of(tree, number):
    """Return an element of this structure, every value of it made from `number`."""
    if isinstance(tree, dict):
        return {key: element_of(part, number) for key, part in tree.items()}
    if isinstance(tree, list):
        return [element_of(part, number) for part in tree]
    kind, shape = tree
    if kind is str:
        return np.full(shape, f"s{number}", object) if shape else f"s{number}"
    if kind is jax.numpy.float32:
        return jax.numpy.full(shape, number, kind)
    return np.full(shape, number, kind)


def element_spec_of(tree):
    element = element_of(tree, 0)
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), getattr(leaf, "dtype", object)), element
    )


@given(tree=trees, count=st.integers(0, 5), size=st.integers(1, 3), drop=st.booleans())
def test_pytrees_of_any_nesting_come_back(tree, count, size, drop):
    given_ = [element_of(tree, i) for i in range(count)]
    spec = batcher().batch_spec(element_spec_of(tree), batch_size=size)
    back = []
    for batch in batcher().process(given_, batch_size=size, drop_remainder=drop):
        assert jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch) == spec
        mask = batch.pop("valid_mask")
        rest = batch if isinstance(tree, dict) else batch["data"]
        for row in np.flatnonzero(mask):
            back.append(
                jax.tree.map(lambda leaf, row=row: np.asarray(np.asarray(leaf)[row]).tolist(), rest)
            )
    kept = given_[: count - count % size] if drop else given_
    assert back == [jax.tree.map(lambda leaf: np.asarray(leaf).tolist(), e) for e in kept]


@given(count=st.integers(1, 20), size=st.integers(1, 8))
def test_a_mask_weighted_mean_over_an_epoch_is_the_mean_over_the_records(count, size):
    values = np.random.default_rng(count).normal(size=count).astype(np.float32)
    batches = list(batcher().process([{"v": v} for v in values], batch_size=size))
    total = sum((b["v"] * b["valid_mask"]).sum(dtype=float) for b in batches)
    weight = sum(b["valid_mask"].sum() for b in batches)
    assert total / weight == pytest.approx(values.mean(dtype=float), abs=1e-6)


def test_a_whole_batch_of_a_source_is_passed_on_as_it_is():
    records = {"x": np.zeros((4, 3)), "in": {"k": jax.random.split(jax.random.key(0), 4)}}
    batch = batcher().collate(records, batch_size=4)
    assert batch["x"] is records["x"]
    assert batch["in"]["k"] is records["in"]["k"]
    assert batch["valid_mask"].all()


def test_a_collate_function_takes_the_place_of_stacking():
    def longest(group):
        x = np.zeros((len(group), 4), np.int64)
        for row, element in zip(x, group, strict=True):
            row[: len(element["x"])] = element["x"]
        return {"x": x, "n": np.array([len(element["x"]) for element in group])}

    made = DefaultBatcher(DefaultBatcherConfig(), collate_fn=longest)
    ragged = [{"x": np.arange(n)} for n in (1, 4, 2)]
    batches = list(made.process(ragged, batch_size=2))
    with pytest.raises(NotImplementedError, match=r"'x' has the shape \(None,\), so"):
        made.batch_spec({"x": jax.ShapeDtypeStruct((None,), np.int32)}, batch_size=2)
    assert batches[1]["x"].tolist() == [[0, 1, 0, 0], [0, 0, 0, 0]]
    assert batches[1]["valid_mask"].tolist() == [True, False]
    source = create("source", "memory", data={"x": [e["x"] for e in ragged]})
    pipeline = Pipeline(source=source, batcher=made.copy(), batch_size=2)
    assert [b["x"].tolist() for b in pipeline] == [b["x"].tolist() for b in batches]
    with pytest.raises(NotImplementedError, match="has the shape"):
        pipeline.batch_spec()
    with pytest.raises(UnknownComponentError, match="has a collate_fn, which no config can hold"):
        _ = pipeline.config
    source = create("source", "memory", data={"x": np.ones((3, 2))})  # not on the device's own way
    pipeline = Pipeline(source=source, batcher=made, batch_size=2)
    spec = pipeline.batch_spec()
    for batch in pipeline:
        assert jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch) == spec
    assert [b["n"].tolist() for b in pipeline] == [[2, 2], [2, 0]]
    plain = Pipeline(source=source, batcher=batcher(), batch_size=2)
    with pytest.raises(StateError, match=r"batcher\.class"):
        plain.set_state(pipeline.get_state())

    def strict(group):
        assert all(element["x"].all() for element in group)
        return {"x": np.stack([element["x"] for element in group])}

    pipeline = Pipeline(
        source=source,
        batcher=DefaultBatcher(DefaultBatcherConfig(), collate_fn=strict),
        batch_size=2,
    )
    assert len(list(pipeline)) == 2
    with pytest.raises(NotImplementedError, match="on an element of zeros it failed"):
        pipeline.batch_spec()
    short = DefaultBatcher(DefaultBatcherConfig(), collate_fn=lambda group: np.zeros(1))
    with pytest.raises(DataError, match="leading axis 1 for 2 elements"):
        list(short.process([1, 2], batch_size=2))
    with pytest.raises(TypeError, match="collate_fn is 3"):
        DefaultBatcher(DefaultBatcherConfig(), collate_fn=3)


def test_records_that_differ_in_length_are_pointed_to_other_batchers():
    source = create("source", "memory", data={"x": [[1], [1, 2]]})
    with pytest.raises(ConfigError, match="batcher: the records of field 'x' differ in shape"):
        Pipeline(source=source, batcher=batcher(), batch_size=2)


def test_calling_it_is_processing():
    assert len(list(batcher()(elements(5), batch_size=2))) == 3
    assert list(batcher()([], batch_size=32)) == []


def test_cacheable_does_not_hand_out_a_used_up_iterator():
    with pytest.warns(UserWarning, match="no effect on a DefaultBatcher"):
        made = DefaultBatcher(DefaultBatcherConfig(cacheable=True))
    assert [len(list(made((1, 2, 3), batch_size=2))) for _ in range(2)] == [2, 2]


def test_elements_that_are_no_dicts_stand_under_data():
    [batch] = batcher().process(iter([1, 2, 3]), batch_size=4)
    assert batch["data"].tolist() == [1, 2, 3, 0]
    assert batch["data"].dtype == np.int32


def test_jax_leaves_keys_and_strings_are_kept():
    made = [{"k": jax.random.key(i), "j": jax.numpy.arange(2), "s": "t"} for i in range(3)]
    first, second = batcher().process(made, batch_size=2)
    assert jax.dtypes.issubdtype(first["k"].dtype, jax.dtypes.prng_key)
    assert isinstance(first["j"], jax.Array)
    assert second["s"].tolist() == ["t", None]
    assert second["k"].shape == (2,)


def test_stacked_keys_are_padded_with_zeros():
    keys = jax.random.split(jax.random.key(0), 3)
    batch = batcher().collate({"k": keys, "x": np.ones(3)}, batch_size=4)
    assert (batch["k"][:3] == keys).all()
    assert not jax.random.key_data(batch["k"][3]).any()
    assert batch["valid_mask"].tolist() == [True, True, True, False]


def test_a_state_taken_with_another_collate_function_is_refused():
    source = create("source", "memory", data={"x": np.arange(6.0)})

    def pipeline(factor):
        made = DefaultBatcher(
            DefaultBatcherConfig(),
            collate_fn=lambda group: {"x": np.stack([e["x"] * factor for e in group])},
        )
        return Pipeline(source=source, batcher=made, batch_size=2)

    first = pipeline(2)
    next(iter(first))
    pipeline(2).set_state(first.get_state())
    with pytest.raises(StateError, match=r"batcher\.data"):
        pipeline(3).set_state(first.get_state())


@pytest.mark.parametrize("size", [0, -1, 1.0, None, True])
def test_a_batch_size_that_is_no_positive_int_is_refused_at_once(size):
    with pytest.raises(ConfigError, match="batch_size"):
        batcher().process([], batch_size=size)
    with pytest.raises(ConfigError, match="batch_size"):
        batcher().batch_spec({}, batch_size=size)


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ({"x": np.zeros((2, 2), np.uint8), "in": {"y": np.int32(0)}}, r"element 3\['x'\]"),
        ({"x": np.zeros((2, 3), np.int8), "in": {"y": np.int32(0)}}, r"int8.*the first has.*uint8"),
        ({"x": np.zeros((2, 3), np.uint8)}, r"3 has no \['in'\]\['y'\], which the first has"),
        ({**elements(1)[0], "z": {"u": 1}}, r"element 3 has \['z'\]\['u'\], which the first l"),
        ({**elements(1)[0], "z": None}, "element 3 has the structure"),
        ({**elements(1)[0], 5: 1}, "element 3 has a field called 5"),
        (7, r"element 3 has no \['in'\]\['y'\], which"),
        ({"x": {"y": 1}, "in": {"y": np.int32(0)}}, r"element 3 has no \['x'\], which"),
        ({"x": None, "in": {"y": np.int32(0)}}, r"element 3 has no \['x'\], which"),
        ({"x": "text", "in": {"y": np.int32(0)}}, r"element 3\['x'\] is str\[\]; the first has"),
        ({"x": object(), "in": {"y": np.int32(0)}}, r"element 3\['x'\] is <object"),
    ],
)
def test_an_element_unlike_the_first_is_named(odd, message):
    with pytest.raises(DataError, match=message):
        list(batcher().process([*elements(3), odd], batch_size=2))


def test_an_integer_that_does_not_fit_is_refused():
    for wrong, message in (
        (2**40, r"element 1\['n'\]' holds 1099511627776, which does not fit int32|element 1"),
        (2**70, r"element 1\['n'\] is 1180591620717411303424, which fits no dtype"),
    ):
        with pytest.raises(DataError, match=message):
            list(batcher().process([{"n": 1}, {"n": wrong}], batch_size=2))
        with pytest.raises(DataError, match="element 0"):
            list(batcher().process([{"n": wrong}], batch_size=2))


@pytest.mark.parametrize("nothing", [{}, None, []])
def test_an_element_without_leaves_is_refused(nothing):
    with pytest.raises(DataError, match=r"element 0 is .*, which has no leaf to batch"):
        list(batcher().process([nothing], batch_size=2))


@pytest.mark.parametrize(
    "odd",
    [object(), np.zeros(2, [("a", "i4")]), np.array([1, "a"], object), np.datetime64("2026-11-20")],
)
def test_what_jax_has_not_is_refused(odd):
    with pytest.raises(DataError, match="element 0"):
        list(batcher().process([{"x": odd}], batch_size=2))


def test_a_jitted_step_is_compiled_once_an_epoch():
    step = jax.jit(lambda batch: (batch["x"].sum() * batch["valid_mask"]).sum())
    for batch in batcher().process(elements(11), batch_size=3):
        step(batch)
    assert step._cache_size() == 1


def test_a_field_called_like_the_mask_is_refused():
    with pytest.raises(DataError, match="'valid_mask'"):
        list(batcher().process([{"valid_mask": 1}], batch_size=1))


def test_it_works_by_name_in_a_pipeline():
    source = {"use": "memory", "data": {"x": np.arange(5)}}
    pipeline = build({"batch_size": 2, "source": source, "batcher": {"use": "default"}})
    assert isinstance(create("batcher", "default"), DefaultBatcher)
    assert [b["x"].tolist() for b in pipeline] == [[0, 1], [2, 3], [4, 0]]
    assert pipeline.config["batcher"] == {"use": "default"}


def to_the_longest(group):
    """Return the sequences padded to the longest of the group: no static shape."""
    length = max(len(element["x"]) for element in group)
    return {"x": np.array([[*element["x"], *[0] * (length - len(element["x"]))]
                           for element in group])}  # fmt: skip


def test_a_collate_function_of_no_static_shape_is_refused():
    made = DefaultBatcher(DefaultBatcherConfig(), collate_fn=to_the_longest)
    ragged = [np.arange(n) for n in (1, 2, 3, 4, 5)]
    batches = made.process([{"x": x} for x in ragged], batch_size=2)
    assert next(batches)["x"].shape == (2, 2)
    message = r"collate_fn gave field 'x' as int32\[4\] a row, and int32\[2\] before; .* one shape"
    with pytest.raises(DataError, match=message):
        next(batches)
    source = create("source", "memory", data={"x": ragged})
    pipeline = Pipeline(source=source, batcher=made, batch_size=2)
    with pytest.raises(DataError, match=message):
        list(pipeline)


def test_a_collate_function_that_gives_other_than_its_spec_says_is_refused():
    def short(group):
        kept = max(int(np.count_nonzero(element["x"])) for element in group)
        return {"x": np.stack([element["x"][:kept] for element in group])}

    made = DefaultBatcher(DefaultBatcherConfig(), collate_fn=short)
    spec = made.batch_spec({"x": jax.ShapeDtypeStruct((3,), np.float32)}, batch_size=2)
    assert spec["x"].shape == (2, 0)
    records = {"x": np.ones((2, 3), np.float32)}
    with pytest.raises(
        DataError, match=r"field 'x' as float32\[3\] a row, and float32\[0\] before"
    ):
        made.collate(records, batch_size=2)
    # Elements of another kind, such as those of a validation stream, have a spec of their own.
    assert made.collate({"x": np.ones((2, 4), np.float32)}, batch_size=2)["x"].shape == (2, 4)


def test_text_of_a_collate_function_is_padded_with_none():
    made = DefaultBatcher(
        DefaultBatcherConfig(), collate_fn=lambda group: {"s": np.array([e["s"] for e in group])}
    )
    texts = [{"s": s} for s in ("a", "bcd", "e")]
    batches = list(made.process(texts, batch_size=2))
    assert [b["s"].tolist() for b in batches] == [["a", "bcd"], ["e", None]]
    spec = made.batch_spec({"s": jax.ShapeDtypeStruct((), object)}, batch_size=2)
    for batch in batches:
        assert jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch) == spec


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ({0: 1, 1: 2}, "element 0 has a field called 0, which cannot be sorted .*; call it '0'"),
        (
            {"x": np.ma.array([1, 2], mask=[0, 1])},
            r"element 0\['x'\] is a masked array, whose",
        ),
        (
            {"x": np.zeros((1, 2)).view(np.matrix)},
            r"element 0\['x'\] is a np.matrix; make it an array",
        ),
    ],
)
def test_what_would_not_survive_stacking_is_refused(odd, message):
    with pytest.raises(DataError, match=message):
        list(batcher().process([odd], batch_size=1))
    collated = DefaultBatcher(
        DefaultBatcherConfig(),
        collate_fn=lambda group: (
            jax.tree.map(lambda leaf: np.expand_dims(leaf, 0), group[0])
            if 0 in group[0]
            else {"x": group[0]["x"][None] if np.ma.isMA(group[0]["x"]) else group[0]["x"]}
        ),
    )
    with pytest.raises(DataError, match="collate_fn gave"):
        list(collated.process([odd], batch_size=1))


def test_field_names_that_are_no_strings_are_refused_everywhere():
    spec = {0: jax.ShapeDtypeStruct((), np.int32)}
    with pytest.raises(DataError, match="a field called 0"):
        batcher().batch_spec(spec, batch_size=2)
    with pytest.raises(DataError, match="a field called 0"):
        batcher().collate({0: np.ones(2)}, batch_size=2)
