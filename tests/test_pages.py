"""Every code block of every page and README runs or is checked: the rule is in CONTRIBUTING."""

import re

import pytest
from tests import page_data, pages, shell


@pytest.fixture
def run_page(tmp_path, monkeypatch):
    """A function that runs a page in an empty folder with its data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("FEEDRACE_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("DATA", "MODEL"):  # which data may set
        monkeypatch.setenv(name, "unset")
        monkeypatch.delenv(name)

    def run(page, workers=None):
        data = getattr(page_data, re.sub(r"\W", "_", page), None)
        return pages.run_page(page, (pages.ROOT / page).read_text(), data, workers)

    return run


@pytest.mark.parametrize("page", pages.pages())
def test_the_blocks_of_a_page_run_from_top_to_bottom(page, run_page):
    left = run_page(page)
    if left:
        pytest.skip("but for " + "; ".join(f"{b.place}: no {', '.join(b.missing)}" for b in left))


@pytest.mark.parametrize("workers", [0, {"kind": "process", "count": 1}], ids=["none", "process"])
def test_the_configs_of_the_page_on_files_run_with_workers_of_every_kind(workers, run_page):
    run_page("docs/files.md", workers)


def test_every_block_has_a_language_that_is_run_or_a_reason():
    blocks = [
        block
        for page in pages.pages()
        for block in pages.blocks_of(page, (pages.ROOT / page).read_text())
    ]
    assert {block.language for block in blocks} >= {"python", "toml", "sh"}
    assert [f"{block.place}: {block.fault}" for block in blocks if block.fault] == []


@pytest.mark.parametrize("page", pages.pages())
def test_the_commands_that_a_page_mentions_are_there(page):
    for command in pages.commands_of((pages.ROOT / page).read_text()):
        shell.check_mention(command)


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("ran", "no command is called 'ran'"),
        ("plugins\n  shows", "no command is called 'shows'"),
        ("run CONFIG --steps 2 --traces a.json", "run has no option {'--traces'}"),
        ("plugins show sampler/epoch-aware", "sampler/epoch-aware"),
        ("plugins why epoch-awar", "epoch-awar"),
    ],
)
def test_a_command_that_is_mentioned_and_not_there_is_an_error(command, problem):
    text = f"Say `feedrace run CONFIG --steps 2`, or `feedrace {command}` at once.\n"
    right, wrong = pages.commands_of("```sh\nfeedrace ran `x`\n```\n" + text)
    shell.check_mention(right)
    with pytest.raises(Exception) as caught:
        shell.check_mention(wrong)
    assert problem in f"{caught.value} {getattr(caught.value, 'message', '')}"


def run_made(text):
    return pages.run_page("made.md", text, None)


CONFIG = '# a.toml\nbatch_size = 2\n[source]\nuse = "memory"\ndata = { x = [1, 2, 3] }\n'


@pytest.mark.parametrize(
    ("language", "text", "problem"),
    [
        ("python", "x = 1\nassert x == 2", "AssertionError"),
        ("toml", "batch_sizes = 2", "batch_sizes: unknown key"),
        ("toml", '[[stages]]\nuse = "no-such-stage"', "no stage is called 'no-such-stage'"),
        ("toml", CONFIG.replace("[1, 2, 3]", "[]"), "no records"),
        ("json", '{"prefetch": -1}', "prefetch: -1 is not"),
        ("yaml", "sampler: {use: sequential, epochs: 2}", "sampler.epochs: unknown key"),
        ("sh", "feedrace ran a.toml", "no command is called 'ran'"),
        ("sh", "feedrace run a.toml --step 3", "No such option: --step|No such option '--step'"),
        ("sh", "feedrace run a.toml --steps none", "not a valid integer"),
        ("sh", "feedrace plugins new it --kind thing", "'thing' is not one of"),
        ("sh", "feedrace run", "Missing parameter: config"),
        ("sh", "cd core && pip install -e plugins/no-such", "no plugins/no-such"),
        ("sh", "pip install -e 'core[no-such]'", "has no extra"),
        ("sh", "pip install 'feedrace-files[no-such]'", "has no extra"),
        ("sh", ".venv/bin/tox run -e lint,no-such", "no environment"),
        ("sh", "python no-such.py", "no no-such.py"),
        ("sh", "pytest core/tests/no_such.py", "no core/tests/no_such.py"),
        ("sh", "JAX_PLATFORMS=cpu conjure it", "nobody checks 'conjure'"),
    ],
)
def test_a_block_that_does_not_work_is_an_error_that_names_its_place(
    language, text, problem, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception) as caught:
        run_made(f"# Made\n\n```{language}\n{text}\n```\n")
    assert "in the block at made.md:4" in caught.value.__notes__
    shown = f"{type(caught.value).__name__}: {caught.value} {getattr(caught.value, 'message', '')}"
    assert re.search(problem, shown), shown


@pytest.mark.parametrize(
    ("above", "language", "fault"),
    [
        ("", "rust", "nobody runs rust"),
        ("", "", "nobody runs a block without a language"),
        ("<!-- runs: no -->", "python", "is none of"),
        ("<!-- runs: in tests/test_no_such.py -->", "sh", "there is no tests/test_no_such.py"),
        ("<!-- runs: no, it reads a bucket -->", "toml", ""),
        ("<!-- runs: in tests/test_guide.py -->", "{code-block} python", ""),
    ],
)
def test_a_block_that_is_left_out_has_a_language_and_a_reason(above, language, fault):
    (block,) = pages.blocks_of("made.md", f"{above}\n```{language}\nx\n```\n")
    assert fault in block.fault
    assert bool(fault) == bool(block.fault)


def test_blocks_share_their_names_and_files_and_some_run_only_if_they_can(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    left = run_made(
        f"""
```toml
{CONFIG}```

- In a list:

  ```python
  import feedrace
  batches = list(feedrace.load("a.toml"))
  ```

```sh
feedrace --version && feedrace run --help
mkdir made && cd made
feedrace fill ../a.toml -o filled.toml
```
## Next
```python
import pathlib
assert len(batches) == 2 and pathlib.Path("made/filled.toml").exists()
```
<!-- runs: no, it would fail -->
```python
raise SystemExit
```
<!-- runs: needs json, no_such_module -->
```python
raise SystemExit
```
"""
    )
    assert [block.missing for block in left] == [["no_such_module"]]


def test_a_block_that_is_not_run_is_still_checked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SyntaxError):
        run_made("<!-- runs: no, it is wrong -->\n```python\nx = = 1\n```\n")
    for reason in ("it is wrong", "it reads in a bucket"):
        with pytest.raises(Exception, match="unknown key"):
            run_made(f"<!-- runs: no, {reason} -->\n```toml\nsources = 1\n```\n")
