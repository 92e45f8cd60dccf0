import attrs
import pytest

from feedrace.config.fields import boolean, integer, one_of
from feedrace.config.mapping import structure, unstructure
from feedrace.errors import ConfigError
from feedrace.plugin import StructuralConfig


@attrs.frozen(kw_only=True)
class Inner:
    every: int = attrs.field(validator=integer(1))
    name: str = "x"


@attrs.frozen(kw_only=True)
class Outer(StructuralConfig):
    size: int = attrs.field(validator=integer(1, 10))
    keys: frozenset[str] | None = None
    mode: str = attrs.field(default="a", validator=one_of("a", "b"))
    flag: bool = attrs.field(default=False, validator=boolean)
    inner: tuple[Inner, ...] = ()


def problems(mapping):
    with pytest.raises(ConfigError) as caught:
        structure(Outer, mapping, path="top")
    return {p.path: p.message for p in caught.value.problems}


def test_a_good_mapping_becomes_a_config():
    made = structure(Outer, {"size": 3, "keys": ["b", "a"], "inner": [{"every": 2}]})
    assert made == Outer(size=3, keys=frozenset("ab"), inner=(Inner(every=2),))


def test_all_problems_come_at_once_each_with_its_path():
    found = problems(
        {
            "sise": 3,
            "mode": "c",
            "flag": 1,
            "keys": 5,
            "inner": [{"every": 1}, {"every": 0, "nam": "y"}, {}],
        }
    )
    assert sorted(found) == [
        "top.flag",
        "top.inner[1].every",
        "top.inner[1].nam",
        "top.inner[2].every",
        "top.keys",
        "top.mode",
        "top.sise",
        "top.size",
    ]
    assert "did you mean 'size'" in found["top.sise"]
    assert "missing" in found["top.size"]
    assert "0 is not an int of 1 or more" in found["top.inner[1].every"]


@pytest.mark.parametrize("wrong", ["3", 3.0, True, None, 0, 11])
def test_an_int_field_takes_no_other_type_and_no_value_out_of_range(wrong):
    assert list(problems({"size": wrong})) == ["top.size"]
    with pytest.raises(ConfigError, match="size"):
        Outer(size=wrong)


def test_cross_field_rules_carry_the_path():
    found = problems({"size": 1, "stochastic": True})
    assert list(found) == ["top.stream_name"]


def test_anything_but_a_table_is_refused():
    assert list(problems([1])) == ["top"]


def test_unstructure_gives_back_what_differs_from_the_defaults():
    made = Outer(size=3, keys=frozenset("ba"), inner=(Inner(every=2),))
    mapping = unstructure(made, name_component=lambda kind, value: value)
    assert mapping == {"size": 3, "keys": ["a", "b"], "inner": [{"every": 2}]}
    assert structure(Outer, mapping) == made


def test_configs_are_frozen_and_hashable():
    config = StructuralConfig(precomputed_stats={"mean": [1.0]})
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        config.cacheable = True
    assert hash(config) == hash(StructuralConfig())


def test_a_config_error_survives_pickling():
    import pickle

    with pytest.raises(ConfigError) as caught:
        Outer(size=0)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
