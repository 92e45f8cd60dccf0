"""Damaged tables: Parquet, Arrow, JSON Lines and CSV files, cut, flipped, grown and replaced.

Each is refused with a `FeedraceError`, or gives as many records as it says, with the fields of its
spec. Parquet and Arrow files have few checksums: what is not refused may be other numbers.
"""

import functools
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

import feedrace
import feedrace_arrow  # noqa: F401 (what is attacked; the family is left out without it)
from feedrace.errors import FeedraceError

MOST_TEXT = 20_000
ROWS = 60
SUFFIXES = {"parquet": ".parquet", "arrow": ".arrow", "json-lines": ".jsonl", "csv": ".csv"}
CODECS = ["none", "snappy", "zstd", "gzip", "lz4", "brotli"]


def table(rng, flat):
    """Return some columns of every kind that becomes an array."""
    numbers = range(ROWS)
    columns = {
        "id": pa.array(numbers, pa.int32()),
        "x": pa.array([n / 2 for n in numbers], pa.float64()),
        "text": [f"text {n}" * rng.randrange(3) for n in numbers],
        "good": [n % 3 == 0 for n in numbers],
    }
    if not flat:
        columns |= {
            "tokens": pa.array([list(range(n % 5)) for n in numbers], pa.list_(pa.int32())),
            "grid": pa.array([[[n, 1], [2, 3]] for n in numbers], pa.list_(pa.list_(pa.int16()))),
            "box": pa.array([[n, 1.5] for n in numbers], pa.list_(pa.float32(), 2)),
            "meta": [{"a": n, "b": str(n).encode()} for n in numbers],
        }
    return pa.table(columns)


def with_dictionary(made):
    kinds = pa.array([f"kind {n % 4}" for n in range(ROWS)]).dictionary_encode()
    return made.append_column("kind", kinds)


def write(rng, use, path):
    """Write a file in one of many ways; return how many bytes it has."""
    made = table(rng, flat=use == "csv")
    if use in ("parquet", "arrow") and rng.random() < 0.5:
        made = with_dictionary(made)
    if use == "parquet":
        pq.write_table(
            made, path, row_group_size=rng.randrange(1, ROWS + 1), compression=rng.choice(CODECS),
            use_dictionary=rng.random() < 0.5, write_statistics=rng.random() < 0.5,
            data_page_version=rng.choice(["1.0", "2.0"]),
            write_page_checksum=rng.random() < 0.5,
        )  # fmt: skip
    elif use == "arrow":
        new = rng.choice([pa.ipc.new_file, pa.ipc.new_stream])
        options = pa.ipc.IpcWriteOptions(compression=rng.choice([None, "lz4", "zstd"]))
        with pa.OSFile(str(path), "wb") as file, new(file, made.schema, options=options) as writer:
            writer.write_table(made, max_chunksize=rng.randrange(1, ROWS + 1))
    elif use == "csv":
        pyarrow.csv.write_csv(made, path)
    else:
        rows = [
            {key: value for key, value in row.items() if key != "meta"} for row in made.to_pylist()
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def flipped(rng, path, data):
    for _ in range(rng.randrange(1, 5)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def zeroed(rng, path, data):
    start = rng.randrange(len(data))
    stop = min(len(data), start + rng.randrange(1, 40))
    data[start:stop] = rng.choice([b"\0", b"\xff", b"\n", b'"']) * (stop - start)


def cut(rng, path, data):
    del data[rng.randrange(len(data)) :]


def holed(rng, path, data):
    start = rng.randrange(len(data))
    del data[start : start + rng.randrange(1, 60)]


def grown(rng, path, data):
    start = rng.randrange(len(data) + 1)
    data[start:start] = rng.randbytes(rng.randrange(1, 40))


def attack(rng):
    use = rng.choice(list(SUFFIXES))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FEEDRACE_CACHE_DIR"] = str(Path(folder) / "cache")
        path = Path(folder) / f"data{SUFFIXES[use]}"
        write(rng, use, path)
        how = rng.choice([flipped, flipped, zeroed, cut, holed, grown])
        on_error = rng.choice(["raise", "skip", "substitute"])
        make = functools.partial(
            feedrace.create, "source", use, path=str(path), on_error=on_error, error_budget=1.0
        )
        late = make() if rng.random() < 0.3 else None  # the file changes after it was found
        data = bytearray(path.read_bytes())
        how(rng, path, data)
        path.write_bytes(data)
        try:
            made = late or make()
            if len(made) > 10 * ROWS:  # a count that is wrong: no record can be read
                made.fetch(np.array([0]))
                assert made.bad_records
                return f"{use} {how.__name__}: more records, bad ones"
            check(made)
        except (FeedraceError, OSError) as error:
            assert len(str(error)) < MOST_TEXT
            return f"{use} {how.__name__}: {type(error).__name__}"
        return f"{use} {how.__name__}: read, {'some' if made.bad_records else 'none'} bad"


def check(made):
    """Raise `AssertionError` unless all records have the fields and dtypes of the spec."""
    records = made.fetch(np.arange(len(made)))
    spec = made.element_spec()
    assert records.keys() == spec.keys()
    bad = made.invalid_rows(np.arange(len(made)))
    for name, leaf in spec.items():
        if isinstance(leaf, dict):
            continue
        values = records[name]
        assert len(values) == len(made)
        if None not in leaf.shape and leaf.dtype != object:
            assert values.dtype == leaf.dtype
            assert values.shape[1:] == leaf.shape
        elif None in leaf.shape:
            assert all(one.ndim == len(leaf.shape) for one in values)
        else:
            fits = [isinstance(one, str | bytes) for one in values]
            assert all(fit or skipped for fit, skipped in zip(fits, bad.tolist(), strict=True))
