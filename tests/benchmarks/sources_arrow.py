"""Rows of `sources.py` on Parquet, JSON Lines and Hugging Face datasets.

Each row is a function of the program's options: `data` (a folder for what is made once), `quick`
and `rounds`. Beside a rate stands the time that all processes together compute for a record, which
holds on a machine that others use, too.
"""

import functools
import itertools
import json
import time

import host_peers
import numpy as np
from host_ours import THREADS
from measure import QUICK, alternate, cpu_seconds, figure, report, take_turns
from sources_data import empty_cache, late_start, made_once

COUNT, MANY = (200_000, 2_000) if QUICK else (1_000_000, 10_000)
WIDTH, GROUP, BATCH = 128, 65_536, 1024


def tokens(folder):
    """Write rows of 128 tokens, the first of which is the row's number."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    values = np.random.default_rng(0).integers(0, 50_257, (COUNT, WIDTH), np.int32)
    values[:, 0] = np.arange(COUNT)
    array = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), WIDTH)
    pq.write_table(pa.table({"tokens": array}), folder / "tokens.parquet", row_group_size=GROUP)


def token_file(given):
    return made_once(given.data / "tokens", tokens) / "tokens.parquet"


def ours(path, sampler, epochs=1):
    """Yield the row numbers of the batches of some epochs, each batch on the device."""
    import jax

    import feedrace

    source = feedrace.create("source", "parquet", path=str(path))
    pipeline = feedrace.Pipeline(
        source=source, batch_size=BATCH, seed=0, workers=THREADS,
        sampler={"num_epochs": epochs, **sampler},
    )  # fmt: skip
    with pipeline.steps() as steps:
        for step in steps:
            made = jax.block_until_ready(step.batch)
            yield np.asarray(made["tokens"])[np.asarray(made["valid_mask"]), 0]


def hugging_face(given, path, workers):
    """Yield the row numbers of an epoch by datasets and torch, shuffled."""
    import datasets
    import torch.utils.data

    datasets.disable_progress_bars()
    made = datasets.load_dataset(
        "parquet", data_files=str(path), split="train", cache_dir=str(given.data / "hugging-face")
    )
    loader = torch.utils.data.DataLoader(
        made.with_format("torch"), batch_size=BATCH, shuffle=True, num_workers=workers
    )
    for batch in loader:
        yield batch["tokens"][:, 0].numpy()


def scan(path):
    """Yield the row numbers of pyarrow's batches, in the stored order."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, pre_buffer=True) as file:
        for batch in file.iter_batches():
            array = batch.column(0).flatten().to_numpy().reshape(-1, WIDTH)
            yield array[:, 0]


def timed(batches, count):
    """Return rows/s, and us of all processes a row; check that the rows are all there, once."""
    seconds, began = cpu_seconds(), time.perf_counter()
    numbers = np.concatenate([np.array(numbers) for numbers in batches])
    took = time.perf_counter() - began
    found = len(np.unique(numbers))
    if len(numbers) != count or found != min(count, COUNT):
        raise RuntimeError(f"{len(numbers)} rows came, {found} different ones, of {count}")
    return count / took, 1e6 * (cpu_seconds() - seconds) / count


def medians(functions, rounds):
    """Return the median rows/s of each contender, all called in turn, and print them."""
    functions["feedrace"]()  # the first call compiles
    rates = {}
    for name, results in take_turns(functions, rounds).items():
        found, computed = (np.array(column) for column in zip(*results, strict=True))
        rates[name] = float(np.median(found))
        print(f"  {name}: {rates[name]:,.0f} rows/s ({found.min():,.0f} to {found.max():,.0f}), "
              f"{np.median(computed):.2f} us of CPU a row", flush=True)  # fmt: skip
    return rates


def parquet_shuffled(given):
    """A shuffled epoch, everything from building on, against datasets."""
    path = token_file(given)
    functions = {"feedrace": lambda: timed(ours(path, {"use": "epoch-aware"}), COUNT)}
    if host_peers.peer("datasets") and host_peers.peer("torch"):
        for workers in (0, 2):
            functions[f"datasets, {workers} workers"] = functools.partial(
                lambda workers: timed(hugging_face(given, path, workers), COUNT), workers
            )
    rates = medians(functions, 1 if given.quick else given.rounds)
    peers = [name for name in rates if name != "feedrace"]
    if peers:
        best = max(peers, key=rates.__getitem__)
        report(f"Parquet, shuffled, against {best}", rates["feedrace"] / rates[best], "5",
               f"{rates['feedrace']:,.0f} against {rates[best]:,.0f} rows/s")  # fmt: skip


def parquet_blocks(given):
    """An epoch of `block-shuffle`, everything from building on, against pyarrow's own scan."""
    path = token_file(given)
    sampler = {"use": "block-shuffle", "block_size": GROUP, "window_blocks": 2}
    rates = medians(
        {
            "feedrace": lambda: timed(ours(path, sampler), COUNT),
            "feedrace, the 2nd to 4th epoch": lambda: timed(
                itertools.islice(ours(path, sampler, 4), -(-COUNT // BATCH), None), 3 * COUNT
            ),
            "pyarrow's scan": lambda: timed(scan(path), COUNT),
        },
        given.rounds,
    )
    scanned = rates.pop("pyarrow's scan")
    for name, rate in rates.items():
        report(f"Parquet, block-shuffle, against pyarrow's scan, {name}", rate / scanned, "0.7",
               f"{rate:,.0f} against {scanned:,.0f} rows/s")  # fmt: skip


def short_lines(folder):
    with open(folder / "lines.jsonl", "w") as file:
        for i in range(COUNT):
            file.write(f'{{"id": {i}, "text": "some short line {7 * i}", "label": {i % 10}}}\n')


def json_reads(given):
    """Random reads of lines, parsed, against seeking each by its offset."""
    import feedrace

    path = made_once(given.data / "short-lines", short_lines) / "lines.jsonl"
    source = feedrace.create("source", "json-lines", path=str(path))
    count = BATCH * (20 if given.quick else 100)
    order = np.random.default_rng(0).permutation(COUNT)[:count].reshape(-1, BATCH)
    ends = np.cumsum([len(line) for line in path.open("rb")])
    offsets = np.concatenate([[0], ends])

    def mine():
        reader = source.reader()
        for numbers in order:
            if reader.fetch(numbers)["id"][3] != numbers[3]:
                raise RuntimeError("another line")

    def seeks():
        with path.open("rb") as file:
            for numbers in order:
                rows = []
                for offset in offsets[numbers].tolist():
                    file.seek(offset)
                    rows.append(json.loads(file.readline()))
                ids = np.array([row["id"] for row in rows], np.int32)
                labels = np.array([row["label"] for row in rows], np.int32)
                texts = np.array([row["text"] for row in rows], object)
                if ids[3] != numbers[3] or len(texts) != len(labels):
                    raise RuntimeError("another line")

    seconds = alternate({"mine": mine, "seeks": seeks}, given.rounds)
    report("JSON Lines, random reads, against seeks", seconds["seeks"] / seconds["mine"], "2",
           f"{count / seconds['mine']:,.0f} against {count / seconds['seeks']:,.0f} "
           f"lines/s")  # fmt: skip


def many_files(folder):
    import pyarrow as pa
    import pyarrow.parquet as pq

    for i in range(MANY):
        pq.write_table(pa.table({"id": [i]}), folder / f"{i:05}.parquet")


def parquet_start(given):
    """The start of a data set of many files whose footers are kept: to the first record."""
    import feedrace

    folder = made_once(given.data / "many-parquet", many_files)

    def begin():
        source = feedrace.create("source", "parquet", path=str(folder))
        source.fetch(np.array([len(source) - 1]))

    with empty_cache():
        began = time.perf_counter()
        begin()
        first = time.perf_counter() - began
        seconds = alternate({"start": begin}, given.rounds)["start"]
    figure(f"start of {MANY:,} Parquet files with kept footers", seconds, "s", "1")
    print(f"  the first time, without them: {first:.2f} s", flush=True)


def small_set(folder):
    """Write 200,000 short records in each format."""
    import datasets
    import pyarrow as pa
    import pyarrow.csv as arrow_csv
    import pyarrow.parquet as pq

    datasets.disable_progress_bars()
    rows = 200_000
    made = pa.table({"id": pa.array(range(rows), pa.int32()), "x": np.arange(rows) / 2})
    pq.write_table(made, folder / "a.parquet", row_group_size=10_000)
    with (
        pa.OSFile(str(folder / "a.arrow"), "wb") as file,
        pa.ipc.new_file(file, made.schema) as writer,
    ):
        writer.write_table(made, max_chunksize=10_000)
    arrow_csv.write_csv(made, folder / "a.csv")
    with open(folder / "a.jsonl", "w") as file:
        for row in made.to_pylist():
            file.write(json.dumps(row) + "\n")
    datasets.Dataset(made).save_to_disk(folder / "set")


FILES = {"parquet": "a.parquet", "arrow": "a.arrow", "csv": "a.csv", "json-lines": "a.jsonl",
         "hugging-face": "set"}  # fmt: skip


def tables_resume(given):
    """The first batch at 90% of an epoch, against that of a fresh start, for each source."""
    import feedrace

    folder = made_once(given.data / "tables", small_set)
    for name, file in FILES.items():
        pipelines = [
            feedrace.Pipeline(
                source=feedrace.create("source", name, path=str(folder / file)), workers=THREADS,
                batch_size=256, seed=0, sampler={"use": "shuffle"},
            )
            for _ in range(2)
        ]  # fmt: skip
        late_start(name, *pipelines)


ROWS = {
    row.__name__: row
    for row in (parquet_shuffled, parquet_blocks, json_reads, parquet_start, tables_resume)
}
