"""The sources pass the suite that plugin authors use."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feedrace_testing import SourceSuite


def records(rows=30):
    return {
        "id": list(range(rows)),
        "score": [n / 2 for n in range(rows)],
        "text": [f"text {n}" for n in range(rows)],
        "tokens": [list(range(n % 5)) for n in range(rows)],
    }


class TestParquet(SourceSuite):
    component = "parquet"

    @pytest.fixture(autouse=True)
    def files(self, tmp_path):
        for number in range(2):
            pq.write_table(pa.table(records()), tmp_path / f"{number}.parquet", row_group_size=7)
        self.config = {"path": str(tmp_path)}


class TestArrow(SourceSuite):
    component = "arrow"

    @pytest.fixture(autouse=True)
    def files(self, tmp_path):
        made = pa.table(records())
        for name, new in (("a.arrow", pa.ipc.new_file), ("b.arrows", pa.ipc.new_stream)):
            with pa.OSFile(str(tmp_path / name), "wb") as file, new(file, made.schema) as writer:
                writer.write_table(made, max_chunksize=7)
        self.config = {"path": str(tmp_path)}


class TestJSONLines(SourceSuite):
    component = "json-lines"

    @pytest.fixture(autouse=True)
    def files(self, tmp_path):
        rows = pa.table(records()).to_pylist()
        (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
        self.config = {"path": str(tmp_path)}


class TestCSV(SourceSuite):
    component = "csv"

    @pytest.fixture(autouse=True)
    def files(self, tmp_path):
        lines = [f'{n},"text, {n}",{n / 2}' for n in range(30)]
        (tmp_path / "a.csv").write_text("id,text,score\n" + "\n".join(lines))
        self.config = {"path": str(tmp_path / "*.csv")}


class TestHuggingFace(SourceSuite):
    component = "hugging-face"

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path):
        datasets = pytest.importorskip("datasets")
        datasets.Dataset.from_dict(records()).save_to_disk(tmp_path / "set")
        self.config = {"path": str(tmp_path / "set")}
