"""Imports TensorFlow when it is needed, keeps it off accelerators and bounds its thread pools."""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from feedrace.plugin import DataError, usable_cpus

# What TensorFlow's C++ prints while it starts, whatever log level is set: of oneDNN and CUDA.
_START_UP = re.compile(
    rb"WARNING: All log messages before absl|[IWE]\d{4} .*(port|cudart_stub|cuda_platform)\.cc"
)


def import_tensorflow(threads: int | None = None) -> Any:
    """Return the module `tensorflow`, which sees no GPU or TPU and runs `threads` threads a pool.

    threads: None for the number of CPUs. Pools that run already stay as they are.

    Raises `DataError` if TensorFlow already took the accelerators; `ImportError` without it.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # hides much of its start-up log
    with _start_up_hidden():
        import tensorflow as tf

    try:
        with _start_up_hidden():
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


@contextlib.contextmanager
def _start_up_hidden() -> Iterator[None]:
    """Hold back what goes to stderr in the block, and print at its end all but the start-up log."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            for line in held:
                if not _START_UP.match(line):
                    os.write(2, line)
