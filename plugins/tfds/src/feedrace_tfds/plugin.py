"""Declarations of this plugin's components."""

from collections.abc import Iterator

from feedrace.plugin import Component, Health, hookimpl

FEEDRACE_API = 1


@hookimpl
def feedrace_components() -> Iterator[Component]:
    yield Component(
        kind="source",
        name="tfds-eager",
        target="feedrace_tfds.eager:TFDSEagerSource",
        config="feedrace_tfds.config:TFDSEagerConfig",
        summary="A TensorFlow Datasets split, loaded whole onto the device.",
        capabilities=["on-device"],
    )
    yield Component(
        kind="source",
        name="tfds-streaming",
        target="feedrace_tfds.streaming:TFDSStreamingSource",
        config="feedrace_tfds.config:TFDSStreamingConfig",
        summary="A TensorFlow Datasets split, read from disk record by record.",
    )


@hookimpl
def feedrace_health() -> Iterator[Health]:
    from feedrace_tfds.health import findings

    yield from findings()
