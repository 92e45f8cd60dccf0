"""Which fields records of an Arrow schema have: the plan by which columns become arrays."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import pyarrow as pa
import pyarrow.types as kinds

from feedrace.plugin import ConfigError, DataError, Leaf, Problem, chosen, clipped, did_you_mean
from feedrace_arrow.hints import (
    Written,
    child_hint,
    encoded,
    hints_of,
    shape_of,
    written_in,
)
from feedrace_arrow.type_names import parse_type

# str: a child of a struct; None: the items of a list; (n,): those of a list of n, (m, n): those of
# a tensor
Step = str | tuple[int, ...] | None
Shape = tuple[int | None, ...]
_TEXT = (
    kinds.is_string,
    kinds.is_large_string,
    kinds.is_string_view,
    kinds.is_binary,
    kinds.is_large_binary,
    kinds.is_binary_view,
    kinds.is_fixed_size_binary,
)
# Arrow's names of numbers that numpy calls otherwise; `to_pandas_dtype` may import pandas.
_FLOATS = {"halffloat": "float16", "float": "float32", "double": "float64"}
_LISTS = (kinds.is_list, kinds.is_large_list)


@attrs.frozen(eq=False)
class ArrowField:
    """One field of a record, and how it is found in an Arrow column.

    leaf: its place, shape and dtype in a batch. column: of the file. steps: from there to values.
    fill: what stands for null; None if null is an error.
    categories: what codes stand for: a dictionary's values, or names of classes; None for others.
    note: what its numbers mean, for people. beyond_32: whether they are times that no int32 holds.
    written: how `feedrace convert` had the field, if that wrote it.
    """

    leaf: Leaf
    column: str
    steps: tuple[Step, ...] = ()
    fill: Any = None
    categories: tuple[Any, ...] | None = None
    note: str = ""
    beyond_32: bool = False
    written: Written | None = None

    @property
    def is_fixed(self) -> bool:
        """Whether all records take as many bytes."""
        return self.leaf.dtype != object and None not in self.leaf.shape

    @property
    def path(self) -> str:
        """What a Parquet reader has to read for it."""
        inner = []
        for step in self.steps:
            shaped = self.written is not None and step == "values"  # and beside it, `shape`
            if shaped or not isinstance(step, str):
                break
            inner.append(step)
        return ".".join([self.column, *inner])


@attrs.frozen(kw_only=True)
class Choices:
    """What a config says about fields: see `ArrowConfig`."""

    columns: tuple[str, ...] | None = None
    types: Mapping[str, str] = attrs.field(factory=dict)
    shapes: Mapping[str, Sequence[int | None]] = attrs.field(factory=dict)
    nulls: Mapping[str, Any] = attrs.field(factory=dict)

    def cast(self, name: str) -> pa.DataType | None:
        """Return the type that a column is to be cast to, or None."""
        return parse_type(self.types[name], f"types.{name}") if name in self.types else None


def plan(
    schema: pa.Schema,
    choices: Choices,
    where: str,
    *,
    categories: Mapping[str, tuple[Any, ...]],
    hints: Mapping[str, Any] | None = None,
) -> tuple[ArrowField, ...]:
    """Return the fields of records of a schema.

    where: what has the schema, for messages. categories: those of each dictionary, by the field's
    dotted name. hints: what Hugging Face calls features, by column; None for those in the schema.

    Raises `ConfigError` for choices that name what is not there or does not fit, and `DataError`
    for a column of a type that no array holds.
    """
    if len(set(schema.names)) < len(schema.names):
        twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
        raise DataError(f"{where} has several columns of one name, {clipped(twice)}; rename them")
    hints = hints_of(schema) if hints is None else hints
    written = written_in(schema, where)
    found = [
        one
        for column in schema
        for one in _found(
            (column.name,),
            choices.cast(column.name) or column.type,
            (),
            (),
            hints.get(column.name),
            {} if column.name in choices.types else written,
        )
    ]
    names = dict.fromkeys(schema.names)
    for one in found:
        names |= dict.fromkeys(one.prefixes)
    wanted: dict[str, _Found] = {}  # in the order of the config
    for column in chosen(list(names), choices.columns, where):
        wanted |= {one.prefixes[-1]: one for one in found if column in one.prefixes}
    fields = [_field(one, choices, categories, where) for one in wanted.values()]
    check_named("types", choices.types, schema.names, where)
    check_named("shapes", choices.shapes, [field.leaf.dotted for field in fields], where)
    check_named("nulls", choices.nulls, [field.leaf.dotted for field in fields], where)
    return tuple(fields)


def dictionaries(schema: pa.Schema) -> tuple[ArrowField, ...]:
    """Return the fields of a schema that are dictionaries."""
    return tuple(
        ArrowField(Leaf(one.name, one.shape, np.int32), one.name[0], one.steps)
        for column in schema
        for one in _found((column.name,), column.type, (), (), None, {})
        if kinds.is_dictionary(one.kind)
    )


@attrs.frozen(eq=False)
class _Found:
    """A field that a column consists of. kind: the type of a value. hint: of Hugging Face's."""

    name: tuple[str, ...]
    kind: pa.DataType
    steps: tuple[Step, ...]
    shape: Shape
    hint: Any
    written: Written | None = None

    @property
    def prefixes(self) -> list[str]:
        """The dotted names of what it is in, and its own."""
        return [".".join(self.name[:end]) for end in range(1, len(self.name) + 1)]


def _found(
    name: tuple[str, ...],
    kind: pa.DataType,
    steps: tuple[Step, ...],
    shape: Shape,
    hint: Any,
    written: Mapping[tuple[str, ...], Written],
) -> Iterator[_Found]:
    """Yield the fields that a column consists of."""
    if name in written:
        yield _flat(name, kind, steps, written[name])
    elif encoded(hint) and kinds.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        yield _Found(name, kind.field("bytes").type, (*steps, "bytes"), shape, hint)
    elif isinstance(kind, pa.FixedShapeTensorType) and not _is_permuted(kind):
        sizes = tuple(kind.shape)
        yield _Found(name, kind.value_type, (*steps, sizes), (*shape, *sizes), hint)
    elif isinstance(kind, pa.BaseExtensionType):
        yield from _found(name, kind.storage_type, steps, shape, hint, written)
    elif kinds.is_struct(kind):
        for child in kind:
            inner = child_hint(hint, child.name)
            inside = (*steps, child.name)
            yield from _found((*name, child.name), child.type, inside, shape, inner, written)
    elif kinds.is_fixed_size_list(kind):
        size, inner = kind.list_size, child_hint(hint)
        yield from _found(name, kind.value_type, (*steps, (size,)), (*shape, size), inner, written)
    elif any(is_kind(kind) for is_kind in _LISTS):
        known = shape_of(hint)  # of an Array2D and the like, whose items are lists, too
        if known is None:
            inner = child_hint(hint)
            yield from _found(name, kind.value_type, (*steps, None), (*shape, None), inner, written)
            return
        for _ in known:
            kind, steps = kind.value_type, (*steps, None)
        yield _Found(name, kind, steps, (*shape, *known), None)
    else:
        yield _Found(name, kind, steps, shape, hint)


def _flat(
    name: tuple[str, ...], kind: pa.DataType, steps: tuple[Step, ...], written: Written
) -> _Found:
    """Return a field whose column holds its values flat, beside its shape if need be."""
    if kinds.is_struct(kind):
        kind, steps = kind.field("values").type, (*steps, "values")
    if kinds.is_fixed_size_list(kind):
        kind, steps = kind.value_type, (*steps, (kind.list_size,))
    elif kinds.is_list(kind):
        kind, steps = kind.value_type, (*steps, None)
    return _Found(name, kind, steps, written.shape, None, written)


def _is_permuted(kind: Any) -> bool:
    order = kind.permutation
    return order is not None and list(order) != sorted(order)


def _field(
    found: _Found, choices: Choices, categories: Mapping[str, tuple[Any, ...]], where: str
) -> ArrowField:
    name, kind, hint = found.name, found.kind, found.hint
    dotted = ".".join(name)
    dtype, note = _dtype(dotted, name[0], kind, where)
    if found.written is not None:
        dtype = found.written.dtype
    leaf = Leaf(name, _declared(dotted, found.shape, choices.shapes.get(dotted)), dtype)
    known = None
    if kinds.is_dictionary(kind):
        known = categories.get(dotted, ())
        note = f"codes of {_counted(known)}"
    elif isinstance(hint, Mapping) and isinstance(hint.get("names"), list) and dtype.kind in "iu":
        known = tuple(hint["names"])
        note = f"classes, {_counted(known)}"
    return ArrowField(
        leaf,
        name[0],
        found.steps,
        _fill(leaf, kind, choices.nulls.get(dotted)),
        known,
        note,
        kinds.is_date64(kind) or (kinds.is_timestamp(kind) and kind.unit != "s"),
        found.written,
    )


def _counted(names: Sequence[Any]) -> str:
    shown = ", ".join(str(name) for name in names[:10])
    more = ", ..." if len(names) > 10 else ""
    return f"{len(names)} categories: {clipped(shown)[1:-1]}{more}"


def _dtype(dotted: str, column: str, kind: pa.DataType, where: str) -> "tuple[np.dtype[Any], str]":
    """Return the dtype of a type's values, and what the numbers mean."""
    if any(is_kind(kind) for is_kind in _TEXT):
        return np.dtype(object), ""
    if kinds.is_dictionary(kind):
        return np.dtype(np.int32), ""
    if kinds.is_temporal(kind) and not kinds.is_interval(kind):
        zone = f" ({kind.tz})" if kinds.is_timestamp(kind) and kind.tz else ""
        dtype = np.dtype(np.int32 if kind.bit_width == 32 else np.int64)
        return dtype, f"{_unit(kind)}{zone}"
    if kinds.is_boolean(kind) or kinds.is_integer(kind) or kinds.is_floating(kind):
        return np.dtype(_FLOATS.get(str(kind), str(kind))), ""
    if kinds.is_null(kind):
        raise DataError(
            f"column {dotted!r} of {where} has no values, so that its type is not known; leave it "
            f'out of `columns`, or give its type: types = {{ {column} = "int64" }}'
        )
    cast = f'; or cast it: types = {{ {column} = "float64" }}' if kinds.is_decimal(kind) else ""
    raise DataError(
        f"column {dotted!r} of {where} has type {clipped(str(kind))}, which no array holds; leave "
        f"it out of `columns`, or write the file without it{cast}"
    )


_UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}


def _unit(kind: pa.DataType) -> str:
    if kinds.is_date(kind):
        return f"{'days' if kind.bit_width == 32 else 'milliseconds'} since 1970-01-01"
    since = {True: " since 1970-01-01", False: ""}[kinds.is_timestamp(kind)]
    return f"{_UNITS[kind.unit]}{since or (' since midnight' if kinds.is_time(kind) else '')}"


def _declared(dotted: str, shape: Shape, declared: Sequence[int | None] | None) -> Shape:
    """Return the shape of a field, as `shapes` has it if it does."""
    if declared is None:
        return shape
    fits = len(declared) == len(shape) and all(
        known is None or known == said for known, said in zip(shape, declared, strict=True)
    )
    if not fits:
        message = (
            f"{clipped(list(declared))} does not fit: the column's values have {_shown(shape)}"
        )
        raise ConfigError([Problem(f"shapes.{dotted}", message)])
    return tuple(declared)


def _shown(shape: Shape) -> str:
    return f"shape [{', '.join('any' if size is None else str(size) for size in shape)}]"


def _fill(leaf: Leaf, kind: pa.DataType, fill: Any) -> Any:
    """Return what stands for null, as the field's dtype; raise `ConfigError` if it does not fit."""
    if fill is None:
        return None
    if leaf.dtype == object:
        is_text = kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind)
        wanted = "a string"
        fits = isinstance(fill, str)
        value = fill if is_text or not fits else fill.encode()
    else:
        wanted = f"a value of {leaf.dtype}"
        fits = isinstance(fill, bool | int | float)
        with np.errstate(all="ignore"):
            value = np.array(fill if fits else 0).astype(leaf.dtype)[()]
            rounded = leaf.dtype.kind == "f" and not np.isinf(value)
            fits = fits and (value.item() == fill or bool(rounded))
    if not fits:
        raise ConfigError([Problem(f"nulls.{leaf.dotted}", f"{clipped(fill)} is not {wanted}")])
    return value


def check_named(key: str, given: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    """Raise `ConfigError` for names of columns that there are not. key: the field that has them."""
    problems = [
        Problem(
            f"{key}.{clipped(name)[1:-1]}",
            f"there is no such column among those read from {where}{did_you_mean(name, known)}",
        )
        for name in given
        if name not in known
    ]
    if problems:
        raise ConfigError(problems)
