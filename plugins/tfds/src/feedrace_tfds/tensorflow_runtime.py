"""Imports TensorFlow when it is needed, keeps it off accelerators and bounds its thread pools."""

import contextlib
import os
from typing import Any

from feedrace.plugin import DataError


def usable_cpus() -> int:
    """Return how many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def import_tensorflow(threads: int | None = None) -> Any:
    """Return the module `tensorflow`, which sees no GPU or TPU and runs `threads` threads a pool.

    threads: None for the number of CPUs. Pools that run already stay as they are.

    Raises `DataError` if TensorFlow already took the accelerators; `ImportError` without it.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # hides its start-up log
    import tensorflow as tf

    try:
        for kind in ("GPU", "TPU"):
            tf.config.set_visible_devices([], kind)
    except RuntimeError as error:
        raise DataError(
            "TensorFlow already holds the accelerators, since this program used it before; call "
            "tf.config.set_visible_devices([], 'GPU') first, or prepare the dataset in a separate "
            "program, such as `feedrace describe CONFIG`"
        ) from error
    count = threads or usable_cpus()
    with contextlib.suppress(RuntimeError):  # the pools run already
        tf.config.threading.set_inter_op_parallelism_threads(count)
        tf.config.threading.set_intra_op_parallelism_threads(count)
    return tf
