"""What goes wrong with plugins, each fault a real dist-info folder on a path."""

import json
import os
import subprocess
import sys
import textwrap

import pytest
from click.testing import CliRunner

from feedrace import registry
from feedrace.cli import main
from feedrace.errors import (
    BrokenPluginError,
    ComponentError,
    ConfigError,
    IncompatiblePluginError,
    PluginWarning,
    pip_line,
)
from feedrace.registry.health import findings

PLUGIN = """
import attrs
from feedrace.plugin import Component, SamplerConfig, SamplerModule, hookimpl
FEEDRACE_API = 1

@hookimpl
def feedrace_components():
    yield Component(kind="sampler", name="{name}", target="{module}:Thing",
                    config="{module}:Config", summary="A thing.")

@attrs.frozen(kw_only=True)
class Config(SamplerConfig):
    {field}

class Thing(SamplerModule):
    def indices(self, start, stop):
        return list(range(start, stop))
"""


def plugin(name="thing", field="pass"):
    return PLUGIN.replace("{name}", name).replace("{field}", field)


def bad_findings():
    return [finding for finding in findings() if not finding.ok]


def write_dist(folder, name, version, entry_points, metadata=None):
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    (info / "METADATA").write_text(text if metadata is None else metadata)
    if isinstance(entry_points, bytes):
        (info / "entry_points.txt").write_bytes(entry_points)
    else:
        (info / "entry_points.txt").write_text(entry_points)
    return info


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[console_scripts]\n\xff\xfe = x", "UnicodeDecodeError"),
        (b"[feedrace]\nnothing\n", "Error"),
        (b"[feedrace]\n= module\n", "'' = 'module' is incomplete"),
    ],
)
def test_a_broken_entry_points_file_of_any_dist_takes_nothing_else_down(
    site, tmp_path, text, message
):
    write_dist(tmp_path, "wreck", "0.1", text)
    site("fine", plugin())
    assert registry.resolve("sampler", "fine/thing").dist == "fine"
    (finding,) = bad_findings()
    assert "wreck-0.1.dist-info" in finding.subject
    assert message in finding.detail
    assert "install the dist again" in finding.fix


def test_an_entry_point_with_an_extra_still_names_its_module(site, tmp_path):
    module = site("extra", plugin(), refresh=False)
    points = next(tmp_path.glob("extra-*.dist-info")) / "entry_points.txt"
    points.write_text(f"[feedrace]\nextra = {module} [fast]\n")
    registry.refresh()
    assert registry.resolve("sampler", "extra/thing")


@pytest.mark.parametrize("metadata", ["", "Name: nameless-version\n", "Version: 1.0\n"])
def test_a_dist_without_name_or_version_is_passed_over_and_reported(site, tmp_path, metadata):
    write_dist(tmp_path, "ghost", "1.0", "[feedrace]\nghost = ghost_plugin\n", metadata)
    site("fine", plugin())
    assert registry.resolve("sampler", "thing").dist == "fine"
    assert "METADATA has no Name or no Version" in bad_findings()[0].detail


def test_a_dist_info_without_any_file_is_no_plugin(site, tmp_path):
    (tmp_path / "empty-1.0.dist-info").mkdir()
    site("fine", plugin())
    assert registry.resolve("sampler", "thing")
    assert bad_findings() == []


def test_of_two_dists_with_one_name_the_first_on_the_path_counts_and_both_are_reported(
    site, tmp_path, monkeypatch
):
    """An editable install next to a wheel is this, too: two dist-info folders, one name."""
    wheel = tmp_path / "wheel"
    site("mine", plugin(), dist="my-dist", version="2.0")
    write_dist(wheel, "my_dist", "1.0", "[feedrace]\nmine = plugin_mine_my_dist\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(wheel)])
    registry.refresh()
    assert registry.resolve("sampler", "thing").version == "2.0"
    assert [c.version for c in registry.available("sampler") if c.namespace == "mine"] == ["2.0"]
    (finding,) = bad_findings()
    assert finding.subject == "dist my-dist"
    assert "installed twice: 2.0 in" in finding.detail
    assert "1.0 in" in finding.detail
    assert "pip uninstall my-dist" in finding.fix
    monkeypatch.setattr(sys, "path", [str(wheel), *sys.path])
    registry.refresh()
    assert registry.resolve("sampler", "thing").version == "1.0"


def test_one_folder_twice_on_the_path_is_no_fault(site, tmp_path, monkeypatch):
    site("mine", plugin())
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    registry.refresh()
    assert registry.resolve("sampler", "thing")
    assert bad_findings() == []


def test_a_namespace_of_two_dists_is_kept_by_one_and_reported_for_the_other(site):
    site("both", plugin("one"), dist="dist-one")
    site("both", plugin("two"), dist="dist-two")
    with pytest.warns(PluginWarning, match="the namespace 'both' belongs to dist-one"):
        assert [c.dist for c in registry.available() if c.namespace == "both"] == ["dist-one"]
    assert "pip uninstall dist-two" in registry.broken_plugins()["both (dist-two)"].fix


@pytest.mark.parametrize("level", ["2", "0", "'1'", "True", "1.0", "None"])
def test_only_the_integer_level_of_this_feedrace_is_accepted_before_any_declaration(site, level):
    code = plugin().replace("FEEDRACE_API = 1", f"FEEDRACE_API = {level}")
    site("later", code.replace('yield Component(kind="sampler"', "raise OSError(1"))
    with pytest.warns(PluginWarning, match=r"has level 1; .*pip install --upgrade"):
        registry.available()
    error = registry.broken_plugins()["later"]
    assert isinstance(error, IncompatiblePluginError)
    assert error.fix == pip_line("install", "--upgrade", "feedrace" if level == "2" else "later")
    with pytest.raises(IncompatiblePluginError, match="later/thing"):
        registry.resolve("sampler", "later/thing")


SAMPLER = 'kind="sampler", name="a", target="x:y"'


@pytest.mark.parametrize(
    ("yielded", "message"),
    [
        ("yield 3", "feedrace_components yielded 3, no Component"),
        ("return None", "gave None; yield each Component"),
        (
            'yield Component(kind="sampler", name="a", target="x:y", capabilities=["fast"])',
            "'fast'",
        ),
        ('yield Component(kind="sampler", name="a", target="x:y", aliases=["A"])', "'A' is not"),
        (
            'yield Component(kind="sampler", name="a", target="x:y", aliases="a")',
            "twice: sampler a",
        ),
        ("import feedrace; feedrace.create('sampler', 'sequential')", "by a plugin's own import"),
    ],
)
def test_a_wrong_declaration_is_reported_with_its_reason(site, yielded, message):
    body = textwrap.indent(yielded, "    ")
    site("wrong", f"from feedrace.plugin import Component, hookimpl\nFEEDRACE_API = 1\n\n"
                  f"@hookimpl\ndef feedrace_components():\n{body}\n")  # fmt: skip
    with pytest.warns(PluginWarning, match="left out: plugin 'wrong'") as warned:
        registry.available()
    assert message in str(warned[0].message)


@pytest.mark.parametrize(
    ("field", "default"), [("list[int] = []", "[]"), ("dict = {}", "{}"), ("set = {1}", "{1}")]
)
def test_a_config_class_with_a_mutable_default_is_refused_by_name(site, field, default):
    site("shared", plugin(field=f"sizes: {field}"))
    with pytest.raises(ConfigError, match=r"has the mutable default .* for sizes; write") as caught:
        registry.create("sampler", "thing", num_records=3)
    assert isinstance(caught.value.__cause__, BrokenPluginError)
    assert default in str(caught.value)


def test_a_config_class_that_is_no_attrs_class_is_refused(site):
    code = plugin().replace(
        "@attrs.frozen(kw_only=True)", "import dataclasses\n@dataclasses.dataclass"
    )
    site("other", code.replace("Config(SamplerConfig)", "Config"))
    with pytest.raises(ConfigError, match="is not an attrs class"):
        registry.create("sampler", "thing")


def test_a_target_that_does_not_meet_its_protocol_is_refused_with_what_it_lacks(site):
    code = plugin().replace("class Thing(SamplerModule)", "class Thing")
    site("odd", code.replace("def indices", "def __init__(self, config): ...\n    def index"))
    with pytest.raises(BrokenPluginError, match=r"odd 1\.0.*not a sampler: it lacks indices, __l"):
        registry.create("sampler", "thing")


def test_a_missing_target_chains_its_import_error(site):
    site("hollow", plugin().replace("{module}:Thing", "no_such_module:Thing"))
    with pytest.raises(BrokenPluginError, match="No module named 'no_such_module'") as caught:
        registry.create("sampler", "thing", num_records=3)
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_a_module_without_functions_can_be_an_object_in_a_module(site, tmp_path):
    module = site("inner", "class holder:\n    FEEDRACE_API = 1\n", refresh=False)
    points = next(tmp_path.glob("inner-*.dist-info")) / "entry_points.txt"
    points.write_text(f"[feedrace]\ninner = {module}:holder\n")
    registry.refresh()
    registry.available()
    assert "inner" not in registry.broken_plugins()


@pytest.mark.slow
def test_a_spawned_process_rebuilds_the_registry(site, tmp_path):
    site("far", plugin("far-one"))
    program = textwrap.dedent(
        """
        import json, multiprocessing, sys
        import feedrace

        class Here:
            def __len__(self):
                return 3

            def indices(self, start, stop):
                return list(range(start, stop))

        def names():
            return [c.reference for c in feedrace.available("sampler")]

        def made():
            return feedrace.create("sampler", "here").indices(0, 2)

        if __name__ == "__main__":
            feedrace.register("sampler", "here", Here)
            context = multiprocessing.get_context("spawn")
            with context.Pool(1, feedrace.adopt, (feedrace.registered(),)) as pool:
                print(json.dumps([pool.apply(names) == names(), pool.apply(made), names()]))
        """
    )
    (tmp_path / "program.py").write_text(program)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run([sys.executable, tmp_path / "program.py"], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": path}, check=True)  # fmt: skip
    same, made, names = json.loads(done.stdout)
    assert same
    assert made == [0, 1]
    assert {"far/far-one", "code/here"} <= set(names)


@pytest.mark.parametrize(
    "code",
    [
        "class Own(BaseException): pass\nraise Own('no')",
        "class Mute(Exception):\n    def __str__(self): raise OSError\nraise Mute",
        "raise SystemExit(0)",
    ],
)
def test_whatever_a_plugin_raises_when_it_is_imported_breaks_it_alone(site, code):
    site("odd", code)
    with pytest.warns(PluginWarning, match="left out: plugin 'odd'"):
        assert registry.available("source")
    assert set(registry.broken_plugins()) == {"odd"}


def test_a_target_that_ends_the_process_is_broken(site, tmp_path):
    site(
        "quits",
        "from feedrace.plugin import Component, hookimpl\nFEEDRACE_API = 1\n"
        "@hookimpl\ndef feedrace_components():\n"
        "    yield Component(kind='stage', name='quits', target='plugin_quits_gone:x')\n",
    )
    (tmp_path / "plugin_quits_gone.py").write_text("raise SystemExit(0)")
    with pytest.raises(BrokenPluginError, match="SystemExit: 0"):
        registry.create("stage", "quits")


@pytest.mark.parametrize(
    "name", ["\u0455amplers", "\u202esrelpmas", "../../x", "a,b", "Caps", "a b"]
)
def test_a_namespace_that_is_not_kebab_case_is_reported_in_ascii_and_not_imported(
    site, tmp_path, name
):
    (tmp_path / "marked.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w')")
    write_dist(tmp_path, "odd", "1.0", f"[feedrace]\n{name} = marked\n")
    site("fine", plugin(), refresh=False)
    with pytest.warns(PluginWarning, match="is not kebab-case") as caught:
        registry.refresh()
        assert registry.resolve("sampler", "fine/thing")
    (finding,) = bad_findings()
    for text in (str(caught[0].message), finding.subject, finding.detail, finding.fix):
        assert text.isascii()
        assert text.isprintable()
    assert not (tmp_path / "imported").exists()
    with pytest.raises(ComponentError) as refused:
        registry.resolve("sampler", f"{name}/thing")
    assert str(refused.value).isascii()


def test_an_error_whose_text_ends_programs_does_not_end_this_one(site):
    text = "class Loud(Exception):\n    def __str__(self):\n        raise SystemExit(3)\nraise Loud"
    site("loud", text, refresh=False)
    site("fine", plugin(), refresh=False)
    with pytest.warns(PluginWarning, match="Loud"):
        registry.refresh()
        assert registry.resolve("sampler", "fine/thing")


@pytest.mark.parametrize("command", [["validate"], ["run"], ["plugins", "list"]])
def test_what_an_import_prints_is_no_part_of_json(site, tmp_path, command):
    text = plugin(field="pass\nprint('printed by the module')")
    site("noisy", f"print('printed by the import')\n{text}")
    config = tmp_path / "c.json"
    config.write_text(
        json.dumps(
            {
                "source": {"use": "memory", "data": {"x": [1, 2]}},
                "sampler": {"use": "noisy/thing", "num_records": 2},
                "batch_size": 1,
            }
        )
    )
    arguments = [] if command[0] == "plugins" else [str(config)]
    done = CliRunner().invoke(main, [*command, *arguments, "--json"])
    assert json.loads(done.stdout)
    assert "printed by the import" in done.stderr
