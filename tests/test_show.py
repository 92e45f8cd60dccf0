"""The demonstrations count what they say they count."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

SHOW = Path(__file__).parents[1] / "docs/examples/show"


@pytest.fixture
def counting(monkeypatch):
    monkeypatch.syspath_prepend(str(SHOW))
    import count_your_records

    yield count_your_records
    for name in ("count_your_records", "report", "peers"):
        sys.modules.pop(name, None)


def made(epochs, **facts):
    whole = {"loader": "x", "versions": {}, "rate": 1.0, "leaked": None, "how": "", **facts}
    named = {f"seed {s} epoch {e}": np.array(ids) for (s, e), ids in epochs.items()}
    return {"facts": json.dumps(whole), **named}


def test_records_that_are_lost_or_come_again_are_counted(counting):
    row = counting.counted(made({(0, 0): [3, 0, 0, 2, 2, 2], (0, 1): [1, 2, 3, 0]}), 4)
    assert (row["unique"], row["lost"], row["again"]) == (3, 1, 3)
    assert row["later"] and not row["shared"]


def test_epochs_that_two_seeds_share_are_found_and_empty_ones_are_not_compared(counting):
    epochs = {(0, 0): [0, 1], (0, 1): [1, 0], (1, 0): [1, 0], (1, 1): [], (2, 0): [0, 1]}
    row = counting.counted(made(epochs), 2)
    assert row["shared"] == [((0, 0), (2, 0)), ((0, 1), (1, 0))]
    assert not row["later"]


def test_what_feedrace_loses_comes_first(counting):
    ours = counting.counted(made({(0, 0): [0, 1]}, loader="Feedrace", rate=100.0), 2)
    fast = counting.counted(made({(0, 0): [0, 0]}, loader="fast", rate=250.0, leaked=[1, 2]), 2)
    assert next(counting.table([ours, fast], 2)) == "Faster than Feedrace here: fast 2.5x."
    assert next(counting.table([ours], 2)) == "No loader was faster than Feedrace here."
    assert "1 of 2" in list(counting.table([ours, fast], 2))[-1]


def test_a_loaders_stream_is_cut_in_epochs_and_padding_is_left_out(monkeypatch):
    monkeypatch.syspath_prepend(str(SHOW / "loaders"))
    import common

    batch = {"id": np.array([4, 5, 0]), "valid_mask": np.array([True, True, False])}
    assert [ids.tolist() for ids in common.ids_of([[batch], [batch]], 2)] == [[4, 5], [4, 5]]
    stream = [[{"id": np.arange(400) % 200}]]
    assert [len(ids) for ids in common.ids_of(stream, 200)] == [200, 200]
    sys.modules.pop("common", None)


def test_the_readme_has_the_table_of_the_page():
    root = SHOW.parents[2]
    page = (root / "docs/demonstrations/count-your-records.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert len(rows) == 7
    assert "\n".join(rows) in (root / "README.md").read_text()
