"""One JSON Schema for the configs of pipelines, from the components that are installed."""

import inspect
import re
from typing import Any

import attrs

from feedrace.config.fields import COMPONENT, MANY, REQUIRED, nested_class
from feedrace.errors import BrokenPluginError, ComponentError
from feedrace.pipeline.document import PipelineConfig
from feedrace.registry import catalog
from feedrace.registry.component import KINDS, Component
from feedrace.registry.making import config_class_of

_FIELD_DOC = re.compile(r"(?:^|(?<=[.;] ))([a-z_]\w*(?:, [a-z_]\w*)*): ")


def schema() -> dict[str, Any]:
    """Return a JSON Schema (2020-12) that a mapping of names meets where it is a good config.

    A component whose config class cannot be loaded may have any keys in it. Rules that hold
    between several fields are not in it; `feedrace validate` checks those, too.
    """
    definitions: dict[str, Any] = {}
    for kind in KINDS:
        offers = [c for c in catalog.available(kind) if _names(c)]
        for component in offers:
            definitions[_key(component)] = _component_schema(component, definitions)
        choices = [_to(_key(component)) for component in offers]
        definitions[kind] = {"oneOf": choices} if choices else {"not": {}}  # nothing is allowed
    whole = object_schema(PipelineConfig, definitions)
    whole["properties"] = {"$schema": {"type": "string"}, **whole["properties"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Feedrace pipeline",
        **whole,
        "$defs": definitions,
    }


def object_schema(cls: type, definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a mapping from which `cls`, an attrs class, can be made.

    What it refers to is added to `definitions`.
    """
    attrs.resolve_types(cls)
    documents = field_documents(cls)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for field in attrs.fields(cls):
        if not field.init:
            continue
        made = _field_schema(field, definitions)
        if field.name in documents:
            made["description"] = documents[field.name]
        default = default_of(field)
        if default is attrs.NOTHING or field.metadata.get(REQUIRED):
            required.append(field.name)
            choices = [c for c in made.get("anyOf", ()) if c != {"type": "null"}]
            if len(choices) == 1:  # the default None only says that it is missing
                made |= choices[0]
                del made["anyOf"]
        elif isinstance(default, str | int | float | None):
            made["default"] = default
        properties[field.name] = made
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def default_of(field: "attrs.Attribute[Any]") -> Any:
    """Return a field's default, made where a factory makes it; `attrs.NOTHING` where none is."""
    default: Any = field.default
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        return attrs.NOTHING if default.takes_self else default.factory()
    return default


def field_documents(cls: type) -> dict[str, str]:
    """Return what the docstrings of a class and its bases say of fields, in lines `name: text`."""
    documents: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        names: list[str] = []
        for line in inspect.cleandoc(base.__dict__.get("__doc__") or "").splitlines():
            starts = list(_FIELD_DOC.finditer(line))
            for start, after in zip(starts, [*starts[1:], None], strict=False):
                names = start[1].split(", ")
                said = line[start.end() : after.start() if after else None]
                documents |= dict.fromkeys(names, said.strip())
            if not starts and not line.strip():
                names = []
            elif not starts:
                for name in names:
                    documents[name] += " " + line.strip()
    return documents


def _component_schema(component: Component, definitions: dict[str, Any]) -> dict[str, Any]:
    use = {"enum": _names(component), "description": "The name of the component."}
    made: dict[str, Any] = {"title": component.reference, "description": component.summary}
    if component.deprecated:
        made |= {"deprecated": True, "description": f"Deprecated: {component.deprecated}"}
    try:
        config_class = config_class_of(component)
    except BrokenPluginError as error:
        said = f"{component.summary} ({error})"
        return {**made, "description": said, "properties": {"use": use}, "required": ["use"]}
    empty: dict[str, Any] = {
        "type": "object", "properties": {}, "required": [], "additionalProperties": False
    }  # fmt: skip
    made |= empty if config_class is None else object_schema(config_class, definitions)
    made["properties"] = {"use": use, **made["properties"]}
    made["required"] = ["use", *made["required"]]
    return made


def _field_schema(field: "attrs.Attribute[Any]", definitions: dict[str, Any]) -> dict[str, Any]:
    kind = field.metadata.get(COMPONENT)
    if kind is not None:
        one = _to(kind)
        made: dict[str, Any] = {"type": "array", "items": one} if field.metadata[MANY] else one
        return {"anyOf": [made, {"type": "null"}]} if field.default is None else made
    nested = nested_class(field.type)
    if nested is not None:
        key = f"{nested.__module__}.{nested.__qualname__}"
        if key not in definitions:
            definitions[key] = {}  # it may refer to itself
            definitions[key] = object_schema(nested, definitions)
        return {"type": "array", "items": _to(key)}
    return _type_schema(field.type, definitions) | _rule(field.validator)


def _type_schema(annotation: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    import msgspec

    try:
        (made,), components = msgspec.json.schema_components(
            [annotation], ref_template="#/$defs/{name}"
        )
    except TypeError:  # a type that no JSON can stand for, such as that of a function
        return {}
    definitions |= {key: value for key, value in components.items() if key not in definitions}
    return dict(made)


def _rule(validator: Any) -> dict[str, Any]:
    """Return the schema that a validator of `feedrace.config.fields` carries, of several all."""
    parts = getattr(validator, "_validators", (validator,))
    rules: dict[str, Any] = {}
    for part in parts:
        rules |= getattr(part, "schema", {})
    return rules


def _names(component: Component) -> list[str]:
    """Return the references, shortest first, by which exactly this component is found."""
    found = []
    for name in (component.name, *component.aliases):
        for reference in (name, f"{component.namespace}/{name}"):
            try:
                if catalog.resolve(component.kind, reference) is component:
                    found.append(reference)
            except ComponentError:
                continue  # ambiguous
    return found


def _key(component: Component) -> str:
    return f"{component.kind}.{component.namespace}.{component.name}"


def _to(key: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{key}"}
