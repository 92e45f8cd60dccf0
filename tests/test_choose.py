"""The table of docs/choose.md is that of choose.toml, and each answer leads somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.documents import choose

ROOT = Path(__file__).parents[1]
TABLE = choose.read()
FEATURES = {f["name"]: f for group in TABLE["group"] for f in group["feature"]}


def test_the_page_has_the_table():
    assert (choose.DOCS / "choose.md").read_text() == choose.page(), (
        "run python tests/documents/choose.py"
    )


def test_seven_peers_have_a_version_and_an_answer_to_everything():
    assert len(TABLE["peers"]) == 7
    assert all(peer["version"] for peer in TABLE["peers"].values())
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", str(TABLE["looked"]))
    for name, feature in FEATURES.items():
        assert set(feature) == {"name", "feedrace", *TABLE["peers"]}, name


@pytest.mark.parametrize("peer", TABLE["peers"])
def test_each_answer_of_a_peer_has_an_address(peer):
    for name, feature in FEATURES.items():
        answer, note, link = feature[peer]
        assert answer in choose.SIGNS, name
        assert not note.endswith("."), name
        address = choose.address(TABLE["peers"][peer], link)
        assert re.fullmatch(r"https://[a-z0-9.-]+(/[\w.@%+-]+)+/?", address), (name, address)


@pytest.mark.parametrize("name", FEATURES)
def test_each_answer_of_ours_has_a_page_and_a_test(name):
    answer, _, page, test = FEATURES[name]["feedrace"]
    assert answer in choose.SIGNS
    assert (choose.DOCS / page).is_file()
    file, _, function = test.partition("::")
    assert re.search(rf"^def {function}\(", (ROOT / file).read_text(), re.MULTILINE), test


def test_the_rows_that_we_lose_are_there():
    lost = [name for name, feature in FEATURES.items() if feature["feedrace"][0] == "no"]
    assert len(lost) >= 4


def test_the_program_writes_the_page(tmp_path):
    """A copy of the page without its table is made whole again."""
    for name in ("choose.toml", "choose.md"):
        (tmp_path / "docs").mkdir(exist_ok=True)
        (tmp_path / "docs" / name).write_text((choose.DOCS / name).read_text())
    program = tmp_path / "tests/documents/choose.py"
    program.parent.mkdir(parents=True)
    program.write_text(Path(choose.__file__).read_text())
    page = tmp_path / "docs/choose.md"
    whole = page.read_text()
    before, _, rest = whole.partition(choose.BEGIN)
    page.write_text(before + choose.BEGIN + choose.END + rest.partition(choose.END)[2])
    subprocess.run([sys.executable, program], check=True)
    assert page.read_text() == whole
