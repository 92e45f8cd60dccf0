"""Run a demonstration, and write its page and its picture.

usage: show.py NAME [--quick] [--peers DIR] [--page FILE.md], such as `show.py count-your-records`

Peers run in environments of their own, which are made in DIR and kept. A peer that cannot be
installed is named, and left out. The page goes to docs/demonstrations, the picture beside it.
"""

import argparse
import importlib
import sys
from pathlib import Path

HERE = Path(__file__).parent
NAMES = ("count-your-records", "kill-shrink-grow", "feed-the-accelerator")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--quick", action="store_true", help="less data, to see that it works")
    parser.add_argument("--peers", default=".show", help="folder of the peers' environments")
    parser.add_argument("--page", help="where to write the page; only printed with --quick")
    given = parser.parse_args()
    demonstration = importlib.import_module(given.name.replace("-", "_"))
    page = given.page
    if page is None and not given.quick:
        page = HERE.parents[1] / "demonstrations" / f"{given.name}.md"
    demonstration.run(
        quick=given.quick,
        peers=Path(given.peers).absolute(),
        page=None if page is None else Path(page),
    )


if __name__ == "__main__":
    sys.exit(main())
