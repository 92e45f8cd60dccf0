"""tf.data: lines of files through a shuffle buffer, and checkpoints of the iterator."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import logged
import tensorflow as tf

NAME = "tf.data"
PACKAGES = ("tensorflow",)
WORKERS = True
HOW = (
    "TextLineDataset.shuffle(1000, seed).repeat(2).padded_batch(32), with `workers` parallel calls "
    "of map, and tf.train.Checkpoint of the iterator"
)


def parsed(line):
    number = tf.strings.to_number(
        tf.strings.regex_replace(line, r'^\{"id": (\d+),.*$', r"\1"), tf.int64
    )
    return {"id": number, "text": tf.io.decode_raw(line, tf.uint8)}


class Loader:
    def __init__(self, given, state):
        self.folder = given["folder"]
        files = sorted(map(str, Path(given["data"]).glob("*.jsonl")))
        dataset = tf.data.TextLineDataset(files).shuffle(1000, seed=0).repeat(given["epochs"])
        dataset = dataset.map(parsed, num_parallel_calls=given["workers"]).padded_batch(32)
        self.iterator = iter(dataset.prefetch(2))
        self.checkpoint = tf.train.Checkpoint(iterator=self.iterator)
        if state:
            with tempfile.TemporaryDirectory(dir=self.folder) as folder:
                for number, part in enumerate(unpacked(state)):
                    Path(folder, NAMES[number]).write_bytes(part)
                self.checkpoint.read(os.path.join(folder, "it")).assert_consumed()

    def state(self):
        folder = tempfile.mkdtemp(dir=self.folder)
        self.checkpoint.write(os.path.join(folder, "it"))
        parts = [Path(folder, name).read_bytes() for name in NAMES]
        shutil.rmtree(folder)
        return b"%d\n" % len(parts[0]) + b"".join(parts)

    def __iter__(self):
        for batch in self.iterator:
            rows = [row.tobytes() for row in batch["text"].numpy()]
            yield {"epoch": None, "ids": batch["id"].numpy().tolist(), "rows": rows}


NAMES = ("it.index", "it.data-00000-of-00001")


def unpacked(state):
    size, parts = state.split(b"\n", 1)
    return parts[: int(size)], parts[int(size) :]


if __name__ == "__main__":
    logged.main(sys.modules["__main__"])
