"""Rows of `sources.py` on files: lines, tar shards, many files, and resuming.

Each row is a function of the program's options: `data` (a folder for what is made once), `quick`
and `rounds`.
"""

import functools
import os
import statistics
import time

import host_peers
import numpy as np
from host_ours import BATCH, CORES, PHOTOGRAPHS, PROCESSES, THREADS, rate
from host_work import Encoded, decode_crop_resize
from measure import QUICK, alternate, figure, report, take_turns
from sources_data import empty_cache, late_start, made_once

SHARDS = 6
LINES, MANY = (200_000, 2_000) if QUICK else (1_000_000, 10_000)
CROP = [{"use": "decode-image", "field": "jpg"},
        {"use": "random-resized-crop", "field": "jpg", "size": [224, 224]}]  # fmt: skip


def short_lines(folder):
    with open(folder / "lines.jsonl", "w") as file:
        for i in range(LINES):
            file.write(f'{{"id": {i}, "text": "some short line {7 * i}", "label": {i % 10}}}\n')


def photographs(given):
    """Return the photographs of `host.py`, made if they are not there yet."""
    path = given.data / "photographs.bin"
    if not path.exists():
        import image_sets

        image_sets.write_encoded(path)
    return Encoded(path)


def shards(given, folder):
    """Write the photographs as WebDataset shards."""
    from feedrace_testing.sample_files import write_tar

    records = photographs(given)
    for shard in range(SHARDS):
        files = []
        for i in range(shard, PHOTOGRAPHS, SHARDS):
            files += [(f"{i:06}.jpg", records[i]["image"]), (f"{i:06}.cls", b"%d" % i)]
        write_tar(folder / f"photographs-{shard:06}.tar", files)


def lines(given):
    """The index of many short lines, against reading the file and nothing more."""
    import feedrace

    path = made_once(given.data / "short-lines", short_lines) / "lines.jsonl"

    def index():
        with empty_cache():
            source = feedrace.create("source", "text-lines", path=str(path))
            if len(source) != LINES:
                raise RuntimeError(f"{len(source)} of {LINES} lines were found")

    def bare():
        with open(path, "rb", buffering=0) as file:
            while file.read(4 << 20):
                pass

    seconds = alternate({"index": index, "bare": bare}, given.rounds)
    report(f"index of {LINES:,} lines, source made and table kept", LINES / seconds["index"] / 1e6,
           "1 million/s", f"{seconds['index'] * 1e3:.0f} ms; the file is read in "
           f"{seconds['bare'] * 1e3:.0f} ms")  # fmt: skip


def photograph_of_tar(record, rng):
    """The record stage of a photograph, with the same calls as the peer."""
    return {"jpg": decode_crop_resize(record["jpg"], rng), "cls": record["cls"]}


def ours(source, stages, workers, epochs):
    """Yield the record numbers of batches, each of which is on the device."""
    import jax

    import feedrace

    pipeline = feedrace.Pipeline(
        source=source, stages=stages, workers=workers, batch_size=BATCH, seed=0,
        sampler={"use": "epoch-aware", "num_epochs": epochs + 1},
    )  # fmt: skip
    with pipeline.steps() as steps:
        for step in steps:
            made = jax.block_until_ready(step.batch)
            yield np.asarray(made["cls"])[np.asarray(made["valid_mask"])]


class OfWebDataset:
    """A sample of webdataset with a photograph's work done; each process draws for itself."""

    _rng = None

    def __call__(self, sample):
        if self._rng is None:
            self._rng = np.random.default_rng(os.getpid())
        return {"jpg": decode_crop_resize(sample["jpg"], self._rng), "cls": int(sample["cls"])}


def webdataset(paths, epochs):
    """Yield the record numbers of batches by webdataset, in 2 processes with buffers of 1,000."""
    import webdataset as wds

    made = wds.WebDataset(paths, shardshuffle=len(paths)).shuffle(1000).map(OfWebDataset())
    loader = wds.WebLoader(
        made.batched(BATCH), batch_size=None, num_workers=CORES, persistent_workers=True,
        multiprocessing_context="spawn",
    )  # fmt: skip
    for _ in range(epochs + 1):
        for batch in loader:
            yield batch["cls"]


def tars(given):
    """Tar shards of photographs, globally shuffled, against webdataset."""
    import feedrace
    from feedrace.plugin import LeafSpec

    epochs = 1 if given.quick else 3
    folder = made_once(given.data / "tar", functools.partial(shards, given))
    source = feedrace.create("source", "tar", path=str(folder), columns=["jpg", "cls"])

    def spec(before):
        return {**before, "jpg": LeafSpec((224, 224, 3), np.dtype(np.uint8))}

    same = [feedrace.record(photograph_of_tar, spec=spec, stochastic=True)]
    functions = {
        f"{what}, {workers['kind']}": functools.partial(ours, source, stages, workers, epochs)
        for what, stages, workers in (("fused", CROP, PROCESSES), ("fused", CROP, THREADS),
                                      ("same calls", same, PROCESSES))
    }  # fmt: skip
    mine = list(functions)
    if host_peers.peer("webdataset") and host_peers.peer("torch"):
        paths = sorted(map(str, folder.glob("*.tar")))
        functions["webdataset"] = functools.partial(webdataset, paths, epochs)
    timed = {
        name: lambda start=start: rate(start(), PHOTOGRAPHS, epochs)
        for name, start in functions.items()
    }
    rates = {}
    for name, results in take_turns(timed, given.rounds).items():
        found, computed = zip(*results, strict=True)
        rates[name] = statistics.median(found)
        print(f"  {name}: {rates[name]:,.0f} records/s, "
              f"{statistics.median(computed):,.0f} us of CPU a record", flush=True)  # fmt: skip
    if "webdataset" in rates:
        best = max(mine, key=rates.__getitem__)
        for name in dict.fromkeys((best, "same calls, process")):
            report(
                f"tar shards against webdataset, {name}",
                rates[name] / rates["webdataset"],
                "1.5",
                f"{rates[name]:,.0f} against {rates['webdataset']:,.0f} records/s",
            )


def written(name):
    """Return a function that fills a folder with small files of a source."""
    from feedrace_testing import sample_files

    def write(folder):
        for i in range(MANY):
            if name == "text-lines":
                (folder / f"{i:05}.txt").write_text(f"one of {i}\ntwo of {i}\n")
            elif name == "image-folder":
                (folder / f"class-{i % 100:03}").mkdir(exist_ok=True)
                image = sample_files.grey_image(i % 256)
                (folder / f"class-{i % 100:03}" / f"{i:05}.pgm").write_bytes(image)
            elif name == "tar":
                sample_files.write_tar(folder / f"{i:05}.tar", [("a.bin", b"x"), ("a.cls", b"1")])
            elif name == "tfrecord":
                sample_files.write_tfrecord(folder / f"{i:05}.tfrecord", [b"x"])

    return write


def many_files(given):
    """The start of a data set of many files whose tables are kept: to the first record."""
    import feedrace

    for name in ("text-lines", "image-folder", "tar", "tfrecord"):
        folder = made_once(given.data / f"many-{name}", written(name))

        def begin(name=name, folder=folder):
            source = feedrace.create("source", name, path=str(folder))
            source.fetch(np.array([len(source) - 1]))

        with empty_cache():
            began = time.perf_counter()
            begin()
            first = time.perf_counter() - began
            seconds = alternate({name: begin}, given.rounds)[name]
        figure(f"start of {MANY:,} files of {name} with a kept index", seconds, "s", "1")
        print(f"  the first time, without one: {first:.2f} s", flush=True)


def examples(given, folder):
    """Write the photographs as Examples, in both formats of records, and as files."""
    from feedrace_testing.sample_files import example_of, write_array_record, write_tfrecord

    records = photographs(given)
    images = [records[i]["image"] for i in range(PHOTOGRAPHS)]
    made = [example_of(image=[image], label=[i]) for i, image in enumerate(images)]
    write_tfrecord(folder / "photographs.tfrecord", made)
    write_array_record(folder / "photographs.array_record", made)
    for i, image in enumerate(images):
        (folder / f"class-{i % 10}").mkdir(exist_ok=True)
        (folder / f"class-{i % 10}" / f"{i:06}.jpg").write_bytes(image)


def files_resume(given):
    """The first batch at 90% of an epoch, against that of a fresh start, for each source."""
    import feedrace

    folder = made_once(given.data / "tar", functools.partial(shards, given))
    texts = made_once(given.data / "short-lines", short_lines)
    every = made_once(given.data / "examples", functools.partial(examples, given))
    label = {"features": {"label": "int64"}}
    sources = {
        "image-folder": (64, {"path": str(every), "columns": ["label"]}),
        "tfrecord": (64, {"path": str(every), **label}),
        "array-record": (64, {"path": str(every), **label}),
        "tar": (64, {"path": str(folder), "columns": ["cls"]}),
        "text-lines": (1000, {"path": str(texts / "lines.jsonl")}),
    }
    for name, (batch, fields) in sources.items():
        pipelines = [
            feedrace.Pipeline(source=feedrace.create("source", name, **fields), workers=THREADS,
                              batch_size=batch, seed=0, sampler={"use": "shuffle"})
            for _ in range(2)
        ]  # fmt: skip
        late_start(name, *pipelines)


ROWS = {row.__name__: row for row in (lines, tars, many_files, files_resume)}
