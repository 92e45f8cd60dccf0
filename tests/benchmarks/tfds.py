"""TFDS sources against tf.data, bare decoders, a bare gather, and datarax.

On 50,000 PNG images of 32x32 and 4,000 JPEG images of 224x224, which are made on first use.
"""

import argparse
import functools
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np
from measure import IMAGES, QUICK, alternate, data_folder, quick_option, report

import feedrace

BATCH = 128
FORMATS = ("tfrecord", "array_record")
SHAPES = {"small_png": (32, 32, 3), "large_jpeg": (224, 224, 3)}
SETS = {name: (count, SHAPES[name]) for name, count in IMAGES.items()}

DATARAX = """
import sys, time
import flax.nnx as nnx
from datarax.pipeline import Pipeline
from datarax.sources.tfds_source import TFDSEagerConfig, TFDSEagerSource
folder, batch = sys.argv[1], int(sys.argv[2])
# Loading more takes it minutes. A batch costs it the more, the more records there are.
config = TFDSEagerConfig(name="small_png", split="train[:1000]", data_dir=folder, shuffle=True,
                         exclude_keys={"id"})
source = TFDSEagerSource(config, rngs=nnx.Rngs(0))
pipeline = Pipeline(source=source, stages=[], batch_size=batch, rngs=nnx.Rngs(0))
for made in pipeline:
    pass
source.reset()
count, began = 0, time.perf_counter()
while time.perf_counter() - began < 5:
    for made in Pipeline(source=source, stages=[], batch_size=batch, rngs=nnx.Rngs(0)):
        count += 1
    source.reset()
made["image"].block_until_ready()
print("records/s", count * batch / (time.perf_counter() - began))
"""


def prepare(folder):
    """Write both sets in both formats below a folder, unless they exist."""
    for name in SETS:
        for file_format in FORMATS:
            place = folder / file_format
            if not (place / name / "1.0.0" / "features.json").exists():
                import image_sets

                place.mkdir(parents=True, exist_ok=True)
                builder = image_sets.SmallPng if name == "small_png" else image_sets.LargeJpeg
                builder(data_dir=place, file_format=file_format).download_and_prepare()


def source(folder, name, file_format="tfrecord", kind="tfds-streaming", split="train", **fields):
    return feedrace.create("source", kind, name=name, split=split, shuffle=True,
                           data_dir=str(folder / file_format), **fields)  # fmt: skip


def drain(batches):
    batch = None
    for made in batches:
        batch = made
    jax.block_until_ready([leaf for leaf in jax.tree.leaves(batch) if isinstance(leaf, jax.Array)])


def tf_data(folder, name, threads, shuffle=0):
    """Return a function that goes through a set once, read in its order, by tf.data."""
    import tensorflow_datasets as tfds

    config = tfds.ReadConfig(
        num_parallel_calls_for_decode=threads,
        num_parallel_calls_for_interleave_files=1,
        interleave_cycle_length=1,
        try_autocache=False,
    )
    config.options.threading.private_threadpool_size = threads
    config.options.autotune.enabled = False
    builder = tfds.builder_from_directory(str(folder / "tfrecord" / name / "1.0.0"))
    records = builder.as_dataset(split="train", read_config=config, shuffle_files=False)
    if shuffle:
        records = records.shuffle(shuffle)
    records = records.batch(BATCH).prefetch(2)

    def go():
        for _ in tfds.as_numpy(records):
            pass

    return go


def bare_decoder(folder, name, threads):
    """Return a function that decodes all images from bytes in memory, in `threads` threads."""
    import imagecodecs
    import simplejpeg

    made, (_, shape) = source(folder, name, decode={"image": False}), SETS[name]
    encoded = made.fetch(np.arange(len(made)))["image"].tolist()
    buffers = [np.empty((BATCH, *shape), np.uint8) for _ in range(2 * threads)]

    def png(data, out):
        imagecodecs.spng_decode(data, out=out)

    def jpeg(data, out):
        simplejpeg.decode_jpeg(data, "RGB", True, buffer=out)

    decode = png if encoded[0][:4] == b"\x89PNG" else jpeg

    def part(start):
        buffer = buffers[start // BATCH % len(buffers)]
        for data, out in zip(encoded[start : start + BATCH], buffer, strict=False):
            decode(data, out)

    def go():
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(part, range(0, len(encoded), BATCH)))

    return go


def streaming(folder, threads):
    from feedrace_tfds.tensorflow_runtime import import_tensorflow

    import_tensorflow(threads)
    for name, (count, _) in SETS.items():
        made = {f: source(folder, name, f, num_threads=threads) for f in FORMATS}
        by_tensorflow = source(folder, name, num_threads=threads, decoder="tensorflow")
        sources = {**made, "decoder = tensorflow": by_tensorflow}
        functions = {
            way: functools.partial(drain, feedrace.Pipeline(source=one, batch_size=BATCH))
            for way, one in sources.items()
        }
        functions |= {
            "tf.data": tf_data(folder, name, threads),
            "tf.data, shuffle(1000)": tf_data(folder, name, threads, 1000),
            "limit": bare_decoder(folder, name, threads),
        }
        rates = {k: count / s for k, s in alternate(functions, rounds=3).items()}
        for file_format in FORMATS:
            for other, target in (("tf.data", "1.0"), ("tf.data, shuffle(1000)", "1.2"),
                                  ("limit", "0.85")):  # fmt: skip
                detail = f"{rates[file_format]:,.0f} against {rates[other]:,.0f} records/s"
                report(f"{name} {file_format}, globally shuffled, {threads} threads, against "
                       f"{other}", rates[file_format] / rates[other], target, detail)  # fmt: skip
        ratio = rates["decoder = tensorflow"] / rates["tf.data"]
        detail = f"{rates['decoder = tensorflow']:,.0f} records/s"
        report(f"{name} decoder = tensorflow against tf.data", ratio, "none", detail)


def resume(folder, threads):
    for file_format in FORMATS:
        pipelines = [
            feedrace.Pipeline(source=source(folder, "large_jpeg", file_format), batch_size=BATCH)
            for _ in range(2)
        ]
        start = pipelines[0].get_state()
        steps = pipelines[0].plans["train"].batches_per_epoch
        with pipelines[0].steps() as iterator:
            for _ in range(int(0.9 * steps)):
                next(iterator)
        late = pipelines[0].get_state()

        def first(state, pipeline=pipelines[1]):
            pipeline.set_state(state)
            with pipeline.steps() as iterator:
                jax.block_until_ready(next(iterator).batch["image"])

        seconds = alternate(
            {
                "start": functools.partial(first, start),
                "late": functools.partial(first, late),
            },
            rounds=9,
        )
        detail = f"{seconds['late'] * 1e3:.1f} ms against {seconds['start'] * 1e3:.1f}"
        report(f"{file_format}: first batch at 90% of an epoch against from the start",
               seconds["late"] / seconds["start"], "at most 1.5", detail)  # fmt: skip


def offsets(folder, threads):
    from feedrace.plugin import Storage, TableCache, scan_tfrecord

    pattern = str(folder / "tfrecord" / "small_png" / "1.0.0" / "*.tfrecord-*")
    with tempfile.TemporaryDirectory() as cache:
        storage = Storage(cache_dir=cache)
        files, kept = storage.find(pattern), TableCache(storage)

        def read():
            return kept.tables("tfrecord", files, scan_tfrecord)

        read()
        made = functools.partial(scan_tfrecord, storage.open(files[0]))
        seconds = alternate({"made": made, "read": read}, 9)
    count = SETS["small_png"][0]
    rate = count / seconds["made"]
    report("offset table, against 500,000 records/s", rate / 5e5, "1", f"{rate:,.0f} records/s")
    print(f"offset table of {count:,} records read again: {seconds['read'] * 1e3:.2f} ms")


def memory_of(field):
    """Return a figure of this process's memory, "VmRSS" now or "VmHWM" at its peak, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def in_process(folder, threads, what, *arguments):
    """Return the numbers that a function of this file prints in a new process."""
    command = [sys.executable, __file__, "--data", str(folder), "--threads", str(threads)]
    done = subprocess.run([*command, "--measure", what, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return [float(word) for word in done.stdout.split()]


def measure_epoch(folder, threads, split):
    """Print the peak memory of an epoch of a part of the small set."""
    made = source(folder, "small_png", split=split, num_threads=threads)
    drain(feedrace.Pipeline(source=made, batch_size=BATCH))
    print(memory_of("VmHWM"))


def measure_load(folder, threads):
    """Print the peak memory of loading the small set, its decoded size, and the time."""
    made = source(folder, "small_png", kind="tfds-eager", num_threads=threads, exclude_keys=["id"])
    small = source(folder, "small_png", kind="tfds-eager", split="train[:1%]", exclude_keys=["id"])
    drain(feedrace.Pipeline(source=small, batch_size=BATCH))  # compilers and libraries
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak
    before, began = memory_of("VmRSS"), time.perf_counter()
    jax.block_until_ready(made.data["image"])
    seconds = time.perf_counter() - began
    print(memory_of("VmHWM") - before, sum(leaf.nbytes for leaf in made.data.values()), seconds)


def measure_tf_data(folder, threads):
    """Print the time of one tf.data pass over the small set."""
    from feedrace_tfds.tensorflow_runtime import import_tensorflow

    import_tensorflow(threads)
    go = tf_data(folder, "small_png", threads)
    began = time.perf_counter()
    go()
    print(time.perf_counter() - began)


def memory(folder, threads):
    tenth, whole = (in_process(folder, threads, "measure_epoch", split)[0]
                    for split in ("train[:10%]", "train"))  # fmt: skip
    detail = f"{whole / 2**20:.0f} MiB against {tenth / 2**20:.0f} at the peak of a process"
    report("memory of a split ten times as long", whole / tenth, "about 1", detail)


def eager(folder, threads, peer):
    rounds = 1 if QUICK else 3
    loads = [in_process(folder, threads, "measure_load") for _ in range(rounds)]
    passes = [in_process(folder, threads, "measure_tf_data")[0] for _ in range(rounds)]
    most, decoded = (statistics.median(column) for column in list(zip(*loads, strict=True))[:2])
    detail = f"{most / 2**20:.0f} MiB more at the peak, {decoded / 2**20:.0f} MiB decoded"
    report("eager load, memory", most / decoded, "at most 1.5", detail)
    seconds, a_pass = statistics.median(load[2] for load in loads), statistics.median(passes)
    report("eager load, time against a tf.data pass", seconds / a_pass, "at most 1.2",
           f"{seconds:.2f} s against {a_pass:.2f}")  # fmt: skip

    made = source(folder, "small_png", kind="tfds-eager", exclude_keys=["id"])
    pipeline = feedrace.Pipeline(source=made, batch_size=BATCH)
    data = made.data
    gather = jax.jit(lambda data, order: jax.tree.map(lambda leaf: jnp.take(leaf, order, 0), data))
    order = np.random.default_rng(0).permutation(len(made)).astype(np.int32)

    def bare():
        for start in range(0, len(order) - BATCH + 1, BATCH):
            out = gather(data, order[start : start + BATCH])
        jax.block_until_ready(out)

    seconds = alternate({"feedrace": lambda: drain(pipeline), "gather": bare}, rounds=7)
    rates = {name: len(made) / second for name, second in seconds.items()}
    detail = f"{rates['feedrace'] / 1e6:.2f} against {rates['gather'] / 1e6:.2f} million/s"
    report("eager shuffled epoch against a bare jitted gather",
           rates["feedrace"] / rates["gather"], "0.7", detail)  # fmt: skip
    if peer is None:
        print("(no --peer is given: datarax is not measured)")
        return
    command = [peer, "-c", DATARAX, str(folder / "tfrecord"), str(BATCH)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=150)
    except subprocess.TimeoutExpired:
        print("(datarax is not measured: it took more than 150 s)")
        return
    if done.returncode:
        print(f"(datarax is not measured: {done.stderr.strip().splitlines()[-1]})")
        return
    theirs = float(done.stdout.split()[-1])
    detail = f"{rates['feedrace']:,.0f} against {theirs:,.0f} records/s"
    report("eager shuffled epoch against datarax", rates["feedrace"] / theirs, "200", detail)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=data_folder(), help="folder of the sets")
    quick_option(parser)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--peer", default=os.environ.get("DATARAX_PYTHON"),
                        help="a Python that has datarax")  # fmt: skip
    parser.add_argument("--only", nargs="*", help="streaming, resume, offsets, memory, eager")
    parser.add_argument("--measure", nargs="*", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        globals()[given.measure[0]](given.data, given.threads, *given.measure[1:])
        sys.exit()
    prepare(given.data)
    cache = tempfile.mkdtemp()
    os.environ["FEEDRACE_CACHE_DIR"] = cache
    parts = {
        "streaming": lambda: streaming(given.data, given.threads),
        "resume": lambda: resume(given.data, given.threads),
        "offsets": lambda: offsets(given.data, given.threads),
        "memory": lambda: memory(given.data, given.threads),
        "eager": lambda: eager(given.data, given.threads, given.peer),
    }
    try:
        for name in given.only or parts:
            parts[name]()
    finally:
        shutil.rmtree(cache)
