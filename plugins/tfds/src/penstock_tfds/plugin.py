"""Declarations of this plugin's components."""

from collections.abc import Iterator

from penstock import Component, Health, hookimpl

PENSTOCK_API = 1


@hookimpl
def penstock_components() -> Iterator[Component]:
    yield Component(
        kind="source",
        name="tfds-eager",
        target="penstock_tfds.eager:TFDSEagerSource",
        config="penstock_tfds.config:TFDSEagerConfig",
        summary="A TensorFlow Datasets split, loaded whole onto the device.",
        capabilities=["on-device"],
    )
    yield Component(
        kind="source",
        name="tfds-streaming",
        target="penstock_tfds.streaming:TFDSStreamingSource",
        config="penstock_tfds.config:TFDSStreamingConfig",
        summary="A TensorFlow Datasets split, read from disk record by record.",
    )


@hookimpl
def penstock_health() -> Iterator[Health]:
    from penstock_tfds.health import findings

    yield from findings()
