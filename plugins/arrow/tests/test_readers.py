"""What workers hold, in processes of their own."""

import pickle
import subprocess
import sys
from contextlib import closing

import numpy as np
import pytest
from conftest_files import everything, table, write_arrow, write_csv, write_json, write_parquet

import feedrace

WRITERS = {
    "parquet": write_parquet,
    "arrow": write_arrow,
    "json-lines": write_json,
    "csv": write_csv,
}


@pytest.fixture(params=[*WRITERS, "hugging-face"])
def source(request, tmp_path, make):
    made = table().drop_columns(["tokens"])
    path = tmp_path / "data"
    if request.param == "hugging-face":
        datasets = pytest.importorskip("datasets")
        datasets.Dataset(made).save_to_disk(path)
    else:
        WRITERS[request.param](path, made)
    return make(request.param, path)


def test_a_reader_in_another_process_imports_no_jax(source, tmp_path):
    (tmp_path / "reader").write_bytes(pickle.dumps(source.reader()))
    code = (
        "import pickle, sys, numpy as np\n"
        f"reader = pickle.load(open({str(tmp_path / 'reader')!r}, 'rb'))\n"
        "print(reader.fetch(np.array([3]))['text'][0], 'jax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["text", "3", "False"]


@pytest.mark.parametrize("kind", ["thread", pytest.param("process", marks=pytest.mark.slow)])
def test_a_pipeline_with_workers_gives_every_record_once(source, kind):
    pipeline = feedrace.Pipeline(
        source=source, batch_size=7, seed=0, workers={"kind": kind, "count": 2}
    )
    with closing(iter(pipeline)) as batches:
        ids = [batch["id"][np.asarray(batch["valid_mask"])] for batch in batches]
    assert sorted(np.concatenate(ids).tolist()) == list(range(40))


def test_a_pipeline_goes_on_where_it_was(source):
    config = {
        "source": source,
        "batch_size": 4,
        "seed": 0,
        "workers": {"kind": "thread", "count": 2},
    }
    whole = feedrace.Pipeline(**config)
    with closing(iter(whole)) as batches:
        for _ in range(6):
            next(batches)
        state = whole.get_state()
        rest = [np.asarray(batch["id"]).tolist() for batch in batches]
    resumed = feedrace.Pipeline(**config)
    resumed.set_state(state)
    with closing(iter(resumed)) as batches:
        assert [np.asarray(batch["id"]).tolist() for batch in batches] == rest
    assert len(rest) == 4


def test_fetches_of_several_threads_are_those_of_one(source):
    from concurrent.futures import ThreadPoolExecutor

    reader, rng = source.reader(), np.random.default_rng(0)
    orders = [rng.integers(0, 40, 30) for _ in range(12)]
    expected = everything(source)["id"]
    with ThreadPoolExecutor(4) as pool:
        for order, found in zip(orders, pool.map(reader.fetch, orders), strict=True):
            assert found["id"].tolist() == expected[order].tolist()
