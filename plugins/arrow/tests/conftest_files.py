"""Files of the same records in each format."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 40


def everything(source):
    return source.fetch(np.arange(len(source)))


def table(rows=ROWS, start=0):
    numbers = range(start, start + rows)
    return pa.table({
        "id": pa.array(numbers, pa.int32()),
        "score": pa.array([n / 2 for n in numbers], pa.float32()),
        "text": [f"text {n}" for n in numbers],
        "tokens": pa.array([list(range(n % 5)) for n in numbers], pa.list_(pa.int32())),
    })  # fmt: skip


def write_parquet(path, made, group=7):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(made, path, row_group_size=group)
    return path


def write_arrow(path, made, batch=7, stream=False, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    new = pa.ipc.new_stream if stream else pa.ipc.new_file
    with (
        pa.OSFile(str(path), "wb") as file,
        new(file, made.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer,
    ):
        writer.write_table(made, max_chunksize=batch)
    return path


def write_json(path, made):
    path.write_text("".join(json.dumps(row) + "\n" for row in made.to_pylist()))
    return path


def write_csv(path, made):
    lines = [",".join(made.column_names)]
    lines += [",".join(str(value) for value in row.values()) for row in made.to_pylist()]
    path.write_text("\n".join(lines) + "\n")
    return path
