"""Hugging Face datasets: JSON Lines, streamed, through a shuffle buffer."""

import json
import os
import sys
from pathlib import Path

os.environ["HF_DATASETS_OFFLINE"] = os.environ["HF_HUB_OFFLINE"] = "1"

import logged
from datasets import load_dataset

NAME = "Hugging Face streaming"
PACKAGES = ("datasets", "pyarrow")
WORKERS = False
HOW = (
    'load_dataset("json", streaming=True).shuffle(seed, buffer_size=1000).batch(32), in one '
    "process, with set_epoch before each epoch"
)


class Loader:
    def __init__(self, given, state):
        self.given = given
        files = sorted(map(str, Path(given["data"]).glob("*.jsonl")))
        cache = str(Path(given["folder"]) / "cache")
        stream = load_dataset(
            "json", data_files=files, split="train", streaming=True, cache_dir=cache
        )
        self.dataset = stream.shuffle(seed=0, buffer_size=1000).batch(32)
        self.epoch = 0
        if state:
            found = json.loads(state)
            self.epoch = found["epoch"]
            self.dataset.set_epoch(self.epoch)
            self.dataset.load_state_dict(found["dataset"])

    def state(self):
        return json.dumps({"epoch": self.epoch, "dataset": self.dataset.state_dict()}).encode()

    def __iter__(self):
        while self.epoch < self.given["epochs"]:
            self.dataset.set_epoch(self.epoch)
            for batch in self.dataset:
                rows = [text.encode() for text in batch["text"]]
                yield {"epoch": self.epoch, "ids": batch["id"], "rows": rows}
            self.epoch += 1


if __name__ == "__main__":
    logged.main(sys.modules["__main__"])
