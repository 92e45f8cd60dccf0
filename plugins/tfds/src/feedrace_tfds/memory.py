"""How much memory there is for data on the device."""

import jax

from feedrace.plugin import usable_memory


def device_memory() -> int:
    """Return the bytes of the first device's memory; the host's if that device is the CPU."""
    statistics = jax.local_devices()[0].memory_stats() or {}
    limit = statistics.get("bytes_limit")
    if limit:
        return int(limit)
    return usable_memory()


def in_words(size: float) -> str:
    """Return a number of bytes as text with a suitable unit."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
