"""The demonstrations count what they say they count."""

import json
import re
import sys
import time
from pathlib import Path
from string import Template
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest

SHOW = Path(__file__).parents[1] / "docs/examples/show"


@pytest.fixture
def counting(monkeypatch):
    monkeypatch.syspath_prepend(str(SHOW))
    import count_your_records

    yield count_your_records
    for name in ("count_your_records", "report", "peers", "style"):
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


NAMES = ("count_your_records", "kill_shrink_grow", "feed_the_accelerator")


@pytest.mark.parametrize("name", NAMES)
def test_a_page_says_how_long_it_took_and_whether_the_machine_was_busy(counting, tmp_path, name):
    report, page = counting.report, tmp_path / "page.md"
    template = (SHOW / name).with_suffix(".md")
    names = Template(template.read_text()).get_identifiers()
    words = dict.fromkeys(set(names) - {"picture"}, "some")
    for share, busy in ((0.9, True), (0.1, False)):
        began = (time.perf_counter() - 60 * 7, share, 3)
        report.write(page, template, **words | report.facts(began))
        text = page.read_text()
        assert "here it took 7 minutes" in " ".join(text.split())
        assert ("**The machine was busy: 90% of its 3 cores" in text) == busy
        assert "\n\n\n" not in text
        assert "two cores" not in text


def contrast(one, other):
    """Return the contrast of two colours, by WCAG 2."""
    lights = []
    for colour in (one, other):
        parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        lights.append(np.dot((0.2126, 0.7152, 0.0722), linear) + 0.05)
    return max(lights) / min(lights)


@pytest.mark.parametrize("background", ["#ffffff", "#131416", "#0d1117"])
def test_pictures_are_readable_on_a_light_and_on_a_dark_background(counting, tmp_path, background):
    pytest.importorskip("matplotlib")
    style, picture = counting.style, tmp_path / "picture.svg"
    for colour in (style.INK, style.GREY, style.FAULT, *style.OURS, *style.OTHERS):
        assert contrast(colour, background) >= 3
    row = {"lost": 1, "leaked": [1, 2], "rate": 1e5}
    counting.draw([{"loader": "Feedrace", **row}, {"loader": "other", **row}], picture)
    root = ElementTree.parse(picture).getroot()
    styles = " ".join(e.get("style", "") for e in root.iter())
    assert set(re.findall("#[0-9a-f]{6}", styles)) <= {
        style.INK,
        style.GREY,
        style.FAULT,
        style.OURS[0],
    }
    for text in root.iterfind(".//{*}g[@id]"):  # black unless it says otherwise
        if text.get("id").startswith("text_"):
            assert style.INK in text[0].get("style", "")


def test_epochs_that_are_timed_may_be_those_of_new_pipelines(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(SHOW / "loaders"))
    import common

    served, batch = [], {"id": np.arange(4), "image": np.zeros((4, 2, 2, 3))}

    def timed(data, seed, count):
        served.append(count)
        return [[batch]] * count

    loader = SimpleNamespace(
        NAME="x", PACKAGES=(), HOW="", TIMED=1, timed=timed, epochs=lambda *given: [[batch], []]
    )
    np.savez(tmp_path / "data.npz", **batch)
    monkeypatch.setattr(sys, "argv", ["", str(tmp_path / "data.npz"), str(tmp_path / "out.npz")])
    common.main(loader)
    made = np.load(tmp_path / "out.npz")
    assert served == [2] and json.loads(str(made["facts"]))["rate"] > 0
    assert [len(made[f"seed 0 epoch {n}"]) for n in (0, 1)] == [4, 0]
    sys.modules.pop("common", None)


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
