"""The program that counts what one has to read: its counts, its verdicts, its table."""

import importlib
import sys
from pathlib import Path

import pytest
from tests import reading

PACKAGE = {
    "__init__.py": "",
    "first.py": """
        import threading
        import attrs
        from counted import second

        @attrs.frozen
        class Made:
            value: int

        def path():
            total = sum(value for value in [*map(lambda x: x, range(3))])
            thread = threading.Thread(target=second.in_a_thread)
            thread.start()
            thread.join()
            return Made(total)

        def unused():
            pass
        """,
    "second.py": """
        def in_a_thread():
            helper()

        def helper():
            from counted import third
        """,
    "third.py": "x = 1\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of three modules whose path enters three functions in two of them."""
    import textwrap

    folder = tmp_path / "counted"
    folder.mkdir()
    for name, text in PACKAGE.items():
        (folder / name).write_text(textwrap.dedent(text).lstrip())
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "counted"]:
        del sys.modules[name]


def test_functions_entered_in_any_thread_count_with_the_lines_of_their_files(package):
    first = importlib.import_module("counted.first")
    counted = reading.count(first.path, [package])
    lines = sum(
        len((package / name).read_text().splitlines()) for name in ("first.py", "second.py")
    )
    assert (counted.files, counted.lines, counted.functions) == (2, lines, 3)
    entered = [name.rpartition("/")[2] for name in counted.names]
    assert entered == ["first.py: path", "second.py: helper", "second.py: in_a_thread"]


def test_what_prepares_a_path_does_not_count(package):
    second = importlib.import_module("counted.second")
    counted = reading.count(second.helper, [package], prepare=second.in_a_thread)
    assert (counted.files, counted.lines, counted.functions) == (1, 5, 1)


@pytest.mark.parametrize("held", [True, False])
def test_only_an_exceeded_budget_that_is_held_is_a_failure(monkeypatch, capsys, held):
    def paths():
        yield "met", reading.Count(3, 400, 15)
        yield "over", reading.Count(4, 399, 15)

    budget = reading.Count(3, 400, 15)
    monkeypatch.setattr(reading, "BUDGETS", {"met": (budget, True), "over": (budget, held)})
    monkeypatch.setattr(reading, "PEERS", {"met": (None, budget), "over": (budget, None)})
    monkeypatch.setattr(reading, "PACKAGES", {"feedrace": paths})
    assert reading.main("feedrace") == (1 if held else 0)
    printed = capsys.readouterr().out
    assert "| met | 3 / 400 / 15 | - | 3 / 400 / 15 | 3 / 400 / 15 |" in printed
    assert "| over | 4 / 399 / 15 | 3 / 400 / 15 | - | 3 / 400 / 15 |" in printed
    assert printed.endswith(
        f"over budget{', which is held' if held else ' (not held yet)'}: over\n"
    )


def test_contributing_prints_every_path_with_the_peers_figures_and_the_budget():
    text = (reading.Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
    for path, (budget, _) in reading.BUDGETS.items():
        (row,) = [line for line in text.splitlines() if line.startswith(f"| {path} |")]
        cells = [str(peer or "-") for peer in reading.PEERS[path]]
        assert row.split(" | ")[2:] == [*cells, f"{budget} |"]


def test_no_file_is_above_400_lines():
    root = Path(__file__).parents[1]
    files = [*root.glob("core/src/**/*.py"), *root.glob("plugins/*/src/**/*.py")]
    assert len(files) > 100
    sizes = {str(path.relative_to(root)): len(path.read_text().splitlines()) for path in files}
    assert {path: size for path, size in sizes.items() if size > 400} == {}
