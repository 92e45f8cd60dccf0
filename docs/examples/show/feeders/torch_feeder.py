"""PyTorch: a `DataLoader` with worker processes, whose epochs follow on one another."""

import sys

import emulated
import numpy as np
import photographs
import torch
from torch.utils.data import DataLoader, Dataset

PACKAGES = ("torch", "numpy", "simplejpeg", "opencv-python-headless")
HOW = {
    "process": "`DataLoader` with CORES worker processes and `prefetch_factor=2`, simplejpeg and "
    "OpenCV in the data set; a batch sampler that goes on from epoch to epoch, "
    "so that no epoch begins with empty workers"
}


class Photographs(Dataset):
    def __init__(self, folder):
        self.paths, self.rng = emulated.paths_of(folder), None

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        if self.rng is None:  # in a worker, which has a seed of its own
            self.rng = np.random.default_rng(torch.initial_seed())
        return photographs.random_resized_crop(self.paths[i], self.rng), i


class Epochs:
    def __init__(self, count):
        self.count = count

    def __iter__(self):
        rng = np.random.default_rng(0)
        while True:
            yield from rng.permutation(self.count).reshape(-1, emulated.BATCH).tolist()


def batches(folder, cores, kind):
    data = Photographs(folder)
    loader = DataLoader(data, batch_sampler=Epochs(len(data)), num_workers=cores, prefetch_factor=2)
    for _, numbers in loader:
        yield numbers.numpy()


if __name__ == "__main__":
    emulated.main(sys.modules["__main__"])
