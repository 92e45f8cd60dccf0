import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

HEAVY = "jax flax numpy tensorflow tensorflow_datasets torch"


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_listing_and_resolving_every_name_imports_nothing_heavy():
    out = run(
        "import sys, feedrace\n"
        "from feedrace import registry\n"
        "found = feedrace.available()\n"
        "for c in found: registry.resolve(c.kind, c.reference).load_config()\n"
        "assert len(found) >= 8, found\n"
        f"print([m for m in {HEAVY.split()} if m in sys.modules])\n"
    )
    assert out.strip() == "[]"


def test_import_feedrace_scans_no_plugin():
    out = run("import sys, feedrace\nprint([m for m in sys.modules if m.startswith('feedrace')])\n")
    assert out.strip() == "['feedrace']"


def test_a_pipeline_of_live_objects_is_made_and_read_without_importing_a_plugin(tmp_path):
    (tmp_path / "a_plugin.py").write_text("FEEDRACE_API = 1\n")
    info = tmp_path / "a_plugin-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: a-plugin\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[feedrace]\nmine = a_plugin\n")
    out = run(
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import numpy as np, feedrace\n"
        "class Source:\n"
        "    def element_spec(self):\n"
        "        import jax; return {'x': jax.ShapeDtypeStruct((), np.int32)}\n"
        "    def __len__(self): return 4\n"
        "    def fetch(self, indices): return {'x': np.asarray(indices, np.int32)}\n"
        "made = feedrace.Pipeline(source=Source(), stages=[lambda batch: batch], batch_size=2)\n"
        "assert len(list(made)) == 2\n"
        "print('a_plugin' in sys.modules)\n"
        "feedrace.available()\n"
        "print('a_plugin' in sys.modules)\n"
    )
    assert out.split() == ["False", "True"]


def test_every_public_name_can_be_had():
    out = run(
        "import feedrace\n"
        "for name in feedrace.__all__: getattr(feedrace, name)\n"
        "from feedrace import _HOMES\n"
        "print(sorted(_HOMES) == sorted(feedrace.__all__))\n"
    )
    assert out.strip() == "True"


def test_an_unknown_attribute_is_an_attribute_error():
    out = run("import feedrace\ntry:\n feedrace.nothing\nexcept AttributeError as e: print(e)")
    assert "nothing" in out


def test_the_host_half_imports_no_jax():
    out = run(
        "import importlib, pkgutil, sys\n"
        "import feedrace.host, feedrace.plan\n"
        "for room in (feedrace.host, feedrace.plan):\n"
        "    for module in pkgutil.iter_modules(room.__path__, room.__name__ + '.'):\n"
        "        if module.name != 'feedrace.plan.xla':  # what JAX traces\n"
        "            importlib.import_module(module.name)\n"
        "import numpy as np\n"
        "from feedrace.host.loader import HostLoader\n"
        "from feedrace.host.record_stages import LeafSpec, record, record_stages\n"
        "from feedrace.host.timing import Clock\n"
        "class Source:\n"
        "    def fetch(self, indices): return {'x': indices * 10}\n"
        "stages = record_stages([record(lambda r: {'x': r['x'] + 1})],\n"
        "                       {'x': LeafSpec((), np.dtype(int))}, key=None)\n"
        "loader = HostLoader(source=Source(), stages=stages, batcher=None, batch_size=4,\n"
        "                    records_per_epoch=9, mine=None, specs=tuple)\n"
        "indices = np.array([7, 3])\n"
        "loaded = loader.record_loader().load(indices, 2, Clock())\n"
        "(made,) = loader.batches(loaded, indices, 2, Clock())\n"
        "print(made.batch['x'].tolist(), made.batch['valid_mask'].tolist())\n"
        "print([m for m in ('jax', 'flax', 'tensorflow') if m in sys.modules])\n"
    )
    assert out.splitlines() == ["[71, 31, 0, 0] [True, True, False, False]", "[]"]


def test_a_pipeline_of_live_objects_imports_no_plugin():
    out = run(
        "import sys, feedrace, numpy as np\n"
        "from feedrace.builtin.memory import MemorySource\n"
        "from feedrace.builtin.config import MemorySourceConfig\n"
        "source = MemorySource(MemorySourceConfig(data={'x': np.arange(8)}))\n"
        "pipeline = feedrace.Pipeline(source=source, stages=[lambda b: b], batch_size=4)\n"
        "next(iter(pipeline))\n"
        "pipeline.get_state()\n"
        "ours = ('feedrace_',)\n"
        "print([m for m in sys.modules if m.startswith(ours)])\n"
    )
    assert out.strip() == "[]"
