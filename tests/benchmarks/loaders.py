"""Records/s of a shuffled epoch of small images in memory, from each loader that is there.

usage: loaders.py [--quick] [--peers DIR]. The loaders are those of the demonstration
`count-your-records`, which checks what they serve; each runs in a process of its own, peers with
the Python of an environment below DIR. A quick run makes no environment.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from measure import QUICK, begin, ran_with, rate_of, report

sys.path.insert(0, str(Path(__file__).parents[2] / "docs" / "examples" / "show"))

import count_your_records as counting
import numpy as np
import peers as environments
import report as demonstrations


def facts_of(loader, peer, folder, data):
    """Return what a loader says of itself: name, rate and versions."""
    python = sys.executable
    if peer is not None:
        python = environments.python_of(peer, folder.absolute(), make=not QUICK)
    out = data.with_name(f"{loader}.npz")
    program = counting.LOADER_FOLDER / f"{loader}_loader.py"
    demonstrations.ran(python, program, data, out, "rate")
    return json.loads(str(np.load(out)["facts"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer records")
    parser.add_argument("--peers", type=Path, default=".show", help="the peers' environments")
    given = parser.parse_args()
    rates, names = {}, {}
    begin("loaders")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data.npz"
        np.savez(data, **counting.patches(counting.QUICK if QUICK else counting.RECORDS))
        for loader, peer in counting.LOADERS.items():
            try:
                facts = facts_of(loader, peer, given.peers, data)
            except RuntimeError as error:
                print(f"({loader} is not measured: {' '.join(str(error).split())})", flush=True)
                continue
            names[loader], rates[loader] = facts["loader"], facts["rate"]
            rate_of(facts["loader"], facts["rate"])
            if peer is not None:
                ran_with(peer, facts["versions"])
    mine = rates.pop("feedrace")
    for loader, theirs in rates.items():
        detail = f"{mine:,.0f} against {theirs:,.0f} records/s"
        report(f"records in memory against {names[loader]}", mine / theirs, "1", detail)


if __name__ == "__main__":
    main()
