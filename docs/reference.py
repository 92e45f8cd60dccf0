"""The reference: what the code declares, as Markdown, put into pages while the site is built.

A line `<!-- made: NAME ARGUMENT -->` of a page stands for what the function of that name here
returns, in lines. `tests/test_reference.py` finds every declaration in it.
"""

import functools
import importlib
import inspect
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import click

import feedrace
from feedrace.cli import main
from feedrace.config.fields import MAX_SIZE, QUIET, REQUIRED
from feedrace.config.mapping import default_of
from feedrace.pipeline.description import fingerprint_of
from feedrace.pipeline.options import PipelineOptions
from feedrace.plan import order, state
from feedrace.protocols import KINDS, Source, Stateful
from feedrace.registry import available
from feedrace.registry.component import Component
from feedrace.registry.first_party import FIRST_PARTY
from feedrace.registry.kinds import CAPABILITIES
from feedrace.registry.making import config_class_of
from feedrace.registry.schema import field_documents, object_schema

# What is read from the environment: by the code, but `_FEEDRACE_COMPLETE` by click, and
# `TQDM_DISABLE` by tqdm.
VARIABLES = {
    "FEEDRACE_PLUGINS": "Only these plugins are used, by namespace, with commas between; if it is "
    "empty, none. Nothing of the others is imported.",
    "FEEDRACE_PLUGINS_DISABLE": "These plugins are not used.",
    "FEEDRACE_PREFER": "If several plugins offer a name, the first of these that offers it has it. "
    "A built-in keeps its name.",
    "FEEDRACE_CACHE_DIR": "The folder for all that is kept: tables of where records begin, blocks "
    "of remote files, caches of records, statistics. By default `feedrace` in `XDG_CACHE_HOME`.",
    "XDG_CACHE_HOME": "The user's folder for caches; by default `~/.cache`.",
    "FEEDRACE_WORKER": "Set in worker processes, and by nobody else: a script that starts workers "
    "again when a worker imports it is then an error.",
    "TQDM_DISABLE": "Set to 1 before Python starts, no progress bars are shown: tqdm, which draws "
    "them, reads it.",
    "TFDS_DATA_DIR": "The folder of prepared TensorFlow datasets, if a config has no `data_dir`; "
    "by default `~/tensorflow_datasets`.",
    "TF_CPP_MIN_LOG_LEVEL": "How much TensorFlow logs; set to 2 if it is not set, before "
    "TensorFlow is imported.",
    "_FEEDRACE_COMPLETE": "Set to `bash_source`, `zsh_source` or `fish_source`, the command "
    "`feedrace` prints what makes the shell complete it.",
}


def table(head: str, rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    """Yield a Markdown table; `head` has its columns with `|` between."""
    columns = head.split("|")
    yield from ("", f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}")
    for row in rows:
        yield "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in row) + " |"
    yield ""


def sentence(text: str) -> str:
    text = " ".join(text.split()).rstrip(";.")
    return text[:1].upper() + text[1:] + "." if text else ""


# Components and options


def offered(kind: str) -> list[Component]:
    """Return the components of this project, by name."""
    found = [c for c in available(kind) if c.namespace in ("builtin", *FIRST_PARTY)]
    return sorted(found, key=lambda c: c.name)


def components(kind: str) -> Iterator[str]:
    for component in offered(kind):
        yield from (f"## {component.name}", "", component.summary, "")
        if component.deprecated:
            yield f"Deprecated: {component.deprecated}."
        names = "".join(f", `{alias}`" for alias in component.aliases)
        yield f"From `{component.dist}`, as `{component.reference}`{names}."
        yield f"Class `{component.target.replace(':', '.')}`."
        promises = [f"{CAPABILITIES[kind][name]} (`{name}`)" for name in component.capabilities]
        if promises:
            yield f"It promises: {'; '.join(sorted(promises))}."
        config = config_class_of(component)
        yield from fields(config) if config is not None else ("", "It has no fields.", "")
    if not offered(kind):
        yield "No package of this project offers one."


def options() -> Iterator[str]:
    yield from fields(PipelineOptions)


def fields(config: type) -> Iterator[str]:
    """Yield the table of a config's fields, and those of the tables within it."""
    nested: dict[str, Any] = {}
    schema = object_schema(config, nested)["properties"]
    own = [f for f in attrs.fields(config) if f.init and not f.metadata.get(QUIET)]
    # What must be given comes first, then what is the config's own.
    homes = {name: i for i, base in reversed([*enumerate(config.__mro__)])
             for name in inspect.get_annotations(base)}  # fmt: skip
    own.sort(key=lambda f: (default(f) != "required", homes[f.name]))
    rows = (
        (f"`{f.name}`", words(schema[f.name]), default(f), sentence(described(config, f.name)))
        for f in own
    )
    yield from table("field|type|default|meaning", rows) if own else ("", "It has no fields.", "")
    for name in nested:
        inner = importlib.import_module(name.rpartition(".")[0])
        yield from ("", f"Keys of `{name.rpartition('.')[2]}`:")
        yield from fields(getattr(inner, name.rpartition(".")[2]))


def described(config: type, name: str) -> str:
    return field_documents(config).get(name, "")


def default(field: Any) -> str:
    value = default_of(field)
    if value is attrs.NOTHING or field.metadata.get(REQUIRED):
        return "required"
    return "none" if value is None else f"`{json.dumps(value, default=sorted)}`"


def words(schema: Mapping[str, Any]) -> str:
    """Return what values a JSON Schema allows, in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}]({name}s.md)" if name in KINDS else f"`{name.rpartition('.')[2]}`"
    if "enum" in schema:
        return " or ".join(f"`{json.dumps(one)}`" for one in schema["enum"])
    choices = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    kinds = schema.get("type", "any")
    kinds = [kind for kind in ([kinds] if isinstance(kinds, str) else kinds) if kind != "null"]
    said = list(map(words, choices)) or [_one(kind, schema) for kind in kinds]
    return " or ".join(dict.fromkeys(said)) + limits(schema)


def _one(kind: str, schema: Mapping[str, Any]) -> str:
    items = schema.get("items") if kind == "array" else schema.get("additionalProperties")
    of = f" of {words(items)}" if isinstance(items, Mapping) and items else ""
    plain = {"string": "text", "integer": "int", "boolean": "bool", "array": "list"}
    return {**plain, "object": "table"}.get(kind, kind) + of


def limits(schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    low = None if low is None or low < -MAX_SIZE else low
    high = None if high is None or high >= MAX_SIZE // 2 else high
    if "exclusiveMinimum" in schema:
        said = f"above {schema['exclusiveMinimum']:,}"
    elif low is not None and high is not None:
        said = f"from {low:,} to {high:,}"
    else:
        said = f"{low:,} or more" if low is not None else f"at most {high:,}" if high else ""
    said += ", not 0" if schema.get("not") == {"const": 0} else ""
    return f", {said}" if said else ""


# Commands


def walk(command: click.Command, names: tuple[str, ...], parent: Any = None) -> Iterator[Any]:
    """Yield (names, command, context) of a command and all below it, those of plugins too."""
    settings = command.context_settings  # click keeps the help option that it finds with them
    context = click.Context(command, info_name=names[-1], parent=parent, **settings)
    yield names, command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            yield from walk(command.get_command(context, name), (*names, name), context)


def commands() -> Iterator[str]:
    for names, command, context in walk(main, ("feedrace",)):
        yield from (f"## {' '.join(names)}", "", "```text", command.get_usage(context), "```", "")
        yield from (inspect.cleandoc(command.help or ""), "")
        package = getattr(command.callback, "__module__", "feedrace").partition(".")[0]
        if package != "feedrace":
            yield f"It comes with `{package.replace('_', '-')}`."
        options = [p for p in command.params if isinstance(p, click.Option)]
        records = [option.get_help_record(context) for option in options]
        rows = ((f"`{name}`", text.replace("[", "\\[")) for name, text in filter(None, records))
        if any(records):
            yield from table("option|meaning", rows)


# What plugins implement


def hooks() -> Iterator[str]:
    yield from _eval_rst("automodule:: feedrace.registry.hookspecs", "exclude-members: hookspec")


_GROUP = re.compile(r"^# (Optional, for .*|What is not a source.*)$|^class (\w+)\(", re.MULTILINE)


def grouped() -> dict[str, list[str]]:
    """Return the optional protocols by the heading above them in their modules."""
    from feedrace.protocols import elements, optional

    found: dict[str, list[str]] = {}
    for module in (optional, elements):
        for heading, name in _GROUP.findall(inspect.getsource(module)):
            if heading:
                found[heading] = []
            else:
                found[next(reversed(found))].append(name)
    return found


def kinds() -> Iterator[str]:
    for kind, protocol in KINDS.items():
        yield f"## {kind.capitalize()}"
        yield from _eval_rst(f"autoclass:: feedrace.plugin.protocols.{protocol.__name__}")
        rows = ((f"`{name}`", sentence(text)) for name, text in CAPABILITIES[kind].items())
        if CAPABILITIES[kind]:
            yield "What a component of this kind may promise in its `capabilities`:"
            yield from table("capability|meaning", rows)
    yield "## Of the modules"
    for protocol in (Source, Stateful):
        yield from _eval_rst(f"autoclass:: feedrace.plugin.protocols.{protocol.__name__}")


def protocols() -> Iterator[str]:
    for heading, names in grouped().items():
        yield f"## {heading.removeprefix('Optional, ').capitalize()}"
        for name in names:
            yield from _eval_rst(f"autoclass:: feedrace.plugin.protocols.{name}")


def _eval_rst(directive: str, *options: str) -> Iterator[str]:
    lines = [f"   :{option}" if ":" in option else option for option in ("members:", *options)]
    yield from ("", "```{eval-rst}", f".. {directive}", *lines, "```", "")


# The rest


def variables() -> Iterator[str]:
    yield from table("variable|meaning", ((f"`{k}`", text) for k, text in VARIABLES.items()))


def metrics() -> Iterator[str]:
    from feedrace.integrations.prometheus import PipelineCollector

    rows = (
        (f"`{m.name}{'_total' if m.type == 'counter' else ''}`", m.type, m.documentation)
        for m in PipelineCollector().collect()
    )
    yield from table("metric|type|meaning", rows)


@functools.cache
def example_state() -> dict[str, Any]:
    """Return the state of a pipeline after three batches, two epochs of ten records."""
    with feedrace.temporary():
        pipeline = feedrace.build(
            {
                "source": {"use": "memory", "data": {"x": list(range(10))}},
                "sampler": {"use": "epoch-aware", "num_epochs": 2},
                "stages": [{"use": "rescale", "field": "x", "scale": 0.5}],
                "batch_size": 4,
                "seed": 7,
            }
        )
        batches = iter(pipeline)
        for _ in range(3):
            next(batches)
        return pipeline.get_state()


def state_example() -> Iterator[str]:
    made = example_state()
    yield from ("```json", json.dumps(made, indent=2), "```", "")
    with tempfile.TemporaryDirectory() as folder:
        feedrace.save_state(f"{folder}/state.json", made)
        with open(f"{folder}/state.json", "rb") as file:
            size = len(file.read())
    yield f"In a file it takes {size:,} bytes. No state takes more than {state.MAX_BYTES:,}."


def state_keys() -> Iterator[str]:
    yield from _keys("key", state.document)
    yield "The fingerprint has:"
    yield from _keys("key of `fingerprint`", fingerprint_of)
    yield f"Now the format is {state.FORMAT}, and the version of the order {order.VERSION}."


def _keys(head: str, function: Any) -> Iterator[str]:
    """Yield a table of what a function's docstring says of each key of the dict it returns."""
    texts = re.findall(r"^(\w+): (.*?)(?=^\w+: |\Z)", inspect.getdoc(function), re.M | re.S)
    yield from table(f"{head}|meaning", ((f"`{key}`", sentence(text)) for key, text in texts))


MADE = {
    f.__name__: f
    for f in (components, options, commands, hooks, kinds, protocols, variables, metrics,
              state_example, state_keys)
}  # fmt: skip
_MARK = re.compile(r"^<!-- made: (\w+)(?: (\w+))? -->$", re.MULTILINE)


def fill(text: str) -> str:
    """Return a page with what its marks stand for."""
    return _MARK.sub(lambda m: "\n".join(MADE[m[1]](*filter(None, [m[2]]))), text)


def setup(app: Any) -> dict[str, bool]:
    def read(app: Any, name: str, source: list[str]) -> None:
        source[0] = fill(source[0])

    app.connect("source-read", read)
    app.connect("autodoc-process-signature", lambda app, what, name, value, *_: (
        ("", None) if getattr(value, "_is_protocol", False) else None))  # fmt: skip
    # They depend on the code, not on their files alone.
    app.connect("env-get-outdated", lambda app, env, *_: [
        name for name in env.found_docs if name.startswith("reference/")])  # fmt: skip
    return {"parallel_read_safe": True}
