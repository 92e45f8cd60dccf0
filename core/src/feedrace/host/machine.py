"""What this process may use of the machine that it runs on."""

import os
from contextlib import suppress


def usable_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def usable_memory() -> int:
    """Return the bytes of this machine's memory, or the part of it that this process may use."""
    with suppress(OSError, ValueError, AttributeError):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        with suppress(OSError, ValueError), open("/sys/fs/cgroup/memory.max", "rb") as limit:
            memory = min(memory, int(limit.read()))
        return memory
    return 1 << 33
