"""`feedrace convert` of photographs: JPEGs decoded, cropped and written, in one process and in two.

Each conversion writes all shards, reads them back, and is thrown away. Besides, what a conversion
costs beyond the stages: the same records through the stages alone.
"""

import shutil
import statistics
import tempfile
import time

import numpy as np
from host_work import Encoded
from measure import report, take_turns

SIZE = 112


class Photographs:
    """The JPEGs of a file, several times over, as a source."""

    def __init__(self, path, times):
        self._records, self._times = Encoded(path), times

    def __len__(self):
        return self._times * len(self._records)

    def element_spec(self):
        from feedrace.plugin import LeafSpec

        return {"image": LeafSpec((), object), "id": LeafSpec((), np.int32)}

    def reader(self):
        return self

    def fetch(self, indices):
        rows = [self._records[number % len(self._records)] for number in indices.tolist()]
        return {
            "image": np.array([row["image"] for row in rows], object),
            "id": indices.astype(np.int32),
        }


def count(number, records):
    """The work of a job that only runs the stages."""
    return {"records": sum(1 for _ in records)}


def converted(given):
    """Photographs, decoded and cropped, written as ArrayRecord and Parquet."""
    from feedrace.plugin import all_records
    from feedrace_files.convert import convert

    folder = given.data
    path = folder / "photographs.bin"
    if not path.exists():
        from image_sets import write_encoded

        folder.mkdir(parents=True, exist_ok=True)
        write_encoded(path)
    stages = [
        {"use": "decode-image", "field": "image"},
        {"use": "random-resized-crop", "field": "image", "size": [SIZE, SIZE]},
    ]
    every = all_records(Photographs(path, 1 if given.quick else 4), stages, seed=1)
    shards = 16
    bounds = [len(every) * i // shards for i in range(shards + 1)]

    def writing(to, workers):
        def run():
            with tempfile.TemporaryDirectory(dir=folder) as place:
                began = time.perf_counter()
                made = convert(every, to, f"{place}/out", shards=shards, workers=workers)
                assert made.records == len(every)
                return len(every) / (time.perf_counter() - began)

        return run

    def staged():
        place = tempfile.mkdtemp(dir=folder)
        began = time.perf_counter()
        made = list(every.run(count, bounds, place, what="count", workers=1))
        assert sum(one.value["records"] for one in made) == len(every)
        took = time.perf_counter() - began
        shutil.rmtree(place)
        return len(every) / took

    found = take_turns(
        {
            "array-record 1": writing("array-record", 1),
            "array-record 2": writing("array-record", 2),
            "parquet 1": writing("parquet", 1),
            "parquet 2": writing("parquet", 2),
            "stages 1": staged,
        },
        given.rounds,
    )
    rate = {name: statistics.median(rates) for name, rates in found.items()}
    for to in ("array-record", "parquet"):
        one, two = rate[f"{to} 1"], rate[f"{to} 2"]
        report(
            f"convert photographs to {to}, 2 processes against 1",
            two / one,
            "1.6",
            f"{two:,.0f} against {one:,.0f} records/s",
        )
        report(
            f"convert photographs to {to} against the stages alone, 1 process",
            one / rate["stages 1"],
            "0.6",
            f"{one:,.0f} against {rate['stages 1']:,.0f} records/s",
        )


ROWS = {"converted": converted}
