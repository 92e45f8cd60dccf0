"""The sources pass the suite that plugin authors use."""

import pickle
import subprocess
import sys

import pytest

from feedrace_testing import SourceSuite
from feedrace_testing.sample_files import (
    example_of,
    grey_image,
    write_array_record,
    write_tar,
    write_tfrecord,
)

FEATURES = {"label": "int64", "box": {"dtype": "float32", "shape": [4]},
            "tokens": {"dtype": "int32", "shape": [-1]}, "text": "text"}  # fmt: skip
EXAMPLES = [
    example_of(label=[i], box=[i + 0.5] * 4, tokens=list(range(i)), text=[b"word %d" % i])
    for i in range(20)
]


READ = """
import pickle, sys
reader = pickle.load(sys.stdin.buffer)
reader.fetch([0])
print(sorted({"jax", "flax", "tensorflow"} & set(sys.modules)))
"""


class _Files(SourceSuite):
    def test_a_worker_reads_without_jax(self):
        pickled = pickle.dumps(self.make().reader())
        done = subprocess.run([sys.executable, "-c", READ], input=pickled, capture_output=True)
        assert (done.stdout, done.stderr) == (b"[]\n", b"")

    @pytest.fixture(autouse=True)
    def files(self, tmp_path):
        self.folder = tmp_path
        self.write(tmp_path)

    def make(self, **fields):
        return super().make(**{"path": str(self.folder), **fields})


class TestTextLines(_Files):
    component = "text-lines"

    def write(self, folder):
        for part in range(3):
            lines = [f"line {i} of {part}" for i in range(7)]
            folder.joinpath(f"part-{part}.txt").write_text("\n".join(lines))


class TestImageFolder(_Files):
    component = "image-folder"

    def write(self, folder):
        for i in range(20):
            place = folder / f"class-{i % 3}" / "inner" / f"{i:02}.pgm"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(grey_image(i))


class TestTar(_Files):
    component = "tar"

    def write(self, folder):
        for part in range(2):
            files = [
                (f"{part}/{i:03}.{extension}", data)
                for i in range(10)
                for extension, data in (
                    ("pgm", grey_image(i)), ("cls", b"%d" % i), ("txt", b"image %d" % i)
                )
            ]  # fmt: skip
            write_tar(folder / f"part-{part}.tar", files)


class TestTFRecord(_Files):
    component = "tfrecord"
    config = {"features": FEATURES}

    def write(self, folder):
        write_tfrecord(folder / "train.tfrecord-00000-of-00002", EXAMPLES[:9])
        write_tfrecord(folder / "train.tfrecord-00001-of-00002", EXAMPLES[9:])


class TestTFRecordOfBytes(TestTFRecord):
    config = {}


class TestArrayRecord(_Files):
    component = "array-record"

    def write(self, folder):
        write_array_record(folder / "train.array_record-00000-of-00002", EXAMPLES[:9])
        write_array_record(
            folder / "train.array_record-00001-of-00002", EXAMPLES[9:], "group_size:4"
        )


class TestArrayRecordOfExamples(TestArrayRecord):
    config = {"features": FEATURES}
