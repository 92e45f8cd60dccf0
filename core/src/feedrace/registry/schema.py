"""One JSON Schema for the configs of pipelines, from the components that are installed."""

import inspect
import re
import typing
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import attrs

from feedrace.config.fields import COMPONENT, MANY, NAMED, REQUIRED, Rule
from feedrace.config.mapping import default_of, has_nested, is_union
from feedrace.errors import BrokenPluginError, ComponentError
from feedrace.registry import catalog
from feedrace.registry.component import Component
from feedrace.registry.kinds import KINDS
from feedrace.registry.listing import available
from feedrace.registry.making import config_class_of

_FIELD_DOC = re.compile(r"(?:^|(?<=[.;] ))([a-z_]\w*(?:, [a-z_]\w*)*): ", re.MULTILINE)


def schema(root: type) -> dict[str, Any]:
    """Return a JSON Schema (2020-12) for configs of the attrs class `root`.

    A component whose config class does not load may have any keys. Rules between several fields
    are not in it; `feedrace validate` checks those, too.
    """
    definitions: dict[str, Any] = {}
    for kind in KINDS:
        offers = [c for c in available(kind) if _names(c)]
        for component in offers:
            definitions[_key(component)] = _component_schema(component, definitions)
        choices = [_to(_key(component)) for component in offers]
        definitions[kind] = {"oneOf": choices} if choices else {"not": {}}  # allow nothing
    whole = object_schema(root, definitions)
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
    required = []
    for field in [field for field in attrs.fields(cls) if field.init]:
        made = properties[field.name] = _field_schema(field, definitions)
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
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def field_documents(cls: type) -> dict[str, str]:
    """Return the lines `name: text` about fields in the docstrings of a class and its bases."""
    documents: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        for paragraph in inspect.cleandoc(base.__dict__.get("__doc__") or "").split("\n\n"):
            _, *parts = _FIELD_DOC.split(paragraph)
            for names, text in zip(parts[::2], parts[1::2], strict=True):
                documents |= dict.fromkeys(names.split(", "), " ".join(text.split()))
    return documents


def _component_schema(component: Component, definitions: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"title": component.reference, "description": component.summary}
    if component.deprecated:
        made |= {"deprecated": True, "description": f"Deprecated: {component.deprecated}"}
    fields: dict[str, Any] = {"properties": {}, "required": []}
    try:
        config_class = config_class_of(component)
    except BrokenPluginError as error:
        made["description"] = f"{component.summary} ({error})"
    else:
        if config_class is not None:
            fields = object_schema(config_class, definitions)
        fields |= {"type": "object", "additionalProperties": False}
    use = {"enum": _names(component), "description": "The name of the component."}
    fields["properties"] = {"use": use, **fields["properties"]}
    fields["required"] = ["use", *fields["required"]]
    return made | fields


def _field_schema(field: "attrs.Attribute[Any]", definitions: dict[str, Any]) -> dict[str, Any]:
    kind = field.metadata.get(COMPONENT)
    if kind is not None:
        one = _to(kind)
        many, named = field.metadata[MANY], field.metadata.get(NAMED)
        choices: list[dict[str, Any]] = [{"type": "array", "items": one}] if many else []
        choices += [{"type": "object", "additionalProperties": one}] if named else []
        made = {"anyOf": choices} if len(choices) > 1 else [*choices, one][0]
        if "anyOf" in made and field.default is None:
            return {"anyOf": [*choices, {"type": "null"}]}
        return {"anyOf": [made, {"type": "null"}]} if field.default is None else made
    return _type_schema(field.type, definitions) | _rules(field.validator)


def _type_schema(annotation: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if has_nested(annotation):
        return _nested_schema(annotation, definitions)
    import msgspec

    try:
        (made,), components = msgspec.json.schema_components(
            [annotation], ref_template="#/$defs/{name}"
        )
    except TypeError:  # a type without a JSON form, such as a function
        return {}
    definitions |= {key: value for key, value in components.items() if key not in definitions}
    return dict(made)


def _nested_schema(annotation: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an attrs class, or of a union or collection with one in it."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is None:
        key = f"{annotation.__module__}.{annotation.__qualname__}"
        if key not in definitions:
            definitions[key] = {}  # it may refer to itself
            definitions[key] = object_schema(annotation, definitions)
        return _to(key)
    if is_union(annotation):
        return {"anyOf": [_type_schema(choice, definitions) for choice in arguments]}
    if issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _type_schema(arguments[1], definitions)}
    return {"type": "array", "items": _type_schema(arguments[0], definitions)}


def _rules(validator: Any) -> dict[str, Any]:
    """Return the schema that the rules of a validator carry, which may be several."""
    rules = [r for r in getattr(validator, "_validators", (validator,)) if isinstance(r, Rule)]
    found = {key: value for rule in rules for key, value in rule.schema.items()}
    if "enum" in found and all(rule.optional for rule in rules):
        return found | {"enum": [*found["enum"], None]}
    return found


def _names(component: Component) -> list[str]:
    """Return the references, shortest first, by which exactly this component is found."""
    found = []
    for name in (component.name, *component.aliases):
        for reference in (name, f"{component.namespace}/{name}"):
            with suppress(ComponentError):  # ambiguous
                if catalog.resolve(component.kind, reference) is component:
                    found.append(reference)
    return found


def _key(component: Component) -> str:
    return f"{component.kind}.{component.namespace}.{component.name}"


def _to(key: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{key}"}
