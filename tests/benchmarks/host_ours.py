"""Our own side of the host path's benchmark, and how a contender is timed."""

import contextlib
import time

import numpy as np
from host_work import photograph
from measure import cpu_seconds

CORES = 2
PROCESSES, THREADS = ({"kind": kind, "count": CORES} for kind in ("process", "thread"))
BATCH = 64
PHOTOGRAPHS = 1500


def rate(batches, records, epochs, skip=8):
    """Return records/s, and us of all processes a record, of batches of record numbers.

    The first `skip` batches are not timed. Raises `RuntimeError` unless each epoch has every record
    once.
    """
    with contextlib.closing(batches):
        numbers, untimed = [], 0
        for k, made in enumerate(batches):
            numbers.extend(np.asarray(made).tolist())
            if k == skip:
                untimed, computed, began = len(numbers), cpu_seconds(), time.perf_counter()
            if len(numbers) >= records * epochs:
                break
        seconds, computed = time.perf_counter() - began, cpu_seconds() - computed
    for start in range(0, records * epochs, records):
        unique = len(set(numbers[start : start + records]))
        if unique != records:
            raise RuntimeError(f"an epoch has {unique} of {records} records")
    count = len(numbers) - untimed
    return count / seconds, 1e6 * computed / count


def ours(source, stages, workers, epochs, batch=BATCH):
    """Yield the record numbers of batches, each of which is on the device."""
    import jax

    import feedrace

    pipeline = feedrace.Pipeline(
        source=source, stages=stages, workers=workers, batch_size=batch,
        sampler={"use": "epoch-aware", "num_epochs": epochs + 1}, seed=0,
    )  # fmt: skip
    with pipeline.steps() as steps:
        for step in steps:
            made = jax.block_until_ready(step.batch)
            yield np.asarray(made["id"])[np.asarray(made["valid_mask"])]


def photograph_source(given):
    import feedrace

    return feedrace.create(
        "source", "tfds-streaming", name="photographs", split="train",
        data_dir=str(given.data / "tfrecord"), decode={"image": False},
    )  # fmt: skip


def photograph_stages():
    """Return the record stages of a photograph: with the same calls as the peers, and fused."""
    import feedrace
    from feedrace.plugin import LeafSpec

    def spec(before):
        return {**before, "image": LeafSpec((224, 224, 3), np.dtype(np.uint8))}

    same = [feedrace.record(photograph, spec=spec, stochastic=True)]
    fused = [{"use": "decode-image", "field": "image"},
             {"use": "random-resized-crop", "field": "image", "size": [224, 224]}]  # fmt: skip
    return {"same calls": same, "fused": fused}
