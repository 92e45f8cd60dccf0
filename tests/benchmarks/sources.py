"""Sources of the data that people have, local and remote, against libraries that read the same.

The contenders of a row alternate. What is read is made on first use. Peers (datasets, torch,
webdataset) are measured if they are installed.
"""

import argparse
import os
import shutil
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if shutil.which("nvidia-smi") is None:
    os.environ.setdefault("JAX_PLATFORMS", "cpu")

import sources_arrow
import sources_convert
import sources_files
import sources_remote

CORES = len(os.sched_getaffinity(0))
ROWS = sources_arrow.ROWS | sources_files.ROWS | sources_remote.ROWS | sources_convert.ROWS


def main():
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    kept = os.environ.get("FEEDRACE_BENCH_DATA") or f"{home}/feedrace/benchmarks"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(kept), help="folder of the sets")
    parser.add_argument("--only", nargs="+", choices=ROWS, metavar="NAME", help=", ".join(ROWS))
    parser.add_argument("--quick", action="store_true", help="fewer records and rounds")
    given = parser.parse_args()
    given.rounds = 1 if given.quick else 3
    given.data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["FEEDRACE_CACHE_DIR"] = cache
        for name in given.only or ROWS:
            print(f"{name} (load {os.getloadavg()[0]:.1f} on {CORES} cores)", flush=True)
            ROWS[name](given)


if __name__ == "__main__":
    main()
