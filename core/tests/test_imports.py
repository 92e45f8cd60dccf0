import subprocess
import sys

HEAVY = "jax flax numpy tensorflow tensorflow_datasets torch"


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_listing_and_resolving_every_name_imports_nothing_heavy():
    out = run(
        "import sys, penstock\n"
        "from penstock import registry\n"
        "found = penstock.available()\n"
        "for c in found: registry.resolve(c.kind, c.reference).load_config()\n"
        "assert len(found) >= 8, found\n"
        f"print([m for m in {HEAVY.split()} if m in sys.modules])\n"
    )
    assert out.strip() == "[]"


def test_import_penstock_scans_no_plugin():
    out = run("import sys, penstock\nprint([m for m in sys.modules if m.startswith('penstock')])\n")
    assert out.strip() == "['penstock']"


def test_every_public_name_can_be_had():
    out = run(
        "import penstock\n"
        "for name in penstock.__all__: getattr(penstock, name)\n"
        "from penstock import _HOME_OF\n"
        "print(sorted(_HOME_OF) == sorted(penstock.__all__))\n"
    )
    assert out.strip() == "True"


def test_an_unknown_attribute_is_an_attribute_error():
    out = run("import penstock\ntry:\n penstock.nothing\nexcept AttributeError as e: print(e)")
    assert "nothing" in out
