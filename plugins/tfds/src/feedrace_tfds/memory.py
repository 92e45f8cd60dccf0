"""How much memory there is for data on the device."""

import os
from pathlib import Path

import jax

_CGROUP = Path("/sys/fs/cgroup/memory.max")


def device_memory() -> int:
    """Return the bytes of the first device's memory; the host's if that device is the CPU."""
    statistics = jax.local_devices()[0].memory_stats() or {}
    limit = statistics.get("bytes_limit")
    if limit:
        return int(limit)
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if _CGROUP.exists():
        allowed = _CGROUP.read_text().strip()
        return min(host, int(allowed)) if allowed.isdigit() else host
    return host


def in_words(size: float) -> str:
    """Return a number of bytes as text with a suitable unit."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
