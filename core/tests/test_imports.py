import subprocess
import sys

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
