"""Jobs on Apache Beam: needs `pip install apache-beam`."""

import functools
import pickle
from collections.abc import Sequence

from feedrace.errors import (
    ConfigError,
    FeedraceError,
    NotInstalledError,
    Problem,
    clipped,
    in_words,
    pip_line,
    text_of,
)
from feedrace.host.jobs import Job


def run_on_beam(job: Job, numbers: Sequence[int], runner: str, options: Sequence[str]) -> None:
    """Make these parts of a job on a runner of Beam, and wait until all of them are kept.

    runner: its name, such as "DirectRunner". options: its flags, as Beam's command line has them.

    Raises `ConfigError` for a runner that Beam does not know, `NotInstalledError` without Beam, and
    `FeedraceError` if a part fails, or the runner itself.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ModuleNotFoundError as error:
        raise NotInstalledError(
            "a runner is given, and Apache Beam is not installed",
            fix=pip_line("install", "apache-beam"),
        ) from error
    try:
        made = beam.runners.create_runner(runner)
    except (ValueError, ImportError, AttributeError) as error:
        message = f"Beam has no runner {clipped(runner)} ({in_words(error)})"
        raise ConfigError([Problem("runner", message)]) from error
    work = functools.partial(_make, pickle.dumps(job, protocol=5))
    try:
        with beam.Pipeline(runner=made, options=PipelineOptions(list(options))) as pipeline:
            parts = pipeline | beam.Create(list(numbers)) | beam.Reshuffle()
            _ = parts | "make parts" >> beam.Map(work)
    except Exception as error:
        raise FeedraceError(f"the runner {runner} of Beam failed: {in_words(error)}") from error


def _make(job: bytes, number: int) -> int:
    """Make one part, on a machine of the runner."""
    try:
        _job(job).make(number)
    except Exception as error:  # of which Beam hands on the text alone
        raise FeedraceError(f"{type(error).__name__}: {text_of(error)}") from error
    return number


@functools.lru_cache(maxsize=1)
def _job(pickled: bytes) -> Job:
    made: Job = pickle.loads(pickled)
    return made
