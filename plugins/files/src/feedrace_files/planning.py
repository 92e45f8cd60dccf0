"""What a conversion decides when it begins: the fields and the shards."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import msgspec
import numpy as np

from feedrace.plugin import (
    AllRecords,
    DataError,
    clipped,
    is_host_dtype,
    usable_cpus,
    write_whole,
)
from feedrace_files.encoding import Encoder, Field, Values, flat_fields

PLAN = "plan.json"
_SHARD_BYTES = 128 << 20
_SAMPLES = 16


@attrs.frozen(kw_only=True)
class Plan:
    """What was decided when a conversion began, and holds when it goes on."""

    storage: str
    made_from: str
    bounds: tuple[int, ...]
    fields: tuple[Field, ...]


def plan_of(
    partial: Path, to: str, every: AllRecords, shards: int | None, workers: int | None
) -> Plan:
    """Return the plan of a conversion that was begun, or a new one."""
    place = partial / PLAN
    if place.exists():
        try:
            plan = msgspec.json.decode(place.read_bytes(), type=Plan)
        except msgspec.DecodeError as error:
            raise DataError(f"{place} is damaged ({error}); remove that folder") from error
        if (plan.storage, plan.made_from) != (to, every.identity):
            raise _unlike(partial, f"is of other data, other stages or another format than {to}")
        if shards not in (None, len(plan.bounds) - 1):
            raise _unlike(partial, f"has {len(plan.bounds) - 1} shards, not {shards}")
        return plan
    records = len(every)
    if shards is not None and not 1 <= shards <= records:
        raise DataError(f"{shards} shards of {records} records; give 1 to {records}")
    fields, size = _fields(every)
    if shards is None:
        total = size * records
        several = 2 * (usable_cpus() if workers is None else max(workers, 1))
        shards = max(math.ceil(total / _SHARD_BYTES), min(several, math.ceil(total / (1 << 20))))
        shards = max(1, min(shards, records))
    bounds = tuple(records * i // shards for i in range(shards + 1))
    plan = Plan(storage=to, made_from=every.identity, bounds=bounds, fields=fields)
    write_whole(place, msgspec.json.encode(plan))
    return plan


def _unlike(partial: Path, what: str) -> DataError:
    return DataError(
        f"a conversion that was begun in {partial} {what}; convert as before to go on with it, or "
        f"remove that folder to begin anew"
    )


def _fields(every: AllRecords) -> tuple[tuple[Field, ...], float]:
    """Return the fields of the records, from the spec and some of them, and their mean bytes."""
    leaves = list(flat_fields(every.spec))
    names = [".".join(path) for path, _ in leaves]
    for name, (_, leaf) in zip(names, leaves, strict=True):
        _check_dtype(name, leaf)
        if names.count(name) > 1:
            raise DataError(
                f"two fields are called {name!r}, one of them in another field; rename one in a "
                f"record stage"
            )
    numbers = np.unique(np.linspace(0, len(every) - 1, _SAMPLES).astype(np.int64))
    samples = list(every.sample(numbers))
    for number in range(len(every)):  # until there is a record that can be read
        if samples:
            break
        samples = list(every.sample(np.array([number])))
    if not samples:
        raise DataError(
            f"none of the {len(every)} records can be read; there is nothing to convert"
        )
    fields = tuple(
        Field(path, _dtype(name, leaf, samples), tuple(leaf.shape))
        for name, (path, leaf) in zip(names, leaves, strict=True)
    )
    encode = Encoder(fields)
    return fields, sum(len(encode(values)) for values in samples) / len(samples)


def _dtype(name: str, leaf: Any, samples: Sequence[Values]) -> str:
    """Return the dtype that holds a field's values in all samples."""
    values = [values[name] for values in samples]
    if is_host_dtype(leaf.dtype):
        ones = [one for value in values for one in np.asarray(value, object).flat]
        wrong = [one for one in ones if not isinstance(one, str | bytes)]
        if wrong:
            raise DataError(
                f"field {name!r} holds {clipped(wrong[0])}, which no file holds; make it numbers, "
                f"str or bytes in a record stage, or take it out"
            )
        return "bytes" if ones and isinstance(ones[0], bytes) else "str"
    dtypes = [value.dtype for value in values if hasattr(value, "dtype")] or [leaf.dtype]
    return np.dtype(np.result_type(*dtypes)).newbyteorder("=").name


def _check_dtype(name: str, leaf: Any) -> None:
    try:
        np.dtype(leaf.dtype)
    except TypeError as error:
        raise DataError(
            f"field {name!r} has dtype {leaf.dtype}, which no file holds; take it out in a record "
            f"stage"
        ) from error
