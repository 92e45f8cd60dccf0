"""grain: `MapDataset.shuffle`, and the work in threads or in processes."""

import sys

import emulated
import grain
import numpy as np
import photographs
from absl import flags

PACKAGES = ("grain", "numpy", "simplejpeg", "opencv-python-headless")
_CALLS = "`MapDataset.shuffle`, `random_map` with simplejpeg and OpenCV"
HOW = {
    "thread": f"{_CALLS}, `ReadOptions(num_threads=CORES)`",
    "process": f"{_CALLS}, `mp_prefetch` with CORES workers and a buffer of 2 batches for each",
}


class Paths:
    def __init__(self, folder):
        self.paths = emulated.paths_of(folder)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        return {"path": self.paths[i], "id": np.int32(i)}


def work(record, rng):
    image = photographs.random_resized_crop(record["path"], rng)
    return {"image": image, "id": record["id"]}


def batches(folder, cores, kind):
    flags.FLAGS.mark_as_parsed()  # grain's processes ask for flags
    made = grain.MapDataset.source(Paths(folder)).seed(0).shuffle().random_map(work).repeat()
    if kind == "process":
        read = grain.ReadOptions(num_threads=0)  # none within a process
        workers = grain.MultiprocessingOptions(cores, per_worker_buffer_size=2)
        made = made.batch(emulated.BATCH).to_iter_dataset(read).mp_prefetch(workers)
    else:
        made = made.to_iter_dataset(grain.ReadOptions(num_threads=cores)).batch(emulated.BATCH)
    for batch in made:
        yield batch["id"]


if __name__ == "__main__":
    emulated.main(sys.modules["__main__"])
