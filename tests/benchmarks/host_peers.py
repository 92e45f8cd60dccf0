"""What the host path is measured against: tf.data, grain, torch, and the bare calls.

Each contender is a function that returns an iterator over the record numbers of its batches, for
one epoch more than is measured. Batches of peers stay numpy arrays; nothing puts them on a device.
"""

import contextlib
import functools
import importlib
import multiprocessing
import time

import numpy as np
from host_work import SIDE, Encoded, WithRandomNumbers, Worked, decode_crop_resize, photograph
from measure import cpu_seconds


def peer(module):
    """Return an installed peer, or print that it is missing and return None."""
    try:
        return importlib.import_module(module)
    except ImportError:
        print(f"({module} is not installed and not measured)")
        return None


def photographs(folder, batch, epochs, count):
    """Return the contenders that are installed for photographs, with `count` processes."""
    source, found = Encoded(folder / "photographs.bin"), {}
    if peer("tensorflow"):
        found["tf.data"] = functools.partial(tf_data_photographs, folder, batch, epochs)
    if peer("grain"):
        found["grain, threads"] = functools.partial(
            grain_records, source, photograph, batch, epochs
        )
    return found | in_processes(source, photograph, batch, epochs, count, random=True)


def in_processes(source, work, batch, epochs, count, *, random=False):
    """Return the contenders that are installed for a Python function, with `count` processes."""
    found, common = {}, {"processes": count, "random": random}
    for name, function in (("grain", grain_records), ("torch", torch_records)):
        if peer(name):
            start = functools.partial(function, source, work, batch, epochs, **common)
            found[f"{name}, {count} processes"] = start
    return found


def tf_data_photographs(folder, batch, epochs, threads=None):
    """Photographs by tf.data, decoding only the part that is cropped, shuffled in a buffer.

    threads: how many work; as many as there are CPUs by default.
    """
    import tensorflow as tf
    import tensorflow_datasets as tfds

    read = tfds.ReadConfig(try_autocache=False)
    builder = tfds.builder_from_directory(str(folder / "tfrecord" / "photographs" / "1.0.0"))
    stored = builder.as_dataset(
        split="train", read_config=read, decoders={"image": tfds.decode.SkipDecoding()}
    )

    def work(record):
        shape = tf.io.extract_jpeg_shape(record["image"])
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            shape, tf.zeros([1, 0, 4]), use_image_if_no_bounding_boxes=True, max_attempts=10,
            area_range=(0.08, 1.0), aspect_ratio_range=(3 / 4, 4 / 3), min_object_covered=0.0,
        )  # fmt: skip
        window = tf.concat([begin[:2], size[:2]], 0)
        image = tf.io.decode_and_crop_jpeg(
            record["image"], window, 3, fancy_upscaling=False, dct_method="INTEGER_FAST"
        )
        return {"image": tf.cast(tf.image.resize(image, (SIDE, SIDE)), tf.uint8),
                "id": record["id"]}  # fmt: skip

    if threads:
        options = tf.data.Options()
        options.threading.private_threadpool_size = threads
        stored = stored.with_options(options)
    records = stored.shuffle(1000).repeat(epochs + 1).map(work, tf.data.AUTOTUNE)
    for made in records.batch(batch).prefetch(tf.data.AUTOTUNE).as_numpy_iterator():
        yield made["id"]


def grain_records(source, work, batch, epochs, *, processes=0, random=True):
    """Records by grain, in threads, or in processes with a shared memory of their batches."""
    import grain
    from absl import flags

    flags.FLAGS.mark_as_parsed()  # its processes ask for flags
    made = grain.MapDataset.source(source).seed(0).shuffle()
    made = made.random_map(work) if random else made.map(work)
    made = made.repeat(epochs + 1)
    if processes:
        # The threads that read within a process are left out: its records come from memory.
        made = made.batch(batch).to_iter_dataset(grain.ReadOptions(num_threads=0))
        made = made.mp_prefetch(grain.MultiprocessingOptions(processes, per_worker_buffer_size=2))
    else:
        made = made.to_iter_dataset(grain.ReadOptions(num_threads=2)).batch(batch)
    iterator = iter(made)
    try:
        for one in iterator:
            yield one["id"]
    finally:
        iterator.close()


def torch_records(source, work, batch, epochs, *, processes, random=True):
    """Records by torch's DataLoader, in processes; its epochs follow on one another."""
    import torch.utils.data

    rng = np.random.default_rng(0)
    order = np.concatenate([rng.permutation(len(source)) for _ in range(epochs + 1)]).tolist()
    made = torch.utils.data.DataLoader(
        WithRandomNumbers(source, work) if random else Worked(source, work),
        batch_sampler=[order[i : i + batch] for i in range(0, len(order), batch)],
        num_workers=processes,
        multiprocessing_context="spawn",
    )
    iterator = iter(made)
    try:
        for one in iterator:
            yield one["id"].numpy()
    finally:
        iterator._shutdown_workers()  # which are otherwise reported as dead, at any time


class BareCalls:
    """Photographs read and worked on by the bare calls, in a number of processes.

    Nothing leaves a process: this is what the machine can do before anything is moved.
    """

    def __init__(self, path, processes):
        self._stack = contextlib.ExitStack()
        context = multiprocessing.get_context("spawn")
        self._doors = []
        for k in range(processes):
            door, inside = context.Pipe()
            started = context.Process(
                target=_bare_calls, args=(inside, path, k, processes), daemon=True
            )
            started.start()
            self._stack.callback(started.join)
            self._stack.callback(door.close)
            self._doors.append(door)
        for door in self._doors:
            door.recv()  # it is ready

    def __enter__(self):
        return self.rate

    def __exit__(self, *exc_info):
        self._stack.close()

    def rate(self, passes=1):
        """Return records/s, and us of all processes a record, of passes over all photographs."""
        computed, began = cpu_seconds(), time.perf_counter()
        for door in self._doors:
            door.send(passes)
        count = passes * sum(door.recv() for door in self._doors)
        seconds, computed = time.perf_counter() - began, cpu_seconds() - computed
        return count / seconds, 1e6 * computed / count


def _bare_calls(door, path, first, step):
    records = Encoded(path)
    rng = np.random.default_rng(first)
    batch = np.empty((64, SIDE, SIDE, 3), np.uint8)

    def go(passes):
        for _ in range(passes):
            for k, i in enumerate(range(first, len(records), step)):
                decode_crop_resize(records[i]["image"], rng, batch[k % 64])
        return len(range(first, len(records), step))

    go(1)
    door.send(None)
    with contextlib.suppress(EOFError):
        while True:
            door.send(go(door.recv()))
