"""Config classes: their fields, mappings to and from them, and the files they are read from."""

from feedrace.config.fields import (
    SamplerConfig,
    StructuralConfig,
    as_tuple,
    boolean,
    check_integer,
    component_field,
    epochs,
    integer,
    number,
    one_of,
    path_field,
    text,
)
from feedrace.config.mapping import structure, unstructure

__all__ = [
    "SamplerConfig",
    "StructuralConfig",
    "as_tuple",
    "boolean",
    "check_integer",
    "component_field",
    "epochs",
    "integer",
    "number",
    "one_of",
    "path_field",
    "structure",
    "text",
    "unstructure",
]
