"""Environments of the peers, each with its own libraries, made once."""

import hashlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent


def python_of(name, folder, *, make=True):
    """Return the Python of a peer's environment below `folder`, which is made if it is not there.

    What it holds is in `peers/NAME.txt`. Raises `RuntimeError` with pip's last lines if that
    cannot be installed, and if it is not there while `make` is false.
    """
    wanted = (HERE / "peers" / f"{name}.txt").read_text()
    digest = hashlib.blake2b((sys.version + wanted).encode(), digest_size=4).hexdigest()
    place = Path(folder) / f"{name}-{digest}"
    python = place / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not (place / "ready").exists():
        if not make:
            raise RuntimeError(f"its environment is not in {folder}")
        print(f"setting up {name}: {', '.join(wanted.split())}", flush=True)
        shutil.rmtree(place, ignore_errors=True)
        venv.create(place, with_pip=True)
        install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        done = subprocess.run([*install, *wanted.split()], text=True, capture_output=True)
        if done.returncode:
            raise RuntimeError(f"{name} cannot be installed: {done.stderr[-400:]}")
        (place / "ready").touch()
    return str(python)
