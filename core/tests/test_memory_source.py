import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import feedrace
from feedrace import Pipeline, create
from feedrace.builtin.memory import MemorySource
from feedrace.builtin.records import RecordsSource
from feedrace.errors import ConfigError, DataError, FeedraceError, StateError

IMAGES = np.arange(7 * 4, dtype=np.uint8).reshape(7, 2, 2)
LABELS = np.arange(7, dtype=np.int64)


def source(**config):
    return create("source", "memory", data={"image": IMAGES, "label": LABELS}, **config)


def test_specs_say_what_arrives():
    made = source()
    spec = made.element_spec()
    assert (spec["image"].shape, spec["image"].dtype) == ((2, 2), np.uint8)
    assert (spec["label"].shape, spec["label"].dtype) == ((), np.int32)
    batch = made.fetch([3, 0])
    assert isinstance(batch["image"], jax.Array)
    assert (batch["image"] == IMAGES[[3, 0]]).all()
    assert batch["label"].dtype == np.int32
    assert batch["label"].tolist() == [3, 0]
    assert made.length == len(made) == 7


def test_iteration_is_one_epoch_and_resumes():
    made = source()
    elements = iter(made)
    assert [int(next(elements)["label"]) for _ in range(3)] == [0, 1, 2]
    twin = source()
    twin.set_state(made.get_state())
    elements.close()
    assert [int(e["label"]) for e in twin] == [3, 4, 5, 6]
    assert twin.epoch.get_value() == 1
    assert [int(e["label"]) for e in twin] == list(range(7))


def test_shuffle_is_a_new_permutation_each_epoch():
    made = source(shuffle=True, seed=3)
    first, second = ([int(e["label"]) for e in made] for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(7))
    assert first != second
    made.reset()
    assert [int(e["label"]) for e in made] == first
    made.reset(seed=4)
    assert [int(e["label"]) for e in made] != first
    made.set_random_order(False)
    assert not made.is_random_order
    assert [int(e["label"]) for e in made] == list(range(7))


def test_stopping_on_the_last_record_leads_to_the_next_epoch():
    made = source()
    for _ in range(3):
        assert [int(e["label"]) for e in itertools.islice(made, 7)] == list(range(7))
    twin = source()
    twin.set_state(made.get_state())
    assert [int(e["label"]) for e in twin] == []  # nothing was left of that epoch
    assert len(list(twin)) == 7


def test_fields_may_be_nested():
    made = create("source", "memory", data={"a": {"b": [1, 2], "s": ["x", "y"]}, "c": [3, 4]})
    batch = made.fetch([1])
    assert (batch["a"]["b"].tolist(), batch["a"]["s"].tolist(), batch["c"].tolist()) == (
        [2],
        ["y"],
        [4],
    )
    assert [int(e["a"]["b"]) for e in made] == [1, 2]


def test_a_load_that_fails_leaves_nothing_half_loaded():
    from feedrace.builtin.memory import ArraySource
    from feedrace.plugin import StructuralConfig

    class Failing(ArraySource):
        length = 2

        def load(self):
            return {"good": [1, 2], "bad": [0, 2**40]}

    made = Failing(StructuralConfig())
    twin = made.clone()
    for each in (made, twin, made):
        with pytest.raises(DataError, match="'bad' holds"):
            each.fetch([0])


def test_a_source_and_its_clones_load_once():
    from feedrace.builtin.memory import ArraySource
    from feedrace.plugin import StructuralConfig

    class Counting(ArraySource):
        length = 2

        def load(self):
            loads.append(1)
            return {"x": [1, 2], "s": ["a", "b"]}

    loads = []
    made = Counting(StructuralConfig())
    twin = made.clone()
    for each in (made, twin, made.clone(), twin.copy()):
        assert (each.fetch([1])["x"].tolist(), each.column("s").tolist()) == ([2], ["a", "b"])
    assert len(loads) == 1


def test_get_batch_goes_on_into_the_next_epoch():
    made = source(shuffle=True)
    batches = [made.get_batch(5)["label"] for _ in range(7)]
    labels = np.concatenate(batches).reshape(5, 7)
    assert (np.sort(labels) == np.arange(7)).all()
    assert (made.epoch.get_value(), made.index.get_value()) == (5, 0)


def test_get_batch_with_a_key_moves_nothing():
    made = source()
    key = jax.random.key(0)
    drawn = made.get_batch(7, key=key)["label"]
    assert sorted(drawn.tolist()) == list(range(7))
    assert (drawn == made.get_batch(7, key=key)["label"]).all()
    assert made.index.get_value() == 0


def test_get_batch_at_is_traceable_and_permutes_whole():
    made = source(shuffle=True)
    key = jax.random.key(1)
    jitted = jax.jit(lambda start: made.get_batch_at(start, 3, key)["label"])
    order = np.concatenate([jitted(jnp.int32(s)) for s in (0, 3)] + [jitted(jnp.int32(6))[:1]])
    assert sorted(order.tolist()) == list(range(7))

    def body(start, _):
        return start + 3, made.get_batch_at(start, 3, key)["label"]

    _, scanned = jax.lax.scan(body, jnp.int32(0), length=2)
    assert scanned.reshape(-1).tolist() == order[:6].tolist()
    with pytest.raises(ValueError, match="needs a key"):
        made.get_batch_at(0, 3)


def test_a_source_may_be_an_argument_of_a_traced_function():
    made = create("source", "memory", data={"x": [5, 6, 7], "s": ["a", "b", "c"]})
    batch = nnx.jit(lambda module, start: module.get_batch_at(start, 2))(made, 1)
    assert batch["x"].tolist() == [6, 7]
    made.set_random_order(True)
    assert len({int(e["x"]) for e in made}) == 3


def test_a_state_of_no_place_is_refused():
    made = source()
    for change in ({"index": 8}, {"epoch": -1}, {"shuffle": 1}, {"seed": -5}):
        with pytest.raises(StateError):
            made.set_state({**made.get_state(), **change})
    with pytest.raises(TypeError, match="is a dict"):
        made.set_state([])
    twin = source()
    twin.set_state({**made.get_state(), "shuffle": True, "seed": 9})
    assert (twin.config.shuffle, twin.config.seed) == (True, 9)


def test_get_batch_at_wraps_in_sequential_order():
    assert source().get_batch_at(5, 4)["label"].tolist() == [5, 6, 0, 1]


def test_strings_stay_on_the_host():
    made = create("source", "memory", data={"text": np.array(["a", "b"]), "x": np.zeros(2)})
    batch = made.fetch([1, 0])
    assert batch["text"].tolist() == ["b", "a"]
    assert batch["text"].dtype == object
    assert batch["x"].dtype == np.float32


def test_an_integer_that_does_not_fit_is_refused():
    with pytest.raises(DataError, match=f"'label' holds {2**40 + 5}, which does not fit int32"):
        create("source", "memory", data={"label": np.array([0, 2**40 + 5])})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "no fields"),
        ({"x": np.zeros((0, 3))}, "no records"),
        ({"x": np.zeros(3), "y": np.zeros(4)}, "one leading axis"),
        ({"x": np.float32(3)}, "'x' is a single value"),
        ({"x": [[1], [[1], [2]]]}, r"\(entry 1\), of int32 and rank 2"),
        ({"x": [[1], [1, "a"]]}, r"'x\[1\]' holds 1 \(entry 0\), which is neither"),
        ({"x": [["a"], [1, 2]]}, r"\(entry 1\), of int32; those before it are of object"),
        (
            {"x": [[1], [2**40, 1]]},
            r"^field 'x\[1\]' holds 1099511627776, which does not fit int32",
        ),
        ({"x": [[1], [[1], [1, 2]]]}, r"\(entry 1\), which is not an array"),
        ({"x": {"y": 1}}, "'x.y' is a single value"),
        ({"x": [2**70]}, r"neither a number that fits nor a string"),
        ({"x": np.array(["2020-01-01"], "M8[D]")}, "datetime64"),
    ],
)
def test_data_that_is_no_table_of_records_is_refused(data, message):
    with pytest.raises(DataError, match=message):
        create("source", "memory", data=data)


def test_a_record_that_does_not_exist_is_named():
    with pytest.raises(DataError, match="no record 7; records go from 0 to 6"):
        source().fetch([0, 7])


def test_a_batch_size_of_zero_is_refused():
    with pytest.raises(ConfigError, match="batch_size"):
        source().get_batch(0)


def test_a_clone_is_independent():
    made = source()
    made.get_batch(3)
    twin = made.clone()
    twin.get_batch(2)
    assert (made.index.get_value(), twin.index.get_value()) == (3, 5)
    assert made.copy().index.get_value() == 3


def test_records_of_different_lengths_stay_on_the_host_one_array_each():
    source = create("source", "memory", data={"x": [[1, 2, 3], [], [4]], "y": [0, 1, 2]})
    assert source.element_spec()["x"].shape == (None,)
    assert source.element_spec()["x"].dtype == np.int32
    fetched = source.fetch(np.array([2, 0]))["x"]
    assert [entry.tolist() for entry in fetched] == [[4], [1, 2, 3]]
    assert [record["x"].tolist() for record in source] == [[1, 2, 3], [], [4]]


def test_other_ragged_records_are_other_data():
    lists = [[1, 2], [3]], [[1], [2, 3]], [[1, 2], [4]]
    sources = [create("source", "memory", data={"x": rows}) for rows in lists]
    assert len({source.identity() for source in sources}) == 3


def test_a_batch_of_different_lengths_needs_a_batcher_that_pads():
    source = create("source", "memory", data={"x": [[1, 2, 3], [4]]})
    pipeline = Pipeline(source=source, batch_size=2)
    with pytest.raises(DataError, match="'x' differ in shape; use a batcher"):
        pipeline.batch_spec()
    with pytest.raises(DataError, match="'x' differ in shape; use a batcher"):
        next(iter(pipeline))


def test_other_byte_orders_keys_and_small_floats_arrive():
    data = {
        "big": np.arange(4, dtype=">i4"),
        "key": jax.random.split(jax.random.key(0), 4),
        "half": [np.ones(n, jnp.bfloat16) for n in (1, 2, 3, 1)],
    }
    source = create("source", "memory", data=data)
    assert source.element_spec()["big"].dtype == np.dtype("int32")
    assert source.element_spec()["half"] == jax.ShapeDtypeStruct((None,), jnp.bfloat16)
    assert source.fetch(np.array([2]))["big"].tolist() == [2]
    other = create("source", "memory", data={**data, "key": jax.random.split(jax.random.key(1), 4)})
    assert source.identity() != other.identity()


def test_values_that_would_change_are_refused():
    masked = np.ma.array(np.arange(3), mask=[0, 1, 0])
    for wrong, message in (
        (masked, "'x' is a masked array"),
        ([b"a", "b"], r"'x' holds 'b' \(entry 1\), among entries that are bytes"),
        (np.array(["a", b"b"], object), r"'x' holds b'b' \(entry 1\), among entries that are str"),
        ([1, "a"], r"'x' holds 1 \(entry 0\), which is neither a number that fits nor a string"),
        ([[2**24 + 1], [0.5, 1.5]], r"'x' holds \[16777217\] \(entry 0\), which float32 rounds"),
        ({"y": {3: [1, 2]}}, "keys that are not strings"),
    ):
        with pytest.raises((DataError, ConfigError), match=message):
            create("source", "memory", data={"x": wrong})


def test_a_tensor_that_numpy_cannot_read_is_named():
    class Tensor:
        dtype = "bfloat16 of another library"
        shape = (2,)

        def __array__(self, *_, **__):
            raise TypeError("Got unsupported ScalarType BFloat16")

    with pytest.raises(DataError, match=r"'x' is no array that numpy can read: .* BFloat16"):
        create("source", "memory", data={"x": Tensor()})


def test_strings_keep_their_trailing_nuls():
    data = {"b": [b"a\0", b"\0\0"], "s": ["a\0", "b"], "grid": [["a\0", "b"], ["c", "d\0"]]}
    made = create("source", "memory", data=data).data
    assert {name: made[name].tolist() for name in data} == data


def test_the_callers_arrays_can_change_later():
    rows = [np.zeros(2, np.float32), np.zeros(3, np.float32)]
    data = {"rows": rows, "text": np.array(["a", "b"], object)}
    made = create("source", "memory", data=data)
    rows[0][0], data["text"][0] = 9, "changed"
    fetched = made.fetch(np.array([0]))
    assert fetched["rows"][0].tolist() == [0, 0]
    assert fetched["text"].tolist() == ["a"]
    with pytest.raises(ValueError, match="read-only"):
        fetched["rows"][0][0] = 1


def test_numbers_beyond_float32_and_structured_arrays_are_refused():
    with pytest.raises(DataError, match=r"'x' holds 1e[+]300, which does not fit float32"):
        create("source", "memory", data={"x": np.array([1.0, 1e300])})
    kept = create("source", "memory", data={"x": np.array([1.0, np.inf, -np.inf])})
    assert np.isinf(np.asarray(kept.data["x"])).tolist() == [False, True, True]
    for odd in (np.zeros(3, [("a", int)]), np.zeros(3, np.longdouble), np.zeros(3, "V4")):
        with pytest.raises(DataError, match=r"'x' has dtype .*, which JAX lacks"):
            create("source", "memory", data={"x": odd})


RECORDS = [{"x": i, "s": "abcd"[i], "v": [float(i), 2.0]} for i in range(4)]


def tables():
    def columns(data):
        return {name: [record[name] for record in data] for name in data[0]}

    made = [
        ("pandas", lambda module: module.DataFrame(columns(RECORDS))),
        ("polars", lambda module: module.DataFrame(columns(RECORDS))),
        ("pyarrow", lambda module: module.table(columns(RECORDS))),
        ("datasets", lambda module: module.Dataset.from_dict(columns(RECORDS))),
    ]
    return [pytest.param(*each, id=each[0]) for each in made]


@pytest.mark.parametrize(("library", "make"), tables())
def test_a_table_of_another_library_is_taken(library, make):
    data = make(pytest.importorskip(library))
    made = create("source", "memory", data=data)
    batch = made.fetch([3, 1])
    assert (batch["x"].tolist(), batch["s"].tolist()) == ([3, 1], ["d", "b"])
    assert (batch["v"].tolist(), batch["v"].dtype) == ([[3, 2], [1, 2]], np.float32)
    (batch,) = Pipeline(source=data, batch_size=4)
    assert (batch["x"].tolist(), batch["s"].tolist()) == ([0, 1, 2, 3], list("abcd"))
    kind = RecordsSource if library == "datasets" else MemorySource  # one may exceed the memory
    assert type(Pipeline(source=data, batch_size=2)._source) is kind


def test_a_dict_of_arrays_is_taken_as_a_source():
    data = {"x": {"deep": np.arange(3)}, "s": ["a", "b", "c"]}
    (batch,) = Pipeline(source=data, batch_size=3)
    assert (batch["x"]["deep"].tolist(), batch["s"].tolist()) == ([0, 1, 2], ["a", "b", "c"])
    with pytest.raises(ConfigError, match=r"no component named.*\"memory\", data=data\)"):
        Pipeline(source={"path": ["a", "b"]}, batch_size=2)  # as a file may have it, without `use`


def test_a_dict_of_lists_of_arrays_is_taken_as_a_source():
    (batch,) = Pipeline(source={"x": [np.arange(2), np.arange(2, 4)]}, batch_size=2)
    assert batch["x"].tolist() == [[0, 1], [2, 3]]


def test_a_list_of_records_is_taken():
    made = create("source", "memory", data=RECORDS)
    assert made.fetch([2])["v"].tolist() == [[2, 2]]
    with pytest.raises(ConfigError, match=r"record 4 has the fields .*not those of record 0"):
        create("source", "memory", data=[*RECORDS, {"x": 1}])


class Pairs:
    """As torch's map-style data sets are: no base class is needed."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        if index >= 3:
            raise IndexError
        return np.full(2, index), index


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (np.arange(6).reshape(3, 2), '{"x": data}'),
        ([1, 2, 3], '{"x": data}'),
        (Pairs(), '[{"image": image, "label": label} for image, label in data]'),
    ],
    ids=["array", "list", "pairs"],
)
def test_what_cannot_be_taken_gets_the_line_that_works(data, line):
    with pytest.raises(ConfigError) as caught:
        create("source", "memory", data=data)
    assert str(caught.value).endswith(f"write data={line}")
    assert len(create("source", "memory", data=eval(line, {"data": data}))) == 3


def test_splits_and_streams_of_hugging_face_get_the_line_that_works():
    datasets = pytest.importorskip("datasets")
    data = datasets.DatasetDict(train=datasets.Dataset.from_dict({"x": [1, 2]}))
    with pytest.raises(ConfigError, match=r"write data=data\['train'\]"):
        create("source", "memory", data=data)
    stream = data["train"].to_iterable_dataset()
    with pytest.raises(ConfigError, match=r"write data=list\(data\)"):
        create("source", "memory", data=stream)
    assert len(create("source", "memory", data=list(stream))) == 2


def test_a_data_set_of_torch_gets_the_line_that_works():
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.ones(3, 2), torch.arange(3))
    with pytest.raises(ConfigError) as caught:
        create("source", "memory", data=data)
    line = str(caught.value).partition("write data=")[2]
    made = create("source", "memory", data=eval(line, {"data": data}))
    assert made.fetch([2])["label"].tolist() == [2]


@pytest.mark.parametrize("data", [{}, [], {"x": []}, {"x": np.zeros((0, 3))}, 5, None, "x"])
def test_data_without_records_is_refused(data):
    with pytest.raises(
        (ConfigError, DataError),
        match=r"memory source has no|is no dict|not a table|missing; give either",
    ):
        create("source", "memory", data=data)


def test_the_repr_of_a_source_and_its_config_shows_shapes_and_no_contents():
    made = source(shuffle=True)
    shown = "data={image: uint8[7, 2, 2], label: int64[7]}, shuffle=True"
    assert repr(made) == f"MemorySource({shown})"
    assert shown in repr(made.config)
    made = create("source", "memory", data={"x": list(range(10**5))})
    assert repr(made) == "MemorySource(data={x: list of 100000})"


def test_lists_of_strings_of_different_lengths_stay_on_the_host():
    source = create("source", "memory", data={"words": [["a", "b\0"], [], ["c"]]})
    assert source.element_spec()["words"].shape == (None,)
    words = source.fetch([0, 1, 2])["words"]
    assert [one.tolist() for one in words] == [["a", "b\0"], [], ["c"]]
    other = create("source", "memory", data={"words": [["a", "b"], [], ["c"]]})
    assert source.identity() != other.identity()


def test_texts_take_the_room_of_each_and_not_of_the_longest():
    texts = ["a" * 10**7, *["b"] * 10**5]  # 4 TB if each was as long as the first
    made = create("source", "memory", data={"text": texts})
    assert made.fetch([10**5])["text"].tolist() == ["b"]


def test_the_arrays_of_a_file_are_served_by_its_name(tmp_path):
    np.savez(tmp_path / "a.npz", image=IMAGES, label=LABELS, name=np.array(list("abcdefg")))
    made = create("source", "memory", path=str(tmp_path / "a.npz"))
    assert (
        made.identity()
        == create(
            "source",
            "memory",
            data={"image": IMAGES, "label": LABELS, "name": np.array(list("abcdefg"))},
        ).identity()
    )
    found = made.fetch(np.array([3, 0]))
    assert found["name"].tolist() == ["d", "a"] and found["label"].tolist() == [3, 0]
    assert found["image"].tolist() == IMAGES[[3, 0]].tolist()
    (tmp_path / "c.toml").write_text(
        f'batch_size = 4\nsource = {{ use = "memory", path = "{tmp_path}/a.npz" }}\n'
    )
    assert [int(b["valid_mask"].sum()) for b in feedrace.load(tmp_path / "c.toml")] == [4, 3]


def test_a_file_that_holds_no_arrays_by_name_is_refused(tmp_path):
    np.save(tmp_path / "one.npy", IMAGES)
    np.savez(tmp_path / "objects.npz", x=np.array([None, 1], object))
    np.savez(tmp_path / "torn.npz", x=np.zeros(100))
    whole = (tmp_path / "torn.npz").read_bytes()
    (tmp_path / "torn.npz").write_bytes(whole[:300] + b"torn" + whole[304:])
    for name, found in [
        ("one.npy", r"one\.npy is no \.npz file; numpy\.savez"),
        ("objects.npz", "something other than arrays of numbers or text"),
        ("torn.npz", "cannot be read: Bad CRC"),
        ("tarn.npz", r"does not exist; did you mean 'torn\.npz'"),
    ]:
        with pytest.raises(FeedraceError, match=found):
            create("source", "memory", path=str(tmp_path / name))
    with pytest.raises(ConfigError, match="data: given beside path; give either"):
        create("source", "memory", path=str(tmp_path / "torn.npz"), data={"x": [1]})
