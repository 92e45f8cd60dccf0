"""torchdata: a map-style dataset in a `StatefulDataLoader` that shuffles, with workers."""

import pickle
import sys

import logged
import torch
from torch.utils.data import Dataset
from torchdata.stateful_dataloader import StatefulDataLoader

NAME = "torchdata"
PACKAGES = ("torchdata", "torch")
WORKERS = True
HOW = (
    "a map-style Dataset in StatefulDataLoader(shuffle=True, batch_size=32) with worker processes; "
    "texts are padded to the longest of a batch"
)


class Records(logged.Texts, Dataset):
    def __getitem__(self, i):
        record = self.record(i)
        return record["id"], torch.frombuffer(bytearray(record["text"], "utf-8"), dtype=torch.uint8)


def collate(records):
    ids, texts = zip(*records, strict=True)
    return torch.tensor(ids), torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)


class Loader:
    def __init__(self, given, state):
        self.given = given
        generator = torch.Generator().manual_seed(0)
        self.loader = StatefulDataLoader(
            Records(given["data"]),
            batch_size=32,
            shuffle=True,
            generator=generator,
            num_workers=given["workers"],
            collate_fn=collate,
        )
        self.epoch = 0
        if state:
            self.epoch, saved = pickle.loads(state)
            self.loader.load_state_dict(saved)

    def state(self):
        return pickle.dumps((self.epoch, self.loader.state_dict()))

    def __iter__(self):
        while self.epoch < self.given["epochs"]:
            for ids, texts in self.loader:
                rows = [row.numpy().tobytes() for row in texts]
                yield {"epoch": self.epoch, "ids": ids.tolist(), "rows": rows}
            self.epoch += 1


if __name__ == "__main__":
    logged.main(sys.modules["__main__"])
