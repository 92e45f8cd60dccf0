"""The source `records`: any object that gives records by number."""

import itertools
import json
import subprocess
import sys
import threading
from collections import namedtuple
from pathlib import Path

import jax
import numpy as np
import pytest

import feedrace
from feedrace import Pipeline, create
from feedrace.builtin.records import RecordsSource
from feedrace.errors import ConfigError, DataError, StateError
from feedrace_testing import SourceSuite

PROCESSES = {"kind": "process", "count": 2}


@pytest.fixture(autouse=True)
def parts(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import worker_parts

    return worker_parts


class Given:
    """Gives what a function returns for each number."""

    def __init__(self, function, length=20):
        self.function, self.length = function, length

    def __len__(self):
        return self.length

    def __getitem__(self, number):
        return self.function(number)


class Several(Given):
    """Gives several elements at once; its `__getitem__` is never needed."""

    def __getitem__(self, number):
        raise AssertionError

    def __getitems__(self, numbers):
        assert type(numbers) is list
        return [self.function(number) for number in numbers]


def records(data, **config):
    return create("source", "records", data=data, **config)


def spec(source):
    return {name: (leaf.shape, str(leaf.dtype)) for name, leaf in source.element_spec().items()}


def dicts(number):
    return {
        "x": np.full(2, number, np.float32),
        "label": number,
        "name": f"record {number}",
        "nested": {"raw": bytes([number]), "points": np.arange(number % 3)},
    }


class TestDicts(SourceSuite):
    component = "records"
    config = {"data": [dicts(number) for number in range(7)]}

    def jsonable(self, described):
        return json.loads(json.dumps(described, default=repr))


class TestTuplesShuffled(SourceSuite):
    component = "records"
    config = {"data": [(n, n / 2) for n in range(12)], "names": ["a", "b"], "shuffle": True}


class TestValues(SourceSuite):
    component = "records"
    config = {"data": [[n, n + 1] for n in range(5)], "names": ["x"], "thread_safe": True}


class TestSeveralAtOnce(SourceSuite):
    component = "records"

    @property
    def config(self):
        from worker_parts import Squares  # which another process can import, too

        return {"data": Squares(), "spec_records": 1}

    def jsonable(self, described):
        return json.loads(json.dumps(described, default=repr))


def test_a_list_of_dicts_is_a_source_with_its_nested_fields():
    pipeline = Pipeline(source=[dicts(number) for number in range(7)], batch_size=7,
                        stages=[feedrace.record(lambda r: {**r, "nested": r["nested"]["raw"]},
                                                spec={"nested": leaf((), object)})])  # fmt: skip
    (batch,) = pipeline
    assert batch["x"].tolist() == [[n, n] for n in range(7)]
    assert batch["label"].tolist() == list(range(7))
    assert batch["name"].tolist() == [f"record {n}" for n in range(7)]
    assert batch["nested"].tolist() == [bytes([n]) for n in range(7)]


def leaf(shape, dtype):
    return jax.ShapeDtypeStruct(shape, np.dtype(dtype))


@pytest.mark.parametrize("workers", [0, 1, 3, PROCESSES], ids=["0", "1", "3", "processes"])
def test_any_workers_give_the_same_batches(parts, workers):
    source = records(parts.Pairs(50), names=["x", "y"])
    sampler = create("sampler", "sequential", num_records=50, num_epochs=2)
    pipeline = Pipeline(source=source, sampler=sampler, batch_size=8, workers=workers)
    rows = [(b["x"][i, 3].item(), b["y"][i].item()) for b in pipeline
            for i in np.flatnonzero(b["valid_mask"])]  # fmt: skip
    assert rows == 2 * [(n, n) for n in range(50)]


def test_a_pipeline_resumes_from_records_exactly(parts):
    def make():
        source = records(parts.Pairs(50), names=["x", "y"], shuffle=True)
        return Pipeline(source=source, batch_size=8, seed=1)

    whole = [batch["y"].tolist() for batch in make()]
    pipeline = make()
    taken = [batch["y"].tolist() for batch in itertools.islice(pipeline, 3)]
    again = make()
    again.set_state(json.loads(json.dumps(pipeline.get_state())))
    assert taken + [batch["y"].tolist() for batch in again] == whole
    other = Pipeline(source=records(parts.Pairs(51), names=["x", "y"], shuffle=True), batch_size=8)
    with pytest.raises(StateError):
        other.set_state(pipeline.get_state())


@pytest.mark.together
def test_an_evaluation_stream_takes_such_an_object():
    pytest.importorskip("feedrace_interleave")
    scheduler = {"use": "interleaved", "callbacks": [
        {"stream": "val", "source": [{"x": 5}], "every_n_updates": 1}]}  # fmt: skip
    pipeline = Pipeline(source=[{"x": 1}, {"x": 2}], scheduler=scheduler, batch_size=1)
    seen = [(step.stream, step.batch["x"].item()) for step in pipeline.steps()]
    assert seen == [("train", 1), ("val", 5), ("train", 2), ("val", 5)]


def test_the_spec_is_that_of_the_first_records():
    first = [{"a": n, "b": [0.5] * n, "c": np.zeros((2, n), np.uint8)} for n in (1, 2, 3)]
    assert spec(records(first)) == {
        "a": ((), "int32"),
        "b": ((None,), "float32"),
        "c": ((2, None), "uint8"),
    }
    made = records(first, spec_records=1)
    assert spec(made)["b"] == ((1,), "float32")
    with pytest.raises(
        DataError, match=r"^record 1: field 'b' is float64\[2\], expected float64\[1\]"
    ):
        made.fetch(np.array([0, 1]))


def test_dtypes_that_differ_become_the_one_that_holds_all():
    made = records([{"x": np.int16(1)}, {"x": np.uint8(2)}, {"x": True}])
    assert spec(made) == {"x": ((), "int16")}
    assert made.fetch(np.arange(3))["x"].tolist() == [1, 2, 1]
    made = records([{"x": 1}, {"x": 0.5}])
    assert made.fetch(np.arange(2))["x"].tolist() == [1, 0.5]
    with pytest.raises(
        DataError, match=r"record 0: field 'x' holds 16777217, which float32 rounds"
    ):
        records([{"x": 2**24 + 1}, {"x": 0.5}])
    later = records([{"x": 0.5}, {"x": 2**24 + 1}], spec_records=1)
    with pytest.raises(DataError, match=r"^record 1: .* holds 16777217, which float32 rounds"):
        later.fetch(np.array([1]))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"x": 1.0}, r"has the fields \['x'\], expected \['x', 'y'\]"),
        ({"x": 1.0, "y": "a", "z": 0}, r"has the fields \['x', 'y', 'z'\], expected \['x', 'y'\]"),
        ({"x": "1", "y": "a"}, r"field 'x' is str\[\], expected float64\[\]"),
        ({"x": [1.0], "y": "a"}, r"field 'x' is float64\[1\], expected float64\[\]"),
        ({"x": 1j, "y": "a"}, r"field 'x' is complex128\[\], expected float64\[\]"),
        ({"x": 1.0, "y": b"a"}, r"field 'y' is bytes\[\], expected str\[\]"),
        ({"x": 1.0, "y": None}, r"field 'y' is None; give a value that stands for a missing one"),
        ({"x": 1.0, 3: "a"}, r"has the key 3, which is no string; write str\(key\)"),
        ({"x": np.longdouble(1), "y": "a"}, r"field 'x' has dtype float128, which JAX lacks"),
        ((1.0, "a"), "a tuple of 2 needs 2 names for its fields, and 0 are given"),
    ],
)
def test_a_record_that_does_not_fit_the_spec_is_named_with_field_found_and_expected(wrong, message):
    made = records([*[{"x": 0.5, "y": "a"}] * 20, wrong])
    with pytest.raises(DataError, match=rf"^record 20: .*{message}"):
        made.fetch(np.array([3, 20]))
    with pytest.raises(DataError, match=rf"^record 20: .*{message}"):
        list(Pipeline(source=made, batch_size=7, workers=2))


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ([{"x": None}], r"record 0: field 'x' is None; .* or leave the field out"),
        ([{"x": [1, None]}], r"'x' holds None \(entry 1\), give a value that stands for a missing"),
        ([{"a": {3: 1}}], r"record 0: field 'a' has the key 3, which is no string"),
        ([{"x": np.zeros((), [("a", int)])}], r"record 0: field 'x' has dtype .*'a'.* JAX lacks"),
        ([{"x": np.longdouble(1)}], r"record 0: field 'x' has dtype float128, which JAX lacks"),
        ([{"x": np.datetime64("2020-01-01")}], r"field 'x' has dtype datetime64"),
        (
            [{"x": object()}],
            r"field 'x' holds <object .*neither a number that fits nor a string",
        ),
        ([{"x": 2**70}], r"field 'x' holds 1180591620717411303424"),
        (
            [{"x": [[1], [1, 2]]}],
            r"field 'x' holds \[\[1\], \[1, 2\]\], lists of different lengths",
        ),
        ([{"x": np.ma.array([1, 2], mask=[0, 1])}], r"record 0: field 'x' is a masked array"),
        ([{"x": 1}, {"x": "a"}], r"record 1: field 'x' is str\[\]; record 0 has int64\[\]"),
        ([{"x": 1}, {"x": [1]}], r"record 1: field 'x' is int64\[1\]; record 0 has int64\[\]"),
        ([{"x": 1}, {"y": 1}], r"record 1: it has the fields \['y'\], expected \['x'\]"),
        ([{}], r"record 0 of builtins:list has no field"),
        ([], r"builtins:list has 0 records; a source needs at least 1"),
        ([{"valid_mask": True}], r"a field is called 'valid_mask'"),
    ],
)
def test_first_records_that_make_no_spec_are_refused_when_the_pipeline_is_made(first, message):
    with pytest.raises(ConfigError, match=rf"^source: .*{message}"):
        Pipeline(source=first, batch_size=1)


def test_elements_without_names_get_the_line_that_gives_them():
    for data, count in (
        ([(1, 2.5)] * 3, 2),
        ([1, 2, 3], 1),
        (range(3), 1),
        (["a", "b"], 1),
        ([(1, 2, 3)], 3),
        ([np.zeros(2)], 1),
    ):
        with pytest.raises(ConfigError, match=f"needs {count} name") as caught:
            Pipeline(source=data, batch_size=2)
        line = str(caught.value).partition("write source=")[2]
        made = eval(line, {"data": data, "feedrace": feedrace})
        assert len(made.fetch(np.arange(len(data)))) == count


def test_names_name_the_items_of_tuples_and_bare_values():
    Point = namedtuple("Point", "x y")
    assert spec(records([Point(1, 2.5)])) == {"x": ((), "int32"), "y": ((), "float32")}
    assert list(spec(records([Point(1, 2)], names=["a", "b"]))) == ["a", "b"]
    assert spec(records([[1, 2], [3, 4]], names=["x"])) == {"x": ((2,), "int32")}
    assert spec(records([[1, 2], [3, 4]], names=["x", "y"]))["y"] == ((), "int32")
    assert spec(records([(np.zeros(3),)], names=["x"])) == {"x": ((3,), "float32")}
    nested = records([({"a": 1}, "text")], names=["x", "y"])
    assert nested.fetch(np.array([0]))["x"]["a"].tolist() == [1]
    for names, message in (
        (["x"], "a tuple of 2 needs 2 names for its fields, and 1 are given"),
        (["x", "x"], "names: .* is not a list of different field names"),
        ("xy", "names: expected 'list', got 'str'"),
    ):
        with pytest.raises((ConfigError, DataError), match=message):
            records([(1, 2)], names=names)
    with pytest.raises(DataError, match="a dict has names of its own; leave names out"):
        records([{"x": 1}], names=["x"])


def test_lists_of_tuples_keep_what_they_hold():
    """No value is converted on the way through the config: tuples stay tuples."""
    data = [(1, (2, 3))]
    assert records(data, names=["a", "b"]).config.data is data


def test_an_empty_list_says_nothing_of_rank_and_dtype():
    boxes = [[], [[1, 2, 3, 4]], [[0, 0, 1, 1], [2, 2, 3, 3]], []]
    made = records([{"boxes": each, "tags": ["a", "b"][: len(each)]} for each in boxes])
    assert spec(made) == {"boxes": ((None, 4), "int32"), "tags": ((None,), "object")}
    fetched = made.fetch(np.arange(4))
    assert [each.shape for each in fetched["boxes"]] == [(0, 4), (1, 4), (2, 4), (0, 4)]
    assert [each.tolist() for each in fetched["tags"]] == [[], ["a"], ["a", "b"], []]


def test_strings_keep_their_trailing_nuls_and_wide_numbers_their_value():
    made = records([{"b": b"a\0", "s": "a\0", "n": 2**40, "grid": ["a\0", "b"]}] * 2)
    fetched = made.fetch(np.array([1]))
    assert (fetched["b"][0], fetched["s"][0], fetched["n"][0]) == (b"a\0", "a\0", 2**40)
    assert fetched["grid"].tolist() == [["a\0", "b"]]
    with pytest.raises(DataError, match=f"holds {2**40}, which does not fit int32"):
        list(Pipeline(source=made, batch_size=2))
    late = records([{"n": 1}] * 20 + [{"n": 2**63}])
    with pytest.raises(DataError, match=r"^record 20: field 'n' is uint64\[\], expected int64\[\]"):
        late.fetch(np.array([20]))


def test_an_array_that_the_object_uses_again_is_copied():
    class Reusing:
        def __init__(self):
            self.fixed, self.varying = np.zeros(2), np.zeros(8)

        def __len__(self):
            return 20

        def __getitem__(self, number):
            self.fixed[:] = number
            self.varying[:] = number
            return {"fixed": self.fixed, "varying": self.varying[: 1 + number % 2]}

    fetched = records(Reusing()).fetch(np.array([4, 17]))
    assert fetched["fixed"].tolist() == [[4, 4], [17, 17]]
    assert [each.tolist() for each in fetched["varying"]] == [[4], [17, 17]]


def test_what_an_object_raises_names_it_and_the_record(parts):
    def raising(error):
        def given(number):
            if number == 18:
                raise error
            return {"x": number}

        return records(Given(given))

    for error in (IndexError("no"), KeyError("no"), StopIteration(), NotImplementedError()):
        with pytest.raises(
            DataError,
            match=rf":Given.__getitem__ raised {type(error).__name__}.* for record 18; it "
            r"has 20 records by its __len__",
        ) as caught:
            raising(error).fetch(np.array([1, 18]))
        assert caught.value.__cause__ is error
    with pytest.raises(OSError, match="the disk") as caught:
        list(Pipeline(source=raising(OSError("the disk")), batch_size=3))
    assert ":Given.__getitem__, for record 18" in "\n".join(caught.value.__notes__)
    with pytest.raises(DataError, match="no record -1; records go from 0 to 19"):
        raising(OSError()).fetch(np.array([-1]))


def test_several_elements_at_once_are_one_for_each_number():
    class Short(Several):
        def __getitems__(self, numbers):
            return super().__getitems__(numbers)[:3]

    made = records(Short(lambda n: {"x": n}), spec_records=3)
    with pytest.raises(DataError, match=r"__getitems__ returned .* for records \[0, 1, 2, 3\]"):
        made.fetch(np.arange(4))
    made = records(Several(lambda n: {"x": n}))
    assert made.fetch(np.array([7, 3]))["x"].tolist() == [7, 3]
    assert made.fetch(np.array([], np.int64))["x"].shape == (0,)


def test_objects_that_give_no_records_by_number_get_the_line_that_works():
    class Property:
        __len__ = property(lambda self: 3)

        def __getitem__(self, number):
            return {"x": number}

    class Endless:
        def __iter__(self):
            return iter([{"x": 1}])

    class Wrong(Given):
        def __len__(self):
            return "3"

    with pytest.raises(
        ConfigError, match=r"^data: .*gives no records .* it has no method __len__$"
    ):
        records(Property())
    with pytest.raises(ConfigError, match=r"^source: .* is not a source: it lacks"):
        Pipeline(source=Property(), batch_size=1)
    with pytest.raises(ConfigError, match=r"len\(\) of an object of type Wrong raised TypeErr"):
        Pipeline(source=Wrong(lambda n: {"x": n}), batch_size=1)
    for data in (Endless(), ({"x": n} for n in range(3)), iter([{"x": 1}]), {"a", "b"}):
        with pytest.raises(ConfigError, match=r"write source=list\(data\)$"):
            Pipeline(source=data, batch_size=1)
    assert len(eval("list(data)", {"data": Endless()})) == 1
    for data in (np.zeros((3, 2)), jax.numpy.zeros(3)):
        with pytest.raises(ConfigError, match=r"""is one array.*write source={"x": data}$"""):
            Pipeline(source=data, batch_size=1)
        assert next(iter(Pipeline(source={"x": data}, batch_size=3)))["x"].shape == data.shape
    with pytest.raises(ConfigError, match="it is the class Given; give an instance"):
        Pipeline(source=Given, batch_size=1)
    with pytest.raises(ConfigError, match="source: 'abc' is not a table"):
        Pipeline(source="abc", batch_size=1)
    with pytest.raises(ConfigError, match=r"'a[.]parquet' is not a table; name"):
        Pipeline(source="a.parquet", batch_size=1)


def test_a_source_that_can_also_be_indexed_stays_what_it_is(parts):
    class Both(parts.Readable):
        def __getitem__(self, number):
            raise AssertionError

    pipeline = Pipeline(source=Both(4), batch_size=4)
    assert next(iter(pipeline))["i"].tolist() == [0, 1, 2, 3]
    half = type("Half", (), {"__len__": len, "__getitem__": 0, "element_spec": print})()
    with pytest.raises(ConfigError, match="is not a source: it lacks fetch"):
        Pipeline(source=half, batch_size=1)


def test_one_thread_at_a_time_calls_objects_unless_they_are_thread_safe():
    """Also two objects, which may share what lies beneath."""

    class Watching(Given):
        inside = threading.Semaphore(1)
        met = threading.Barrier(2, timeout=30)

        def __getitem__(self, number):
            assert self.inside.acquire(blocking=False), "two threads at a time"
            try:
                return {"x": number}
            finally:
                self.inside.release()

    class Meeting(Watching):
        def __getitem__(self, number):
            if self.armed:
                self.met.wait()  # passed by two threads at a time alone
            return {"x": number}

    def fetch(source):
        for number in range(0, 20, 2):
            source.fetch(np.array([number, number + 1]))

    sources = [records(Watching(None)), records(Watching(None))]
    in_threads(lambda: fetch(sources[0]), lambda: fetch(sources[1]))
    meeting = Meeting(None)
    meeting.armed = False
    source = records(meeting, thread_safe=True)
    meeting.armed = True
    in_threads(lambda: fetch(source), lambda: fetch(source))


def in_threads(*functions):
    errors = []

    def run(function):
        try:
            function()
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_what_processes_cannot_hold_of_an_object_is_named(parts):
    with pytest.raises(ConfigError) as caught:
        Pipeline(
            source=records(parts.Pairs(9, hook=lambda number: None), names=["x", "y"]),
            batch_size=3,
            workers=PROCESSES,
        )
    assert "reader of source feedrace.builtin.records:RecordsSource cannot be" in str(caught.value)
    assert "its data.hook is <function" in str(caught.value)

    class Local(Given):
        pass

    with pytest.raises(ConfigError, match=r"its data is <.*Local object"):
        Pipeline(source=Local(dicts), batch_size=3, workers=PROCESSES)


def test_the_identity_is_the_objects_own_or_that_of_its_length_and_spec():
    class Identified(Given):
        version = "1"

        def identity(self):
            return self.version

    own = records(Identified(lambda n: {"x": n}))
    assert own.identity() == "1"
    own.config.data.version = "2"
    assert own.identity() == "2"
    made = {
        records(Given(lambda n: {"x": n})).identity(),
        records(Given(lambda n: {"x": n}, 21)).identity(),
        records(Given(lambda n: {"x": n / 2})).identity(),
        records(Given(lambda n: {"y": n})).identity(),
    }
    assert len(made) == 4
    assert records([{"x": n} for n in range(20)]).identity() in made


def test_its_reader_imports_no_jax():
    from feedrace_testing.lightness import weigh

    assert weigh(("feedrace.host.elements",)).heavy == ("numpy",)


def test_a_table_goes_to_memory_and_splits_are_chosen_first():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"x": [1, 2]})
    with pytest.raises(
        ConfigError, match=r"data: .* type DataFrame is a table; write source=data$"
    ):
        records(table)
    with pytest.raises(ConfigError, match=r"write source=data\['train'\]$"):
        Pipeline(source={"train": table, "test": table}, batch_size=1)


def test_data_sets_of_hugging_face_are_read_as_they_are():
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict(
        {"x": list(range(30)), "text": ["ab"[n % 2] for n in range(30)], "v": [[0.5] * 3] * 30}
    )
    for given in (data, data.with_format("numpy"), data.select(range(30))):
        pipeline = Pipeline(source=given, batch_size=30, workers=2)
        assert isinstance(pipeline._source, RecordsSource)
        (batch,) = pipeline
        assert batch["x"].tolist() == list(range(30))
        assert (batch["text"][1], batch["v"].shape) == ("b", (30, 3))
    splits = datasets.DatasetDict(train=data)
    with pytest.raises(ConfigError, match=r"write source=data\['train'\]$"):
        Pipeline(source=splits, batch_size=1)
    with pytest.raises(ConfigError, match=r"write source=list\(data\)$"):
        Pipeline(source=data.to_iterable_dataset(), batch_size=1)
    missing = datasets.Dataset.from_dict({"x": [1, None]})
    with pytest.raises(ConfigError, match=r"source: record 1: field 'x' is None"):
        Pipeline(source=missing, batch_size=1)


def test_data_sets_of_torch_are_read():
    torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")
    data = torch.utils.data.TensorDataset(torch.arange(60.0).reshape(30, 2), torch.arange(30))
    half, _ = torch.utils.data.random_split(data, [20, 10])
    for given, length in ((data, 30), (half, 20), (torch.utils.data.ConcatDataset([data] * 2), 60)):
        source = records(given, names=["x", "y"])
        (batch,) = Pipeline(source=source, batch_size=length, workers=2)
        assert (batch["x"][:, 0] == 2 * batch["y"]).all()
        assert batch["x"].dtype == np.float32
    (batch,) = Pipeline(source=records(data, names=["x", "y"]), batch_size=30, workers=PROCESSES)
    assert batch["y"].tolist() == list(range(30))
    for tensor, message in (
        (torch.ones(2, requires_grad=True), r"field 'x' is no array that numpy can read: .*detach"),
        (torch.ones(2, dtype=torch.bfloat16), r"field 'x' is no array that .*BFloat16"),
    ):
        with pytest.raises(ConfigError, match=message):
            Pipeline(source=[{"x": tensor}], batch_size=1)

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter([{"x": 1}])

    class Sized(Stream):
        def __len__(self):
            return 1

    with pytest.raises(ConfigError, match=r"write source=list\(data\)$"):
        Pipeline(source=Stream(), batch_size=1)
    with pytest.raises(ConfigError, match=r"Sized.__getitem__ raised NotImplementedError"):
        Pipeline(source=Sized(), batch_size=1)


def test_sources_of_grain_are_read():
    grain = pytest.importorskip("grain.python", reason="grain is not installed")
    data = grain.MapDataset.source([{"x": n} for n in range(30)]).map(lambda r: {"x": r["x"] * 2})
    source = records(data, thread_safe=True)
    (batch,) = Pipeline(source=source, batch_size=30, workers=3)
    assert batch["x"].tolist() == list(range(0, 60, 2))
    sliced = grain.RangeDataSource(3, 9, 2)
    assert records(sliced, names=["x"]).fetch(np.arange(3))["x"].tolist() == [3, 5, 7]
    with pytest.raises(ConfigError, match=r"write source=list\(data\)$"):
        Pipeline(source=data.to_iter_dataset(), batch_size=1)


def test_images_of_pil_are_arrays():
    image = pytest.importorskip("PIL.Image")
    data = [{"image": image.new("RGB", (4 + n, 3), (n, 0, 9))} for n in range(2)]
    made = records(data)
    assert spec(made) == {"image": ((3, None, 3), "uint8")}
    assert made.fetch(np.array([1]))["image"][0][0, 0].tolist() == [1, 0, 9]


@pytest.mark.slow
def test_an_object_of_a_program_reaches_processes_and_one_of_a_session_is_refused(tmp_path):
    program = (
        "import feedrace\n"
        "class Own:\n"
        "    def __len__(self):\n"
        "        return 3\n"
        "    def __getitem__(self, number):\n"
        "        return {'x': number}\n"
        "if __name__ == '__main__':\n"
        "    workers = {'kind': 'process', 'count': 1}\n"
        "    (batch,) = feedrace.Pipeline(source=Own(), batch_size=3, workers=workers)\n"
        "    print(batch['x'].tolist())\n"
    )
    file = tmp_path / "program.py"
    file.write_text(program)
    done = subprocess.run([sys.executable, file], capture_output=True, text=True)
    assert done.stdout == "[0, 1, 2]\n", done.stderr
    done = subprocess.run([sys.executable, "-"], input=program, capture_output=True, text=True)
    assert "RecordsSource is defined in an interactive session" in done.stderr
