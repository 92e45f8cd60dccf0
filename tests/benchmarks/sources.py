"""Sources of the data that people have, local and remote, against libraries that read the same.

The contenders of a row alternate. What is read is made on first use. Peers (datasets, torch,
webdataset) are measured if they are installed.
"""

import os
import shutil

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if shutil.which("nvidia-smi") is None:
    os.environ.setdefault("JAX_PLATFORMS", "cpu")

import sources_arrow
import sources_convert
import sources_files
import sources_remote
from measure import options, run_rows

ROWS = sources_arrow.ROWS | sources_files.ROWS | sources_remote.ROWS | sources_convert.ROWS


def main():
    given = options(__doc__, ROWS)
    given.rounds = 1 if given.quick else 3
    given.data.mkdir(parents=True, exist_ok=True)
    run_rows(given, ROWS)


if __name__ == "__main__":
    main()
