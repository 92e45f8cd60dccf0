"""Discovery, tested with real dist-info folders on a path."""

import dataclasses
import functools
import importlib
import json
import os
import pickle
import subprocess
import sys

import attrs
import numpy as np
import pytest

import feedrace
from feedrace import errors, registry
from feedrace.errors import (
    AmbiguousNameError,
    BrokenPluginError,
    ConfigError,
    DeprecatedWarning,
    DisabledError,
    IncompatiblePluginError,
    NotInstalledError,
    PluginWarning,
    UnknownComponentError,
)
from feedrace.plugin import Component
from feedrace.registry.catalog import normal
from feedrace.registry.describing import code_digest

GOOD = """
from feedrace.plugin import Component, hookimpl
FEEDRACE_API = {api}

@hookimpl
def feedrace_components():
    yield Component(kind="sampler", name="{name}", target="{module}:Thing", summary="A thing.")

class Thing:
    def __len__(self):
        return 1

    def indices(self, start, stop):
        return [0] * (stop - start)
"""


def good(name, api=1):
    return GOOD.replace("{name}", name).replace("{api}", str(api))


def test_an_installed_plugin_is_found_with_its_provenance(site):
    module = site("extra", good("odd-one"), dist="extra-dist", version="2.5")
    found = registry.resolve("sampler", "odd-one")
    assert (found.dist, found.version, found.reference) == ("extra-dist", "2.5", "extra/odd-one")
    assert registry.resolve("sampler", "extra/odd-one") == found
    assert type(registry.create("sampler", "odd-one")).__module__ == module


def test_nothing_new_is_seen_before_refresh(site):
    site("one", good("first"))
    names = {c.name for c in registry.available("sampler")}
    site("two", good("second"), refresh=False)
    assert {c.name for c in registry.available("sampler")} == names
    registry.refresh()
    assert {c.name for c in registry.available("sampler")} == {*names, "second"}


def test_two_claimants_make_an_unqualified_name_ambiguous(site):
    site("one", good("same"), dist="dist-one")
    site("two", good("same"), dist="dist-two")
    with pytest.raises(AmbiguousNameError, match=r"dist-one \(one/same\) and dist-two \(two/same"):
        registry.resolve("sampler", "same")
    assert registry.resolve("sampler", "two/same").dist == "dist-two"


def test_a_built_in_is_not_replaced_by_a_plugin(site):
    site("one", good("sequential"))
    assert registry.resolve("sampler", "sequential").dist == "feedrace"
    assert registry.resolve("sampler", "one/sequential").dist == "one"


def test_a_plugin_that_fails_to_import_is_reported_once_and_breaks_nothing(site):
    site("bad", "raise OSError('no such library')", version="3.1")
    site("fine", good("fine-one"))
    with pytest.warns(PluginWarning, match=r"bad 3\.1.*OSError: no such library") as warned:
        registry.available()
        registry.available()
    assert len(warned) == 1
    assert registry.resolve("sampler", "fine-one")
    with pytest.raises(BrokenPluginError) as caught:
        registry.resolve("sampler", "bad/any")
    causes = caught.value.__cause__
    assert isinstance(causes.__cause__, OSError)


def test_a_plugin_that_exits_at_import_ends_nothing(site):
    site("quits", "import sys; sys.exit(3)")
    with pytest.warns(PluginWarning, match="SystemExit: 3"):
        registry.available()


def test_a_first_party_namespace_cannot_be_taken(site):
    site("samplers", good("epoch-aware"), dist="a-foreign-dist")
    with pytest.warns(PluginWarning, match="'samplers' belongs to feedrace-samplers"):
        found = registry.available("sampler")
    assert "a-foreign-dist" not in {c.dist for c in found}


def test_two_dists_with_one_namespace_are_both_named(site):
    site("both", good("one"), dist="dist-one")
    site("both", good("two"), dist="dist-two")
    with pytest.warns(PluginWarning, match=r"of dist-two .* dist-one; .* uninstall dist-two"):
        assert len([c for c in registry.available() if c.namespace == "both"]) == 1


def test_another_api_level_is_refused_before_anything_is_used(site):
    site("later", good("later-one", api=2))
    with pytest.warns(PluginWarning, match="FEEDRACE_API = 2"):
        registry.available()
    assert isinstance(registry.broken_plugins()["later"], IncompatiblePluginError)


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (good("Capital"), "kebab-case"),
        (good("x").replace('"sampler"', '"sampel"'), "sampel"),
        (good("x").replace("{module}:Thing", "no target"), "package.module:attribute"),
        (good("x").replace("def feedrace_components", "def feedrace_component"), "feedrace_comp"),
    ],
)
def test_a_wrong_declaration_leaves_the_whole_plugin_out(site, code, cause):
    site("wrong", code)
    with pytest.warns(PluginWarning, match=cause):
        registry.available()
    assert "wrong" in registry.broken_plugins()
    assert not [c for c in registry.available() if c.namespace == "wrong"]


def test_a_target_that_is_missing_names_dist_and_cause(site):
    site("hollow", good("hollow-one").replace(":Thing", ":Thong"), version="0.2")
    with pytest.raises(BrokenPluginError, match=r"hollow 0\.2.*AttributeError.*Thong"):
        registry.create("sampler", "hollow-one")


def test_environment_variables_act_before_import(site, monkeypatch):
    site("bad", "raise OSError('imported')")
    monkeypatch.setenv("FEEDRACE_PLUGINS_DISABLE", "other, bad")
    registry.refresh()
    registry.available()
    assert registry.broken_plugins() == {}
    with pytest.raises(DisabledError, match="FEEDRACE_PLUGINS_DISABLE"):
        registry.resolve("sampler", "bad/any")


def test_the_allow_list_leaves_out_all_others(site, monkeypatch):
    site("one", good("first"))
    site("two", good("second"))
    monkeypatch.setenv("FEEDRACE_PLUGINS", "two")
    registry.refresh()
    names = {c.name for c in registry.available("sampler")}
    assert names == {"sequential", "second"}


@pytest.mark.parametrize("checkout", [True, False])
def test_a_known_name_that_is_not_installed_gives_the_line_that_installs_it(
    monkeypatch, tmp_path, checkout
):
    """From a checkout, whose members no index has, it is the path of the member."""
    monkeypatch.setattr(importlib.metadata, "distributions", list)
    if checkout:
        tfds, interleave = r"install -e '/.*/plugins/tfds\[prepare\]'", r"-e /.*plugins/interleave"
    else:
        wheel = tmp_path / "site-packages" / "feedrace" / "errors.py"
        monkeypatch.setattr("feedrace.errors.__file__", str(wheel))
        monkeypatch.setattr("feedrace.errors._installed_from", list)
        tfds, interleave = r"install 'feedrace\[tfds\]'", r"install 'feedrace\[interleave\]'"
    registry.refresh()
    try:
        with pytest.raises(NotInstalledError, match=tfds):
            registry.resolve("source", "tfds-eager")
        with pytest.raises(NotInstalledError, match=interleave):
            registry.resolve("scheduler", "interleave/interleaved")
    finally:
        registry.refresh()


def test_a_core_that_pip_copied_from_a_checkout_still_names_the_members_there(
    monkeypatch, tmp_path
):
    member = tmp_path / "a b" / "plugins" / "samplers"
    core = tmp_path / "a b" / "core"
    for folder in (member, core):
        folder.mkdir(parents=True)
        (folder / "pyproject.toml").touch()
    recorded = json.dumps({"url": core.as_uri(), "dir_info": {}})
    monkeypatch.setattr("feedrace.errors.__file__", str(tmp_path / "lib/x/feedrace/errors.py"))
    monkeypatch.setattr("importlib.metadata.distribution", lambda name: _Recorded(recorded))
    assert errors.install_line("samplers") == errors.pip_line("install", "-e", str(member))
    assert f"-e '{core}[orbax]'" in errors.install_line("orbax")
    for damaged in ("", "{", "[]", '{"url": "git+https://x.org/y"}'):
        monkeypatch.setattr(
            "importlib.metadata.distribution", lambda name, text=damaged: _Recorded(text)
        )
        assert "install 'feedrace[samplers]'" in errors.install_line("samplers")


class _Recorded:
    """A dist with this direct_url.json."""

    def __init__(self, text):
        self.text = text

    def read_text(self, name):
        assert name == "direct_url.json"
        return self.text


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(UnknownComponentError, match="did you mean 'sequential'"):
        registry.resolve("sampler", "sequentail")
    with pytest.raises(UnknownComponentError, match="did you mean 'sampler'"):
        registry.resolve("sampeler", "sequential")
    with pytest.raises(UnknownComponentError, match=r"available: .*rescale"):
        registry.resolve("stage", "zzz")


def test_register_offers_a_component_in_this_process():
    class Mine:
        def __len__(self):
            return 1

        def indices(self, start, stop):
            return [0] * (stop - start)

    component = registry.register("sampler", "sequential-of-mine", Mine, summary="Mine.")
    try:
        made = registry.create("sampler", "sequential-of-mine")
        assert isinstance(made, Mine)
        assert registry.describe("sampler", made) == {"use": "sequential-of-mine"}
        with pytest.raises(ConfigError, match="registered already"):
            registry.register("sampler", "sequential-of-mine", Mine)
    finally:
        registry.unregister(component)
    with pytest.raises(UnknownComponentError):
        registry.resolve("sampler", "sequential-of-mine")


def test_a_component_without_config_takes_no_keys():
    with pytest.raises(ConfigError, match="every: unknown key; scheduler 'single' takes none"):
        registry.create("scheduler", "single", every=3)


def test_a_config_names_components_not_paths():
    with pytest.raises(ConfigError, match="use"):
        registry.parse("sampler", {"use": "os:system"})
    with pytest.raises(ConfigError, match='write use = "sequential"'):
        registry.parse("sampler", "sequential")


def test_a_component_record_shows_where_it_comes_from():
    memory = next(c for c in registry.available("source") if c.name == "memory")
    assert isinstance(memory, Component)
    assert (memory.kind, memory.dist, memory.summary != "") == ("source", "feedrace", True)


def declaring(*components):
    lines = "\n".join(f"    yield Component({c})" for c in components)
    return (
        "from feedrace.plugin import Component, hookimpl\nFEEDRACE_API = 1\n\n"
        f"@hookimpl\ndef feedrace_components():\n{lines}\n" + GOOD[GOOD.index("class Thing") :]
    )


SAMPLER = 'kind="sampler", target="{module}:Thing", '


def test_an_alias_finds_the_component_and_describe_gives_its_name(site):
    site("mine", declaring(SAMPLER + 'name="newer", aliases=["older", "oldest"]'))
    found = registry.resolve("sampler", "oldest")
    assert (found.name, registry.resolve("sampler", "mine/older")) == ("newer", found)
    assert registry.describe("sampler", {"use": "older"}) == {"use": "newer"}


def test_a_name_goes_before_an_alias_of_another_plugin(site):
    site("one", declaring(SAMPLER + 'name="a", aliases=["b"]'))
    site("two", declaring(SAMPLER + 'name="b"'))
    assert registry.resolve("sampler", "b").dist == "two"
    assert registry.resolve("sampler", "one/b").name == "a"


def test_using_a_deprecated_component_warns_with_what_to_use(site):
    site("mine", declaring(SAMPLER + 'name="old", deprecated="use sequential"'))
    with pytest.warns(DeprecatedWarning, match="'mine/old' is deprecated: use sequential"):
        registry.create("sampler", "old")
    registry.available()
    registry.resolve("sampler", "old")


def test_components_are_found_by_what_they_can(site):
    site("mine", declaring(SAMPLER + 'name="whole", capabilities=["exactly-once"]'))
    found = registry.available("sampler", capability="exactly-once")
    assert "whole" in {c.name for c in found}
    assert registry.available("stage", capability="exactly-once") == []


def test_prefer_settles_a_conflict_and_replaces_no_built_in(site, monkeypatch):
    site("one", good("same"), dist="dist-one")
    site("two", good("same"), dist="dist-two")
    site("three", good("sequential"))
    with pytest.raises(AmbiguousNameError, match=r"qualified name .* FEEDRACE_PREFER=one"):
        registry.resolve("sampler", "same")
    monkeypatch.setenv("FEEDRACE_PREFER", "three, two, one")
    registry.refresh()
    assert registry.resolve("sampler", "same").dist == "dist-two"
    assert registry.resolve("sampler", "sequential").dist == "feedrace"
    assert registry.describe("sampler", {"use": "same"}) == {"use": "two/same"}


def test_registered_components_come_first_and_leave_with_the_block():
    class Mine:
        def __len__(self):
            return 1

        def indices(self, start, stop):
            return [0] * (stop - start)

    with feedrace.temporary():
        feedrace.register("sampler", "sequential", Mine)
        assert isinstance(feedrace.create("sampler", "sequential"), Mine)
        assert isinstance(feedrace.create("sampler", "code/sequential"), Mine)
        assert type(feedrace.create("sampler", "builtin/sequential", num_records=1)) is not Mine
        again = feedrace.register("sampler", "sequential", Mine, summary="Anew.", replace=True)
        assert feedrace.registered() == (again,)
    assert feedrace.registered() == ()
    assert registry.resolve("sampler", "sequential").dist == "feedrace"


def test_provenance_is_in_the_identity_and_the_name_there_is_qualified():
    made = registry.create("sampler", "sequential", num_records=3)
    shown = registry.describe("sampler", made, identity_only=True)
    assert shown == {
        "use": "builtin/sequential",
        "dist": "feedrace",
        "target": "feedrace.builtin.sequential:SequentialSamplerModule",
        "order": 1,
        "num_records": 3,
    }


def test_errors_survive_pickling_with_their_fix():
    with pytest.raises(UnknownComponentError) as caught:
        registry.resolve("sampler", "sequentail")
    error = NotInstalledError("it is not there", fix="install it")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.fix) == ("it is not there; install it", "install it")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_unregistering_twice_is_an_error_that_names_the_component():
    with feedrace.temporary():
        component = feedrace.register("sampler", "mine", list)
        feedrace.unregister(component)
        with pytest.raises(UnknownComponentError, match="sampler 'mine' is not registered"):
            feedrace.unregister(component)


@pytest.mark.parametrize("name", ["a-b", "A_B", "a.b", "a--b", "a-_.b"])
def test_names_of_dists_are_compared_as_pep_503_says(name):
    assert normal(name) == "a-b"


def test_the_identity_changes_with_the_order_version_and_not_with_the_release(site, monkeypatch):
    code = declaring(SAMPLER + 'name="whole"')
    site("mine", code, dist="my-dist", version="1.0")
    first = registry.describe("sampler", registry.create("sampler", "whole"), identity_only=True)
    assert (first["dist"], first["order"]) == ("my-dist", 1)
    later = [
        attrs.evolve(registry.resolve("sampler", "whole"), version="1.1", **change)
        for change in ({}, {"order_version": 2})
    ]
    identities = []
    for component in later:
        spec = registry.ComponentSpec(component, None)
        identities.append(registry.describe("sampler", spec, identity_only=True))
    assert identities[0] == first
    assert identities[1] == {**first, "order": 2}


@pytest.mark.parametrize("wrong", [0, "1", True])
def test_an_order_version_is_an_integer_of_1_or_more(wrong):
    with pytest.raises(ConfigError, match="order_version"):
        Component(kind="stage", name="a", target="a:b", order_version=wrong)


@dataclasses.dataclass(frozen=True)
class Scale:
    by: float

    def __call__(self, batch):
        return {name: field * self.by for name, field in batch.items()}


class Holder:
    def __init__(self, function):
        self.function = function
        self.calls = 0
        self.again = self.__call__

    def __call__(self, batch):
        self.calls += 1
        return self.function(batch)


def closure(value):
    return lambda batch: (value, batch)


def nested(inner):
    def outer(batch):
        def again(x):
            return x + 1 if inner else x - 1

        return again(batch)

    return outer


def default(batch, by=1):
    return batch


ONE, TWO = (lambda batch: batch), (lambda batch: {})
UNLIKE = [
    (ONE, TWO),
    ((lambda batch: batch + 1), (lambda batch: batch + 2)),
    ((lambda batch: batch.real), (lambda batch: batch.imag)),
    ((lambda batch: [x for x in batch if x]), (lambda batch: [x for x in batch if not x])),
    ((lambda batch: batch in {"a", "b"}), (lambda batch: batch in {"a", "c"})),
    ((lambda batch, by=1: batch), (lambda batch, by=2: batch)),
    ((lambda batch, *, by=1: batch), (lambda batch, *, by=2: batch)),
    (closure(1), closure(2)),
    (closure(1), closure(1.0)),
    (closure([1, {"a": 2}]), closure([1, {"a": 3}])),
    (closure(np.arange(3)), closure(np.arange(3) + 1)),
    (closure(np.int32(1)), closure(np.int64(1))),
    (closure(closure(1)), closure(closure(2))),
    (closure(int), closure(float)),
    (functools.partial(default, by=1), functools.partial(default, by=2)),
    (functools.partial(ONE), functools.partial(TWO)),
    (functools.lru_cache(ONE), functools.lru_cache(TWO)),
    (Scale(1.0), Scale(2.0)),
    (Scale(1.0).__call__, Scale(2.0).__call__),
    (Holder(ONE), Holder(TWO)),
]


@pytest.mark.parametrize(("one", "other"), UNLIKE)
def test_stages_that_differ_in_code_or_values_have_different_identities(one, other):
    assert registry.describe("stage", one, identity_only=True) != registry.describe(
        "stage", other, identity_only=True
    )


def test_the_identity_of_a_function_is_alike_for_equal_ones_and_in_other_processes(tmp_path):
    assert code_digest(closure(1)) == code_digest(closure(1))
    assert code_digest(Scale(1.0)) == code_digest(Scale(1.0))
    used = Holder(ONE)
    used({})
    assert code_digest(used) == code_digest(Holder(ONE))
    (tmp_path / "stages.py").write_text(
        "def stage(batch, words=frozenset({'a', 'b', 'c'})):\n"
        "    def inner(x):\n        return x in {'d', 'e', 'f'} or stage(x)\n"
        "    return inner(batch)\n"
        "def made():\n"
        "    def recursive(x):\n        return recursive(x)\n"
        "    return recursive\n"
    )
    program = (
        f"import sys; sys.path[:0] = {[str(tmp_path), *sys.path]!r}; import stages; "
        "from feedrace.registry.describing import code_digest; "
        "print(code_digest(stages.stage), code_digest(stages.made()))"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(digests) == 1


def test_live_objects_are_parsed_and_made_without_a_look_at_any_plugin(monkeypatch):
    def scanned():
        raise AssertionError("the plugins were scanned")

    registry.refresh()
    monkeypatch.setattr("feedrace.registry.catalog.discover", scanned)
    for live in (ONE, Scale(1.0), object()):
        assert registry.instantiate(registry.parse("stage", live)) is live
    registry.describe("stage", ONE, identity_only=True)
