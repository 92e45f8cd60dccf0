"""Random values for every field of every component and for every option of a pipeline."""

import attrs
import jax
import numpy as np

import feedrace
from feedrace import registry
from feedrace.errors import FeedraceError
from feedrace.pipeline.options import PipelineOptions

RECORDS = 23
LARGE = 10_000  # what is larger is made, but not run

DATA = {
    "x": np.arange(RECORDS, dtype=np.int32),
    "image": np.zeros((RECORDS, 4, 3), np.uint8),
    "tokens": [np.arange(n % 7 + 1, dtype=np.int32) for n in range(RECORDS)],
}
# What lets a component be made, if nothing else is drawn for these fields.
NEEDED = {
    "memory": {"data": DATA},
    "one-hot": {"field": "x", "num_classes": 5},
    "cast": {"field": "x", "dtype": "int32"},
    "rescale": {"field": "x"},
    "select": {"fields": ["x"]},
    "flip": {"field": "image"},
    "range": {"stop": 9},
    "sliding-window": {"window_size": 3},
    "mixture": {"sizes": [20, 3]},
    "bucket": {"fields": ["tokens"], "boundaries": [4, 7]},
    "pack": {"fields": {"tokens": 8}, "max_segments": 4},
    "multi-rate": {"fields": {"tokens": 8}},
}


class Odd:
    """An object whose every text raises."""

    def __repr__(self):
        raise RuntimeError("no text")

    __str__ = __repr__


def number(rng):
    power = rng.choice([0, 1, 2, 3, 5, 8, 16, 31, 32, 52, 53, 62, 63, 64, 65, 128, 16_000])
    return rng.choice([1, -1]) * 2**power + rng.choice([-1, 0, 0, 1])


def value(rng, depth=0):
    """Return any value that somebody might put into a config, or pass from Python."""
    simple = [
        lambda: number(rng),
        lambda: rng.choice([0, 1, 2, 3, -1, 7, RECORDS, RECORDS + 1]),
        lambda: rng.choice([0.5, 1.0, -0.0, 1e308, float("nan"), float("inf"), 1e-320]),
        lambda: rng.choice([True, False, None]),
        lambda: rng.choice(["", "x", "tokens", "image", "valid", "a\0b", "\u202egnp", "x" * 9999]),
        lambda: rng.choice(["data", "no-such", "first-fit", "split", "int32", "$HOME", "${", "~"]),
        lambda: rng.choice([np.int64(5), np.float32(2), np.bool_(True), np.array([1, 2]), b"x"]),
        lambda: rng.choice([object(), Odd(), int, len, complex(1, 2), slice(3), range(4)]),
    ]
    if depth > 2 or rng.random() < 0.6:
        return rng.choice(simple)()
    items = [value(rng, depth + 1) for _ in range(rng.randrange(5))]
    if rng.random() < 0.5:
        return rng.choice([list, tuple])(items)
    return {rng.choice(["x", "tokens", "use", "a b", "", 3]): item for item in items}


def near(rng, good):
    """Return a value of the kind that a field has, small or large, or any value."""
    if rng.random() < 0.3:
        return value(rng)
    if isinstance(good, bool):
        return not good
    if isinstance(good, int) or good is None:
        return rng.choice([number(rng), rng.randrange(1, 9)])
    if isinstance(good, list | tuple) and good:
        return [near(rng, item) if rng.random() < 0.5 else item for item in good]
    if isinstance(good, dict) and all(isinstance(item, int) for item in good.values()):
        return {key: near(rng, item) for key, item in good.items()}
    return good if rng.random() < 0.5 else value(rng)


def fields_of(rng, component):
    """Return a config for a component with some of its fields drawn."""
    cls = component.load_config()
    given = dict(NEEDED.get(component.name, {}))
    if cls is None:
        return given
    names = [field.name for field in attrs.fields(cls)]
    for name in rng.sample(names, min(len(names), rng.choice([1, 1, 2, 3]))):
        default = attrs.fields_dict(cls)[name].default
        good = given.get(name, 1 if isinstance(default, attrs.Factory) else default)
        given[name] = value(rng) if name == "data" else near(rng, good)
    return given


def attack(rng):
    components = [c for c in registry.available() if "tfds" not in c.name]
    component = rng.choice(components)
    mapping = {"use": component.name, **fields_of(rng, component)}
    try:
        if rng.random() < 0.4:
            return alone(component, mapping)
        return within(rng, component, mapping)
    except FeedraceError as error:
        text = str(error)
        assert len(text) < 20_000, len(text)
        return f"{component.kind}: {type(error).__name__}"


def alone(component, mapping):
    """Make the component by itself, and ask a sampler for a few indices."""
    made = feedrace.create(component.kind, component.name, **without_use(mapping))
    if component.kind == "sampler" and small(made.config):
        try:
            length = len(made)
        except TypeError:
            length = 3
        made.indices(0, min(length, 3))
        made.get_state()
    return f"{component.kind}: made"


def without_use(mapping):
    return {key: value for key, value in mapping.items() if key != "use"}


def small(config):
    """Return whether no number in a config makes an array that is too large to try."""
    return all(
        abs(number) <= LARGE
        for name, field in attrs.asdict(config, recurse=False).items()
        if name in ("window_size", "num_classes", "batch_size", "window", "fields", "boundaries",
                    "max_segments")
        for number in numbers(field)
    )  # fmt: skip


def numbers(field):
    if isinstance(field, dict):
        field = list(field.values())
    items = field if isinstance(field, list | tuple) else [field]
    return [item for item in items if isinstance(item, int)]


def within(rng, component, mapping):
    """Make a pipeline with the component, and with some options drawn; run a few steps."""
    config = {"source": {"use": "memory", "data": DATA}, "batch_size": 4, "seed": 1}
    if component.kind == "stage":
        config["stages"] = [mapping]
    else:
        config[component.kind] = mapping
    if component.kind != "batcher" and component.name != "memory":
        config["batcher"] = {"use": "bucket", "fields": ["tokens"], "boundaries": [7]}
    if component.name == "interleaved" and "callbacks" not in mapping:
        callback = {"stream": "test", "source": config["source"], "every_n_updates": 2}
        drawn = rng.choice(["every_n_updates", "batch_size", "at_start", "stream", "sampler"])
        mapping["callbacks"] = [{**callback, drawn: near(rng, callback.get(drawn, 1))}]
    for field in rng.sample(attrs.fields(PipelineOptions), rng.choice([0, 0, 1, 2])):
        if field.name not in ("source", "sampler", "batcher", "scheduler", "stages"):
            good = config.get(field.name, field.default)
            config[field.name] = near(rng, 3 if good is attrs.NOTHING else good)
    pipeline = feedrace.build(config)
    options = pipeline._parts.options
    parts = [part for _, part in pipeline.components().values()]
    configs = [part.config for part in parts if attrs.has(type(getattr(part, "config", None)))]
    sizes = [
        options.batch_size,
        *(stream.batch_size for stream in pipeline._parts.streams.values()),
    ]
    if max(sizes) > LARGE or not all(map(small, configs)):
        return f"{component.kind}: built, too large to run"
    with pipeline.steps() as steps:
        for step, _ in zip(steps, range(4), strict=False):
            jax.block_until_ready([x for x in step.batch.values() if hasattr(x, "devices")])
    state = pipeline.get_state()
    feedrace.build(config).set_state(state)
    return f"{component.kind}: ran"
