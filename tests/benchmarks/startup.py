"""What starting costs: whole processes, in turn."""

import subprocess
import sys
from pathlib import Path

from measure import alternate

PENSTOCK = str(Path(sys.executable).with_name("penstock"))

if __name__ == "__main__":
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import penstock": [sys.executable, "-c", "import penstock"],
        "penstock plugins list (target 200 ms)": [PENSTOCK, "plugins", "list"],
    }
    seconds = alternate(
        {
            name: lambda command=command: subprocess.run(command, capture_output=True, check=True)
            for name, command in commands.items()
        },
        rounds=15,
    )
    for name, second in seconds.items():
        print(f"{name}: {second * 1e3:.0f} ms")
