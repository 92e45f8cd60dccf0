"""The tests that components of every kind share."""

import inspect
import json
from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import jsonschema
import pytest

from feedrace.plugin import Component, ComponentError, ConfigError, protocols, registry, schema
from feedrace_testing.lightness import LIMIT, Weight, weigh
from feedrace_testing.spawned import in_spawned_process
from feedrace_testing.trees import same_values

_weights: dict[tuple[str, ...], Weight] = {}


class ComponentSuite:
    """The tests that all kinds share; subclass the suite of your kind, not this one.

    component: the component's name, as in `use`.
    config: fields to create it with, as a config file would hold them.
    capabilities: what it promises; by default, what its declaration says.
    max_examples: how many examples Hypothesis tries for each property.
    """

    kind: ClassVar[str] = ""
    component: ClassVar[str] = ""
    config: ClassVar[Mapping[str, Any]] = {}
    capabilities: ClassVar[frozenset[str] | set[str] | None] = None
    max_examples: ClassVar[int] = 25

    def make(self, **fields: Any) -> Any:
        """Return a new component, created with `config` and `fields`; override as needed."""
        return registry.create(self.kind, self.component, **{**self.config, **fields})

    @staticmethod
    def observe(made: Any, material: Any) -> Any:
        """Return what is equal for two equal components, such as their first records."""
        raise NotImplementedError

    def material(self) -> Any:
        """Return what `observe` needs besides the component, such as elements or a batch."""
        return None

    def seen(self, made: Any) -> Any:
        """Return what `observe` returns for a component."""
        return self.observe(made, self.material())

    @property
    def declaration(self) -> Component:
        """The component as its plugin declares it."""
        return registry.resolve(self.kind, self.component)

    def can(self, capability: str) -> bool:
        """Return whether the component promises a capability."""
        chosen = self.capabilities
        return capability in (self.declaration.capabilities if chosen is None else chosen)

    def require(self, capability: str) -> None:
        """Skip the test unless the component promises a capability."""
        if not self.can(capability):
            pytest.skip(f"does not promise {capability}")

    def config_class(self) -> Any:
        """Return the config class, or None if the component takes no config."""
        return registry.config_class_of(self.declaration)

    def test_it_is_declared_with_name_and_summary(self) -> None:
        declared = self.declaration
        assert declared.summary, "the declaration has no summary"
        assert declared.name in (self.component, self.component.rpartition("/")[2])

    def test_its_declaration_is_light(self) -> None:
        declared = self.declaration
        if not declared.dist:
            pytest.skip("registered in code, not declared by a plugin")
        entries = {plugin.namespace: plugin.value for plugin in registry.scan().plugins}
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
            assert isinstance(made, protocol), f"lacks methods of {protocol.__name__}"
            for name, method in vars(protocol).items():
                if not name.startswith("_") and inspect.isfunction(method):
                    _check_signature(getattr(made, name), method, name)
        assert not protocols.check(self.kind, made)

    def protocols(self) -> tuple[type, ...]:
        """Return the protocols that a component of this kind meets."""
        return (protocols.KINDS[self.kind],)

    def test_its_config_round_trips(self) -> None:
        made = self.make()
        described = registry.describe(self.kind, made)
        again = registry.instantiate(registry.parse(self.kind, described))
        assert registry.describe(self.kind, again) == described
        assert same_values(self.seen(again), self.seen(self.make()))

    def test_its_schema_takes_its_config_and_no_unknown_key(self) -> None:
        definitions = schema.schema(attrs.make_class("Root", []))["$defs"]
        described = self.jsonable(registry.describe(self.kind, self.make()))
        validator = jsonschema.Draft202012Validator(
            {"$ref": f"#/$defs/{self.kind}", "$defs": definitions}
        )
        assert not list(validator.iter_errors(described))
        assert list(validator.iter_errors({**described, "no_such_field": 1}))

    def jsonable(self, described: Mapping[str, Any]) -> Any:
        """Return a description as JSON holds it; override it if a field holds arrays."""
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
                paths = [problem.path for problem in caught.value.problems]
                assert any(path.startswith(field.name) for path in paths), paths

    def test_a_spawned_process_makes_its_equal(self) -> None:
        described = registry.describe(self.kind, self.make())
        there = in_spawned_process(self.observe, self.material(), self.kind, described)
        assert same_values(there, self.seen(self.make()))

    def test_only_its_own_reference_resolves_to_it(self) -> None:
        declared = self.declaration
        assert registry.resolve(self.kind, declared.reference) == declared
        with pytest.raises(ComponentError):
            registry.resolve(self.kind, f"{declared.reference}-no-such")


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
        raise AssertionError(
            f"{name}{signature} cannot be called like its protocol's: {error}"
        ) from None
