"""What holds for a component of any kind."""

import inspect
import json
from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import jsonschema
import pytest

from feedrace import protocols, registry
from feedrace.errors import ComponentError, ConfigError
from feedrace.pipeline.options import PipelineOptions
from feedrace.registry import catalog
from feedrace.registry.component import Component
from feedrace.registry.lightness import LIMIT, Weight, weigh
from feedrace.registry.schema import schema
from feedrace.testing.spawned import in_spawned_process

_weights: dict[tuple[str, ...], Weight] = {}


class ComponentSuite:
    """The tests that all kinds share; subclass the suite of your kind, not this one.

    component: the name of the component, as `use` has it.
    config: fields with which it can be made, as a config file would hold them.
    capabilities: what it promises, of `feedrace.registry.component.CAPABILITIES`; what its declaration says
        where None.
    max_examples: how often Hypothesis tries each property.
    """

    kind: ClassVar[str] = ""
    component: ClassVar[str] = ""
    config: ClassVar[Mapping[str, Any]] = {}
    capabilities: ClassVar[frozenset[str] | set[str] | None] = None
    max_examples: ClassVar[int] = 25

    def make(self, **fields: Any) -> Any:
        """Return a new component with `fields` beside those of `config`; override as needed."""
        return registry.create(self.kind, self.component, **{**self.config, **fields})

    @staticmethod
    def observe(made: Any, material: Any) -> Any:
        """Return what two equal components agree in, such as their first records."""
        raise NotImplementedError

    def material(self) -> Any:
        """Return what `observe` needs beside the component, such as elements or a batch."""
        return None

    def seen(self, made: Any) -> Any:
        """Return what is observed of a component."""
        return self.observe(made, self.material())

    @property
    def declaration(self) -> Component:
        """What the registry knows of the component."""
        return catalog.resolve(self.kind, self.component)

    def can(self, capability: str) -> bool:
        """Return whether the component promises a capability."""
        chosen = self.capabilities
        return capability in (self.declaration.capabilities if chosen is None else chosen)

    def config_class(self) -> Any:
        """Return the config class, or None where the component takes no config."""
        return registry.config_class_of(self.declaration)

    def test_it_is_declared_with_name_and_summary(self) -> None:
        declared = self.declaration
        assert declared.summary, "the declaration has no summary"
        assert declared.name in (self.component, self.component.rpartition("/")[2])

    def test_its_declaration_is_light(self) -> None:
        declared = self.declaration
        if not declared.dist:
            pytest.skip("registered in code: no plugin declares it")
        entries = {plugin.namespace: plugin.value for plugin in catalog.scan().plugins}
        values = [entries[declared.namespace], declared.config]
        names = tuple(sorted({v.partition(":")[0] for v in values if isinstance(v, str)}))
        if names not in _weights:
            _weights[names] = weigh(names)
        weight = _weights[names]
        assert not weight.error, weight.error
        assert not weight.heavy, f"{names} import {weight.heavy}"
        assert weight.seconds <= LIMIT, f"{names} took {weight.seconds * 1e3:.0f} ms"

    def test_it_meets_its_protocol(self) -> None:
        made = self.make()
        for protocol in self.protocols():
            assert isinstance(made, protocol), f"it lacks methods of {protocol.__name__}"
            for name, wanted in vars(protocol).items():
                if name.startswith("_") or not inspect.isfunction(wanted):
                    continue
                _check_signature(getattr(made, name), wanted, name)

    def protocols(self) -> tuple[type, ...]:
        """Return the protocols that a component of the kind meets."""
        return (getattr(protocols, self.kind.capitalize()),)

    def test_its_config_round_trips(self) -> None:
        made = self.make()
        described = registry.describe(self.kind, made)
        again = registry.instantiate(registry.parse(self.kind, described))
        assert registry.describe(self.kind, again) == described
        assert same_values(self.seen(again), self.seen(self.make()))

    def test_its_schema_takes_its_config_and_no_unknown_key(self) -> None:
        made = schema(PipelineOptions)
        described = self.jsonable(registry.describe(self.kind, self.make()))
        validator = jsonschema.Draft202012Validator(
            {"$ref": f"#/$defs/{self.kind}", "$defs": made["$defs"]}
        )
        assert not list(validator.iter_errors(described))
        assert list(validator.iter_errors({**described, "no_such_field": 1}))

    def jsonable(self, described: Mapping[str, Any]) -> Any:
        """Return a description as JSON has it; override where a field holds arrays."""
        return json.loads(json.dumps(described))

    def test_unknown_and_wrong_fields_are_refused_at_their_paths(self) -> None:
        with pytest.raises(ConfigError) as caught:
            self.make(no_such_field=1)
        assert [problem.path for problem in caught.value.problems] == ["no_such_field"]
        cls = self.config_class()
        if cls is None:
            return
        attrs.resolve_types(cls)
        for field in attrs.fields(cls):
            if field.init and field.type in (int, bool, str, int | None, str | None, float):
                with pytest.raises(ConfigError) as caught:
                    self.make(**{field.name: {"no": "such"}})
                told = [problem.path for problem in caught.value.problems]
                assert any(path.startswith(field.name) for path in told), told

    def test_a_spawned_process_makes_its_equal(self) -> None:
        described = registry.describe(self.kind, self.make())
        there = in_spawned_process(self.observe, self.material(), self.kind, described)
        assert same_values(there, self.seen(self.make()))

    def test_its_name_can_be_had_by_its_reference_alone(self) -> None:
        declared = self.declaration
        assert catalog.resolve(self.kind, declared.reference) == declared
        with pytest.raises(ComponentError):
            catalog.resolve(self.kind, f"{declared.reference}-no-such")


def _check_signature(method: Any, wanted: Any, name: str) -> None:
    """Assert that a method can be called as its protocol's can be."""
    try:
        signature = inspect.signature(method)
    except (TypeError, ValueError):
        return
    parameters = list(inspect.signature(wanted).parameters.values())[1:]
    positional = [object() for p in parameters if p.kind is not p.KEYWORD_ONLY]
    keywords = {p.name: object() for p in parameters if p.kind is p.KEYWORD_ONLY}
    try:
        signature.bind(*positional, **keywords)
    except TypeError as error:
        raise AssertionError(f"{name}{signature} cannot be called as {name} is: {error}") from None


def same_values(one: Any, two: Any) -> bool:
    """Return whether two trees have the same structure and equal leaves."""
    import jax
    import numpy as np

    same: bool = tree_structure(one) == tree_structure(two)
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=False)
    return same and all(bool(np.array_equal(a, b)) for a, b in pairs)


def tree_structure(tree: Any) -> Any:
    """Return the structure of a tree, which compares."""
    import jax

    return jax.tree.structure(tree)


def fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    """Return whether an array's shape is one of a spec, in which None stands for any length."""
    same_rank = len(shape) == len(wanted)
    return same_rank and all(b in (None, a) for a, b in zip(shape, wanted, strict=True))
