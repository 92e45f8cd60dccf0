"""grain: `MapDataset.shuffle`, packed by its first-fit packing, with the iterator's own state."""

import json
import sys

import grain
import logged
import numpy as np
from grain import experimental

NAME = "grain"
PACKAGES = ("grain", "numpy")
WORKERS = True
HOW = (
    "MapDataset.source.shuffle(seed).repeat(2), to_iter_dataset, FirstFitPackIterDataset to rows "
    "of 2,048 in 64 bins, batch(8), mp_prefetch with worker processes"
)
LENGTH, ROWS, BINS = 2048, 8, 64


class Lines(logged.Texts):
    def __getitem__(self, i):
        record = self.record(i)
        tokens = np.frombuffer(record["text"].encode(), np.uint8).astype(np.int32)
        return {"tokens": tokens, "id": np.full(len(tokens), record["id"], np.int32)}


def begins(batch):
    """Return the ids of the texts that begin in a batch: a text's tokens all carry its id."""
    first = (batch["tokens_positions"] == 0) & (batch["tokens_segment_ids"] > 0)
    return batch["id"][first]


class Loader:
    def __init__(self, given, state):
        dataset = grain.MapDataset.source(Lines(given["data"])).shuffle(seed=0)
        dataset = dataset.repeat(given["epochs"]).to_iter_dataset()
        lengths = {"tokens": LENGTH, "id": LENGTH}
        dataset = experimental.FirstFitPackIterDataset(
            dataset, length_struct=lengths, num_packing_bins=BINS
        )
        dataset = dataset.batch(ROWS)
        if given["workers"]:
            options = grain.MultiprocessingOptions(num_workers=given["workers"])
            dataset = dataset.mp_prefetch(options)
        self.iterator = iter(dataset)
        if state:
            self.iterator.set_state(json.loads(state))

    def state(self):
        return json.dumps(self.iterator.get_state()).encode()

    def __iter__(self):
        for batch in self.iterator:
            filled = batch["tokens_segment_ids"] > 0
            yield {
                "epoch": None,
                "ids": begins(batch),
                "rows": [row.tobytes() for row in batch["tokens"]],
                "tokens": int(filled.sum()),
                "room": filled.size,
            }


if __name__ == "__main__":
    logged.main(sys.modules["__main__"])
