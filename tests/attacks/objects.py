"""Objects with `__getitem__`, one record of which may be odd: the same records, or an error."""

import numpy as np

import feedrace
from feedrace.errors import FeedraceError

KINDS = ("int", "vector", "matrix", "text", "bytes", "flag", "nested", "varying")
ODD = ("a field more", "a field less", "none", "a string", "longer", "deeper", "large", "error",
       "not a dict")  # fmt: skip


def value(kind, number):
    """Return the value of a field of record `number`."""
    made = {
        "int": number,
        "vector": np.full(3, number, np.float32),
        "matrix": [[number, 1], [2, 3]],
        "text": f"{number}\0",
        "bytes": b"%d\0" % number,
        "flag": number % 2 == 0,
        "nested": {"a": np.int16(number), "b": np.zeros(2, np.uint8)},
        "varying": np.arange(number % 4, dtype=np.int32),
    }
    return made[kind]


class Data:
    """Records of some fields. odd: which is odd, and how. many: has `__getitems__`."""

    def __init__(self, length, fields, as_tuples, odd):
        self.length, self.fields, self.as_tuples, self.odd = length, fields, as_tuples, odd

    def __len__(self):
        return self.length

    def __getitem__(self, number):
        if not 0 <= number < self.length:
            raise IndexError(number)
        record = {name: value(kind, number) for name, kind in self.fields.items()}
        if self.odd is not None and number == self.odd[0]:
            record = odd(record, self.odd[1])
        return tuple(record.values()) if self.as_tuples and isinstance(record, dict) else record


class Many(Data):
    def __getitems__(self, numbers):
        return [self[number] for number in numbers]


def odd(record, how):
    name = next(iter(record))
    changed = {
        "none": None,
        "a string": "odd",
        "longer": np.zeros(1000),
        "deeper": np.zeros((1, 1, 1, 1)),
        "large": 2**70,
    }
    if how == "error":
        raise RuntimeError("the object's own error")
    if how == "a field more":
        return {**record, "more": 1}
    if how == "a field less":
        return {key: part for key, part in record.items() if key != name}
    return 7 if how == "not a dict" else {**record, name: changed[how]}


def attack(rng):
    length = rng.randrange(1, 40)
    fields = {f"f{i}": rng.choice(KINDS) for i in range(rng.randrange(1, 5))}
    how = rng.choice(ODD) if rng.random() < 0.5 else None
    fault = None if how is None else (rng.randrange(length), how)
    as_tuples = rng.random() < 0.3
    made = rng.choice([Data, Many])(length, fields, as_tuples, fault)
    options = {"names": list(fields)} if as_tuples else {}
    try:
        source = feedrace.create("source", "records", data=made, **options)
        numbers = np.array([rng.randrange(length) for _ in range(rng.randrange(1, 60))])
        records = source.fetch(numbers)
        if not any(kind == "varying" for kind in fields.values()):
            follow(rng, source)
    except FeedraceError as error:
        assert fault is not None, error
        assert len(str(error)) < 20_000
        return f"{how}: {type(error).__name__}"
    except RuntimeError as error:
        assert how == "error" and str(error) == "the object's own error"
        return f"{how}: its own error"
    for place, number in enumerate(numbers.tolist()):
        if fault is None or number != fault[0]:
            for name, kind in fields.items():
                equal(records[name], place, value(kind, number))
    return f"{how or 'good'}: read"


def equal(column, place, wanted):
    if isinstance(wanted, dict):
        for key, part in wanted.items():
            equal(column[key], place, part)
        return
    got = column[place]
    same = got == wanted if isinstance(wanted, str | bytes) else np.array_equal(got, wanted)
    assert same, f"{got!r} came for {wanted!r}"


def follow(rng, source):
    """Run an epoch through a pipeline, stopped in its middle: every record comes once."""

    def pipeline():
        workers = {"kind": "thread", "count": rng.randrange(3)}
        return feedrace.Pipeline(
            source=source, batch_size=rng_size, workers=workers, seed=1, sampler={"use": "shuffle"}
        )

    rng_size = rng.randrange(1, 9)
    first = pipeline()
    stop, seen = rng.randrange(len(source) // rng_size + 1), []
    with first.steps() as steps:
        for _ in range(stop):
            seen += next(steps).indices.tolist()
    second = pipeline()
    second.set_state(first.get_state())
    with second.steps() as steps:
        for step in steps:
            seen += step.indices.tolist()
    if stop * rng_size >= len(source):  # the pass had ended, and the next one follows
        assert sorted(seen) == sorted([*range(len(source))] * (1 + (len(seen) > len(source))))
    else:
        assert sorted(seen) == [*range(len(source))]
