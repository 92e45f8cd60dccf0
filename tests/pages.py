"""The code blocks of the pages and READMEs: found, run and checked. CONTRIBUTING has the rule."""

import contextlib
import importlib.util
import itertools
import json
import os
import re
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
from tests.shell import check_lines

import feedrace
from feedrace.config.files import read_mapping
from feedrace.pipeline.options import PipelineOptions, read_options

ROOT = Path(__file__).parents[1]
CONFIGS = ("toml", "yaml", "json")
LANGUAGES = (*CONFIGS, "python", "sh", "text")
# Sphinx checks these itself; what is included from elsewhere has tests of its own, or is a page.
DIRECTIVES = ("{eval-rst}", "{include}", "{literalinclude}", "{toctree}")
MARK = re.compile(r" *<!-- runs: (?:needs (?P<needs>.+)|in (?P<test>.+)|no, (?P<reason>.+)) -->")
_FENCE = re.compile(r"( *)(`{3,})(?:\{code-(?:block|cell)\} *)?(.*)")
_FENCED = re.compile(r"^( *`{3,}).*?^\1 *$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<!`)`feedrace\s([^`]+)`(?!`)")
_FILE = re.compile(r"# ([\w-]+\.(?:toml|yaml|py))\b")
WHOLE = {"batch_size": 2}  # for configs of commands that need none
PART = {**WHOLE, "seed": 0, "source": {"use": "memory", "data": {"x": [1, 2]}}}
MOST_BATCHES = 300


@attrs.frozen
class Block:
    page: str
    line: int  # of its first line of code
    language: str
    text: str
    mark: str = ""  # the comment above it
    caption: str = ""
    section: int = 0

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def fault(self) -> str:
        """Why it could not be run as the rule says; empty if it can."""
        if self.language not in LANGUAGES and not self.language.startswith(DIRECTIVES):
            return f"nobody runs {self.language or 'a block without a language'}"
        mark = MARK.fullmatch(self.mark)
        if self.mark and not mark:
            return f"{self.mark.strip()} is none of: needs MODULE, in TEST, no, REASON"
        if mark and mark["test"] and not (ROOT / mark["test"]).is_file():
            return f"there is no {mark['test']}"
        return ""

    @property
    def missing(self) -> list[str]:
        """The modules that it needs and that are not installed."""
        needs = (MARK.fullmatch(self.mark) or {"needs": ""})["needs"] or ""
        return [name for name in re.split(", *", needs) if name and not find_module(name)]

    @property
    def runs(self) -> bool:
        mark = MARK.fullmatch(self.mark)
        return not mark or bool(mark["needs"])


def find_module(name: str) -> bool:
    with contextlib.suppress(ModuleNotFoundError):
        return importlib.util.find_spec(name) is not None
    return False


def pages() -> list[str]:
    """Return the pages and READMEs, but for tutorials, which are notebooks."""
    found = [*ROOT.glob("*.md"), ROOT / "core/README.md", *ROOT.glob("plugins/*/README.md")]
    found += ROOT.glob("docs/**/*.md")
    names = [path.relative_to(ROOT).as_posix() for path in found]
    return sorted(n for n in names if not n.startswith(("docs/tutorials/", "CHANGELOG")))


def blocks_of(page: str, text: str) -> Iterator[Block]:
    lines = text.splitlines()
    i = section = 0
    while i < len(lines):
        opened = _FENCE.match(lines[i])
        if opened is None or opened[0] != lines[i]:
            section += lines[i].startswith("## ")
            i += 1
            continue
        end = next(j for j in range(i + 1, len(lines)) if lines[j].strip() == opened[2])
        body = lines[i + 1 : end]
        above = lines[i - 1] if i and lines[i - 1].lstrip().startswith("<!-- runs:") else ""
        options = list(itertools.takewhile(lambda line: line.strip().startswith(":"), body))
        if "{" not in lines[i]:
            options = []
        caption = next((o.partition(":caption:")[2].strip() for o in options if "caption" in o), "")
        code = textwrap.dedent("\n".join(body[len(options) :])).strip("\n") + "\n"
        first = i + 2 + len(options)
        yield Block(page, first, opened[3].strip(), code, above, caption, section)
        i = end + 1


def commands_of(text: str) -> list[str]:
    """Return what follows `feedrace` in the inline code of a page, on one line each."""
    return [" ".join(one.split()) for one in _INLINE.findall(_FENCED.sub("", text))]


@attrs.define
class Run:
    """One page being run in the current folder, which is empty but for the data of the page."""

    page: str
    workers: Any = None  # in place of those of its configs
    names: dict[str, Any] = attrs.field(factory=dict)  # of its Python
    served: list[tuple[feedrace.Pipeline, list[Any]]] = attrs.field(factory=list)  # by its configs

    def run(self, block: Block) -> None:
        """Run or check a block; raise an error with its place if it does not work."""
        if block.missing:
            return
        try:
            if block.language in CONFIGS:
                self.config(block)
            elif block.language == "python":
                self.python(block)
            elif block.language == "sh":
                folder = (ROOT / block.page).parent
                check_lines(block.text, folder, run=block.runs)
        except BaseException as error:
            error.add_note(f"in the block at {block.place}")
            raise

    def python(self, block: Block) -> None:
        # The lines of the traceback are those of the page.
        code = compile("\n" * (block.line - 1) + block.text, str(ROOT / block.page), "exec")
        if block.runs:
            named(block, "py")
            exec(code, self.names)

    def config(self, block: Block) -> None:
        path = named(block, block.language) or Path(f"line-{block.line}.{block.language}")
        path.write_text(block.text)
        mark = MARK.fullmatch(block.mark)
        if mark and mark["test"]:
            return  # it may name what only that test has
        if block.language == "toml" and tomllib.loads(block.text).keys() & {"project", "tool"}:
            return
        given = read_mapping(path)
        mapping = {**(WHOLE if "source" in given else PART), **given}
        options = checked(mapping)
        if "source" in given and block.runs:
            workers = 2 if isinstance(options.workers, dict) else options.workers
            workers = workers if self.workers is None else self.workers
            pipeline = feedrace.build({**mapping, "workers": workers})
            batches = list(itertools.islice(pipeline, MOST_BATCHES))
            assert batches, "no batch"
            self.served.append((pipeline, batches))


def checked(mapping: dict[str, Any]) -> PipelineOptions:
    """Return the options after what `feedrace validate` checks."""
    path = Path(".checked.json")
    path.write_text(json.dumps(mapping, default=str))
    options = read_options(path)
    path.unlink()
    return options


def named(block: Block, ending: str) -> Path | None:
    """Write a block that names its file; return where."""
    name = block.caption or (_FILE.match(block.text) or [""] * 2)[1]
    if not name.endswith(f".{ending}"):
        return None
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.text)
    return path


def run_page(page: str, text: str, data: Any, workers: Any = None) -> list[Block]:
    """Run all blocks of a page in the current folder; return those whose modules are missing.

    data: a generator function of the page's data, or None. It is called with the `Run`; what it
    does after its `yield` looks at what came of it.
    """
    run = Run(page, workers, {"__name__": "__main__"})
    blocks, top, section = list(blocks_of(page, text)), Path.cwd(), 0
    with feedrace.temporary(), contextlib.ExitStack() as stack:
        if data is not None:
            stack.enter_context(contextlib.contextmanager(data)(run))
        for block in blocks:
            if block.section != section:
                os.chdir(top)  # a `cd` holds to the end of its section
            section = block.section
            run.run(block)
    return [block for block in blocks if block.missing]
