"""The part that reads goes to other processes, where it needs neither JAX nor TFDS."""

import io
import pickle
import shutil
import subprocess
import sys
import threading

import jax
import numpy as np
import pytest
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2

from feedrace import create
from feedrace.errors import DataError
from feedrace.plugin import example_class

NUMBERS = np.array([5, 0, 3, 3, 11])
PADDED = {"tokens": 8, "objects": 4, "ragged": [5, 5]}

READ = """
import pickle, sys
import numpy as np
reader, numbers = pickle.load(sys.stdin.buffer)
records, invalid = reader.fetch(numbers), reader.invalid_rows(numbers)
heavy = {"jax", "flax", "tensorflow", "tensorflow_datasets"} & sys.modules.keys()
assert heavy == set(sys.argv[1:]), heavy
if "jax" in heavy:
    assert not sys.modules["jax"]._src.xla_bridge._backends
pickle.dump((records, invalid), sys.stdout.buffer)
"""


def in_a_new_process(reader, *imported):
    """Return what a reader gives in a fresh interpreter, which may import these packages only."""
    done = subprocess.run(
        [sys.executable, "-c", READ, *imported],
        input=pickle.dumps((reader, NUMBERS)),
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()
    return pickle.loads(done.stdout)


def check_same(got, wanted):
    assert jax.tree.structure(got) == jax.tree.structure(wanted)
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        assert one.dtype == other.dtype
        if one.dtype == object:
            assert [np.asarray(x).tolist() for x in one] == [np.asarray(x).tolist() for x in other]
        else:
            assert (one == other).all()


def everything_of(everything, file_format, **fields):
    return create("source", "tfds-streaming", name="everything", split="train",
                  data_dir=everything[file_format], pad_to=PADDED, **fields)  # fmt: skip


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_a_fresh_interpreter_reads_every_kind_of_feature_without_jax(everything, file_format):
    source = everything_of(everything, file_format)
    records, invalid = in_a_new_process(source.reader())
    check_same(records, source.fetch(NUMBERS))
    assert not invalid.any()


def test_a_fresh_interpreter_decodes_with_tensorflow_and_starts_no_backend_of_jax(everything):
    pytest.importorskip("tensorflow")
    source = everything_of(everything, "tfrecord", decoder="tensorflow")
    # TensorFlow itself imports JAX, for its converters, if it is installed.
    records, _ = in_a_new_process(source.reader(), "tensorflow", "tensorflow_datasets", "jax")
    check_same(records, source.fetch(NUMBERS))


def test_a_reader_in_use_is_pickled_without_its_threads_files_and_cache(data_dir):
    source = create("source", "tfds-streaming", name="feedrace_digits", split="test",
                    data_dir=data_dir, num_threads=3, cacheable=True)  # fmt: skip
    wanted = source.fetch(np.arange(200))
    sent = pickle.dumps(source.reader())
    assert len(sent) < 4000
    before = threading.active_count()
    twin = pickle.loads(sent)
    assert threading.active_count() == before  # none is started before the first fetch
    assert twin.kept == {}
    check_same(twin.fetch(np.arange(200)), wanted)
    assert len(twin.kept) == 200


def test_a_pickled_reader_keeps_the_policy_for_bad_records(digits, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(digits["tfrecord"], folder)
    shard = next(folder.glob("feedrace_digits/*/*test.*record-*"))
    stored = bytearray(shard.read_bytes())
    stored[12:40] = b"\xff" * 28
    shard.write_bytes(stored)
    fields = {"name": "feedrace_digits", "split": "test", "data_dir": str(folder)}
    skipping = create("source", "tfds-streaming", on_error="skip", **fields).reader()
    records, invalid = in_a_new_process(skipping)
    assert invalid.tolist() == [False, True, False, False, False]
    assert records["image"][1].max() == 0
    raising = pickle.loads(pickle.dumps(create("source", "tfds-streaming", **fields).reader()))
    with pytest.raises(DataError, match=r"record 0 .*checksum"):
        raising.fetch(NUMBERS)


def test_a_reader_converts_as_the_x64_mode_was_when_it_was_made(data_dir):
    source = create("source", "tfds-streaming", name="feedrace_digits", split="test",
                    data_dir=data_dir)  # fmt: skip
    narrow = source.reader()
    with jax.enable_x64(True):
        wide = source.reader()
        assert source.fetch([0])["index"].dtype == np.int64
        assert narrow.fetch([0])["index"].dtype == np.int32
    assert wide.fetch([0])["index"].dtype == np.int64
    assert source.fetch([0])["index"].dtype == np.int32


def test_an_eager_source_knows_whether_it_is_on_the_device_before_it_loads(everything, data_dir):
    def eager(**fields):
        return create("source", "tfds-eager", split="train", **fields)

    strings = eager(name="everything", data_dir=everything["tfrecord"], include_keys=["nested"])
    numbers = eager(name="feedrace_digits", data_dir=data_dir)
    for source, expected in ((strings, False), (numbers, True)):
        assert source.on_device is expected
        assert source._fields.device is None
    assert numbers.device_data.keys() == {"image", "index", "label"}
    assert strings.device_data == {}


def example_of(**lists):
    """A serialized `tf.train.Example` of lists of bytes, floats and ints by key."""
    made = tf_example_pb2.Example()
    for key, values in lists.items():
        kind = {bytes: "bytes_list", float: "float_list", int: "int64_list"}[type(values[0])]
        getattr(made.features.feature[key], kind).value.extend(values)
    return made.SerializeToString()


def test_records_are_parsed_as_tfds_stores_them():
    features = example_class().FromString(example_of(a=[1, -(2**63)], b=[0.5], c=[b"x", b""]))
    features = features.features.feature
    assert list(features["a"].int64_list.value) == [1, -(2**63)]
    assert list(features["b"].float_list.value) == [0.5]
    assert list(features["c"].bytes_list.value) == [b"x", b""]
    assert set(features) == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        (example_of(label=[1], index=[2]), "lacks one of its features"),
        (example_of(image=[1], label=[1], index=[2]), "lacks one of its features"),
        (b"", "lacks one of its features"),
        (b"\xff" * 40, "DecodeError"),
    ],
    ids=["no image", "a number", "empty", "no example"],
)
def test_a_record_that_is_none_of_the_dataset_s_says_so(data_dir, stored, reason):
    decoder = create("source", "tfds-streaming", name="feedrace_digits", split="test",
                     data_dir=data_dir)._content.decoder  # fmt: skip
    good = example_of(image=[blank_png()], label=[1], index=[2])
    arrays = decoder.layout.allocate(3)
    ((slot, error),) = decoder.decode([(2, good), (0, stored), (1, good)], arrays)
    assert slot == 0
    assert reason in f"{type(error).__name__}: {error}"
    decoder.layout.blank(arrays, slot)
    assert decoder.layout.pack(arrays, wide=False)["index"][1:].tolist() == [2, 2]


def blank_png():
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "PNG")
    return file.getvalue()
