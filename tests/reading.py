"""Count what one has to read to follow a path through Feedrace, and hold the budgets for it.

usage: reading.py [--names] [feedrace | datarax | grain]

Each path is run once to warm up (imports, compilation), then again while `sys.settrace` and
`threading.settrace` record the functions that are entered. A path counts the files that hold them,
the lines of these files, and the functions. Only the package's own files count. Module bodies do
not, nor methods that attrs generates, nor lambdas, comprehensions and generator expressions, which
are read as a part of the function around them (and some of which Python 3.12 inlines).

Prints the Markdown table of CONTRIBUTING. Ends with status 1 if a budget that is marked as held is
exceeded. With the name of a peer, run by the Python of an environment that has it, it counts the
same work there (datarax 0.1.4 needs `tensorflow-metadata<1.18` to import).
"""

import argparse
import importlib
import importlib.metadata
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np

INDEX = "first index of a stand-alone `epoch-aware` sampler"
MEMORY = "first batch, `memory` source, live objects, one stage"
HOST = "first batch, source read on the host, one thread, one stage"
NAME = "resolve a name, plugins installed"
CORE = "the core, non-blank lines without templates and suites"


@dataclass(frozen=True)
class Count:
    """Files entered, the sum of their lines, functions entered; None: not counted."""

    files: int | None
    lines: int
    functions: int | None
    names: tuple[str, ...] = ()  # "file: function" of each function entered

    def __str__(self) -> str:
        numbers = (self.files, self.lines, self.functions)
        return " / ".join(f"{n:,}" for n in numbers if n is not None)

    def within(self, budget: "Count") -> bool:
        pairs = zip(
            (self.files, self.lines, self.functions),
            (budget.files, budget.lines, budget.functions),
            strict=True,
        )
        return all(most is None or (n is not None and n <= most) for n, most in pairs)


# The budget of each path, and whether it is held: a held one that is exceeded is an error.
BUDGETS = {
    INDEX: (Count(3, 400, 15), False),
    MEMORY: (Count(9, 1500, 45), False),
    HOST: (Count(10, 1700, 55), False),
    NAME: (Count(4, 450, 18), True),
    CORE: (Count(None, 5500, None), False),
}

# What this program counted in datarax 0.1.4 and grain 0.2.18; None if one does no such thing.
PEERS = {
    INDEX: (Count(8, 1892, 18), Count(7, 4388, 27)),
    MEMORY: (Count(11, 4356, 44), None),
    HOST: (None, Count(14, 7221, 82)),
    NAME: (None, None),
    CORE: (None, None),
}


def count(
    path: Callable[[], object],
    folders: list[Path],
    prepare: Callable[[], object] = lambda: None,
) -> Count:
    """Run `path` twice, each time after `prepare`; count what the second enters in `folders`."""
    prepare()
    path()
    prepare()
    entered: set[CodeType] = set()

    def enter(frame: FrameType, event: str, argument: object) -> None:
        entered.add(frame.f_code)  # returning None: lines within the function are not traced

    before, before_threads = sys.gettrace(), threading.gettrace()
    threading.settrace(enter)
    sys.settrace(enter)
    try:
        path()
    finally:
        sys.settrace(before)
        threading.settrace(before_threads)  # type: ignore[arg-type]
    ours = {
        code
        for code in list(entered)
        if not code.co_name.startswith("<")
        and not code.co_filename.startswith("<")
        and any(Path(code.co_filename).is_relative_to(folder) for folder in folders)
    }
    files = {code.co_filename for code in ours}
    lines = sum(len(Path(file).read_text().splitlines()) for file in files)
    names = sorted(f"{code.co_filename}: {code.co_qualname}" for code in ours)
    return Count(len(files), lines, len(ours), tuple(names))


def folders_of(*packages: str) -> list[Path]:
    return [Path(folder) for name in packages for folder in importlib.import_module(name).__path__]


def core_lines() -> int:
    """Return the non-blank lines of the core's modules, whatever is in it for plugin authors."""
    (root,) = folders_of("feedrace")
    modules = [
        path
        for path in root.rglob("*.py")
        if not {"testing", "template"} & set(path.relative_to(root).parts)
    ]
    return sum(
        1
        for path in modules
        for line in path.read_text().splitlines()
        if line and not line.isspace()
    )


def feedrace_paths() -> Iterator[tuple[str, Count]]:
    import jax

    import feedrace
    from feedrace import registry
    from feedrace_samplers import EpochAwareSamplerConfig, EpochAwareSamplerModule

    # Of the plugins only the one that has the sampler: nobody has to read the others' declarations.
    folders = folders_of("feedrace", "feedrace_samplers")
    data = {"x": np.arange(100, dtype=np.int32)}
    memory = type(feedrace.create("source", "memory", data=data))
    memory_config = type(feedrace.create("source", "memory", data=data).config)

    class OnHost:
        def __len__(self) -> int:
            return 100

        def element_spec(self) -> dict[str, Any]:
            return {"x": jax.ShapeDtypeStruct((), np.int32)}

        def fetch(self, indices: Any) -> dict[str, Any]:
            return {"x": data["x"][indices]}

    def stage(batch: dict[str, Any]) -> dict[str, Any]:
        return batch

    def index() -> None:
        sampler = EpochAwareSamplerModule(EpochAwareSamplerConfig(num_records=1000))
        next(iter(sampler))

    def first_batch(source: Any) -> None:
        next(iter(feedrace.Pipeline(source=source, stages=[stage], batch_size=10)))

    yield INDEX, count(index, folders)
    yield MEMORY, count(lambda: first_batch(memory(memory_config(data=data))), folders)
    yield HOST, count(lambda: first_batch(OnHost()), folders)
    yield (
        NAME,
        count(
            lambda: registry.resolve("sampler", "epoch-aware"), folders, prepare=feedrace.refresh
        ),
    )
    yield CORE, Count(None, core_lines(), None)


def datarax_paths() -> Iterator[tuple[str, Count]]:
    from datarax.operators import ElementOperator, ElementOperatorConfig
    from datarax.pipeline import Pipeline
    from datarax.samplers import EpochAwareSamplerConfig, EpochAwareSamplerModule
    from datarax.sources import MemorySource, MemorySourceConfig
    from flax import nnx

    def index() -> None:
        config = EpochAwareSamplerConfig(num_records=1000)
        next(iter(EpochAwareSamplerModule(config, rngs=nnx.Rngs(0))))

    def first_batch() -> None:
        source = MemorySource(MemorySourceConfig(), {"x": np.arange(100)}, rngs=nnx.Rngs(0))
        stage = ElementOperator(
            ElementOperatorConfig(stochastic=False), fn=lambda e, key: e, rngs=nnx.Rngs(0)
        )
        next(iter(Pipeline(source=source, stages=[stage], batch_size=10, rngs=nnx.Rngs(0))))

    folders = folders_of("datarax")
    yield INDEX, count(index, folders)
    yield MEMORY, count(first_batch, folders)


def grain_paths() -> Iterator[tuple[str, Count]]:
    import grain

    def index() -> None:
        sampler = grain.samplers.IndexSampler(1000, shuffle=True, num_epochs=1, seed=0)
        sampler[0]

    class OnHost:
        def __len__(self) -> int:
            return 100

        def __getitem__(self, index: int) -> dict[str, Any]:
            return {"x": np.int32(index)}

    def first_batch() -> None:
        records = grain.MapDataset.source(OnHost()).map(lambda record: record).batch(10)
        options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
        next(iter(records.to_iter_dataset(options)))

    folders = folders_of("grain")
    yield INDEX, count(index, folders)
    yield HOST, count(first_batch, folders)


PACKAGES = {"feedrace": feedrace_paths, "datarax": datarax_paths, "grain": grain_paths}


def main(package: str, names: bool = False) -> int:
    if package != "feedrace":
        print(f"{package} {importlib.metadata.version(package)}: files / lines / functions")
        for path, counted in PACKAGES[package]():
            print(f"{path}: {counted}", *(counted.names if names else ()), sep="\n")
        return 0
    exceeded, entered = [], []
    print("files / lines / functions\n")
    print("| path | Feedrace | datarax 0.1.4 | grain 0.2.18 | budget |")
    print("| --- | --- | --- | --- | --- |")
    for path, counted in PACKAGES[package]():
        budget, held = BUDGETS[path]
        peers = " | ".join(str(peer or "-") for peer in PEERS[path])
        print(f"| {path} | {counted} | {peers} | {budget} |")
        entered += ["", path, *counted.names]
        if not counted.within(budget):
            exceeded.append((path, held))
    print(*(entered if names else ()), sep="\n")
    for path, held in exceeded:
        print(f"over budget{', which is held' if held else ' (not held yet)'}: {path}")
    return 1 if any(held for _, held in exceeded) else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", nargs="?", default="feedrace", choices=PACKAGES)
    parser.add_argument("--names", action="store_true", help="list the functions entered")
    options = parser.parse_args()
    sys.exit(main(options.package, options.names))
