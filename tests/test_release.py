"""What makes and checks a release: versions, builds, metadata, environments, SBOM, news."""

import importlib
import io
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile

import pytest
import yaml
from packaging.metadata import Metadata
from packaging.requirements import Requirement
from tests.conftest import ROOT
from tests.release import bump, installs, packages, papers, sbom, smoke
from tests.test_name import files_of

NEXT = ".".join("789")  # put together, so that this file does not have it
OF_OTHERS = {  # where the number is the version of something else, or of what was measured
    "docs/demonstrations/count-your-records.md",
    "docs/demonstrations/feed-the-accelerator.md",
    "docs/demonstrations/kill-shrink-grow.md",
    "docs/examples/feedrace-balanced/pyproject.toml",
    "plugins/testing/src/feedrace_testing/template/project/pyproject.toml.jinja",
    "plugins/testing/tests/test_new.py",
    "tests/test_start.py",
}


def copied(names, folder):
    """Return a new repository with some files of this one."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    subprocess.run(["git", "init", "-q", folder], check=True)
    subprocess.run(["git", "add", "-A"], cwd=folder, check=True)
    return folder


@pytest.fixture
def copy(tmp_path):
    """A repository with the files of this one that name the version."""
    names = [file.relative_to(ROOT).as_posix() for file, _ in bump.places(ROOT)]
    return copied([*names, "README.md"], tmp_path / "copy")


def texts(root):
    return {file: file.read_text() for file, _ in bump.places(root)}


def test_a_bump_gives_all_dists_and_their_pins_the_version_and_leaves_the_old_one_nowhere(tmp_path):
    copy = copied((n for n in files_of(ROOT) if (ROOT / n).is_file()), tmp_path / "copy")
    old = bump.bump(copy, NEXT)
    assert {NEXT} == set().union(*bump.versions(copy).values())
    core = tomllib.loads((copy / "core/pyproject.toml").read_text())["project"]
    pins = [pin for pins in core["optional-dependencies"].values() for pin in pins]
    assert {pin.partition("==")[2] for pin in pins if pin.startswith("feedrace-")} == {NEXT}
    members = [copy / "core", *(copy / "plugins").iterdir()]
    for member in members:
        project = tomllib.loads((member / "pyproject.toml").read_text())["project"]
        assert project["version"] == NEXT
    assert {line.partition(":")[0] for line in bump.remaining(copy, old)} <= OF_OTHERS
    assert bump.bump(copy, NEXT + "1") == NEXT
    assert list(bump.remaining(copy, NEXT)) == []


def test_a_number_that_a_bump_leaves_is_listed_with_its_line(copy):
    old = bump.bump(copy, NEXT)
    (copy / "README.md").write_text(f"\nInstall {old} of it, not 1{old} or {old}1\n")
    assert f"README.md:2: Install {old} of it, not 1{old} or {old}1" in bump.remaining(copy, old)
    (copy / "README.md").write_text(f"1{old} {old}1 {old}.1 1.{old}\n")
    assert not [line for line in bump.remaining(copy, old) if line.startswith("README")]


@pytest.mark.parametrize("version", ["0.0.1", "v9.9", "9.09", "latest", ""])
def test_a_version_that_is_not_newer_or_not_in_normal_form_changes_nothing(copy, version):
    before = texts(copy)
    with pytest.raises(ValueError, match="is not a version after"):
        bump.bump(copy, version)
    assert texts(copy) == before


def test_a_place_without_its_version_is_an_error_before_anything_is_written(copy):
    (copy / "CITATION.cff").write_text("title: Feedrace\n")
    before = texts(copy)
    with pytest.raises(LookupError, match=r"CITATION\.cff has no version"):
        bump.bump(copy, NEXT)
    (copy / "CITATION.cff").unlink()
    with pytest.raises(LookupError, match=r"CITATION\.cff is not there"):
        bump.bump(copy, NEXT)
    before.pop(copy / "CITATION.cff")
    assert {file: file.read_text() for file in before} == before


def test_all_places_name_one_version_now():
    assert len(set().union(*bump.versions(ROOT).values())) == 1


def wheel(path, **changes):
    """Write a wheel of the package `made`; changes are of its files, or None for none."""
    files = {
        "made/__init__.py": b"",
        "made/py.typed": b"",
        "made-1.0.dist-info/licenses/LICENSE": b"the terms",
        **changes,
    }
    with zipfile.ZipFile(path, "w") as made:
        for name, content in files.items():
            if content is not None:
                made.writestr(zipfile.ZipInfo(name), content)
    return path


def archive(path, time):
    with tarfile.open(path, "w:gz") as made:
        info = tarfile.TarInfo("made-1.0/README.md")
        info.mtime = time
        made.addfile(info, io.BytesIO())


def test_builds_that_differ_are_named_with_the_files_within(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        wheel(folder / "same-1.0-py3-none-any.whl")
    assert list(packages.differences(first, second)) == []
    wheel(first / "made-1.0-py3-none-any.whl")
    wheel(second / "made-1.0-py3-none-any.whl", **{"made/__init__.py": b"x", "made/new.py": b""})
    archive(first / "made-1.0.tar.gz", 1)
    archive(second / "made-1.0.tar.gz", 2)
    (second / "more-1.0.tar.gz").touch()
    assert list(packages.differences(first, second)) == [
        "more-1.0.tar.gz is of one build alone",
        "made-1.0-py3-none-any.whl differs between two builds in: made/__init__.py, made/new.py",
        "made-1.0.tar.gz differs between two builds in: made-1.0/README.md",
    ]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, None),
        ({"made/__init__.py": None}, "lacks made/__init__.py"),
        ({"made/other.py": b""}, "has made/other.py, which is not in src"),
        ({"made/tests/test_x.py": b""}, "has made/tests/test_x.py: a test or a cache"),
        ({"made/conftest.py": b""}, "has made/conftest.py: a test or a cache"),
        ({"made/__pycache__/x.pyc": b""}, "has made/__pycache__/x.pyc: a test or a cache"),
        ({"made/py.typed": None}, "has no py.typed"),
        ({"made-1.0.dist-info/licenses/LICENSE": b"?"}, "does not have the project's LICENSE"),
    ],
)
def test_a_wheel_holds_its_package_its_licence_and_no_tests(tmp_path, changes, fault):
    for name in ("made/__init__.py", "made/py.typed"):
        (tmp_path / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "src" / name).touch()
    path = wheel(tmp_path / "made-1.0-py3-none-any.whl", **changes)
    found = list(packages.wheel_faults(path, tmp_path / "src", b"the terms"))
    assert any(fault in each for each in found) if fault else found == []


METADATA = """\
Metadata-Version: 2.4
Name: {name}
Version: 1.0
Summary: Short.
License-Expression: Apache-2.0
License-File: LICENSE
Requires-Python: >=3.11
Classifier: Programming Language :: Python :: 3.11
Classifier: Typing :: Typed
Project-URL: Source, https://me
Description-Content-Type: text/markdown
{more}
# {name}
"""
MORE = {
    "feedrace": """\
Requires-Dist: feedrace-b[c]==1.0; extra == 'b'
Requires-Dist: feedrace[b]; extra == 'all'
Requires-Dist: s3fs; extra == 'all'
Provides-Extra: b
Provides-Extra: all
""",
    "feedrace-b": """\
Requires-Dist: feedrace==1.0
Provides-Extra: c
Provides-Extra: d
""",
}


def dists(old="", new=""):
    """Return the metadata of two dists, one of them with a change."""
    made = {name: METADATA.format(name=name, more=more) for name, more in MORE.items()}
    changed = "feedrace-b" if old in made["feedrace-b"] else "feedrace"
    made[changed] = made[changed].replace(old, new)
    return {name: Metadata.from_email(text) for name, text in made.items()}


@pytest.mark.parametrize(
    ("old", "new", "faults"),
    [
        ("", "", []),
        ("\nVersion: 1.0", "\nVersion: 1.1", ["disagree about version", "its version is 1.1"]),
        ("Requires-Python: >=3.11\n", "", ["about requires_python", "has no requires_python"]),
        ("Summary: Short.\n", "", ["feedrace-b has no summary"]),
        ("License-File: LICENSE\n", "", ["feedrace-b has no license_files"]),
        ("License-Expression: Apache-2.0\n", "", ["license_expression", "license_expression"]),
        ("Classifier: Typing :: Typed\n", "", ["lacks the classifiers"]),
        (":: 3.11", ":: 3.12", ["disagree about their Pythons"]),
        ("https://me", "http://me", ["about project_urls", "which is not https"]),
        ("text/markdown", "text/plain", ["does not say that its README is Markdown"]),
        ("feedrace==1.0", "feedrace==0.9", ["requires feedrace==0.9, but its version is 1.0"]),
        ("feedrace==1.0", "feedrace", ["requires feedrace of any version"]),
        ("feedrace==1.0", "feedrace-x==1.0", ["which is no dist of this project"]),
        ("feedrace-b[c]", "feedrace-b[x]", ["which has no extra x"]),
    ],
)
def test_metadata_are_whole_and_fit_together(old, new, faults):
    found = list(packages.metadata_faults(dists(old, new)))
    assert len(found) == len(faults), found
    assert all(fault in each for fault, each in zip(faults, found, strict=True)), found


def test_a_readme_renders_and_links_to_addresses_alone():
    page = '<h1>a</h1><a href="https://x.org">x</a> <a href="#a">a</a>'
    assert list(packages.readme_faults("made", page)) == []
    assert "links to docs/a.md" in next(
        packages.readme_faults("made", page + '<a href="docs/a.md">')
    )
    assert "does not render" in next(packages.readme_faults("made", None))


def test_each_set_of_requirements_is_installed_once():
    # feedrace[b] stands for feedrace-b[c] alone, and is tried; feedrace-b[d] has no other name
    assert installs.wanted(dists()) == ["feedrace", "feedrace[b]", "feedrace[all]", "feedrace-b[d]"]


def test_an_installation_that_fails_is_reported_and_the_others_are_tried(monkeypatch, capsys):
    def try_one(python, requirement, constraints, scratch):
        if requirement == "feedrace[b]":
            raise RuntimeError("no such thing")
        return "fine"

    monkeypatch.setattr(installs, "try_one", try_one)
    found = installs.faults({"3.11": "a", "3.12": "b"}, ["feedrace[b]", "feedrace"], [], ROOT)
    assert found == [f"feedrace[b] on Python {v}: no such thing" for v in ("3.11", "3.12")]
    assert capsys.readouterr().out.count(" feedrace, 0 s: fine\n") == 2


def test_what_an_extra_brings_is_found_through_other_extras():
    assert set(smoke.brought(Requirement("feedrace[tokenize]"))) == {
        "feedrace", "feedrace-text", "tokenizers"
    }  # fmt: skip
    assert "feedrace-compose" in set(smoke.brought(Requirement("feedrace[all]")))
    assert set(smoke.brought(Requirement("feedrace"))) == {"feedrace"}


def document():
    local = {"type": "distribution", "url": "file:///home/me/made-1.0-py3-none-any.whl"}
    made = {"name": "made", "version": "1.0", "externalReferences": [local]}
    return {"metadata": {"component": made}, "components": [{"name": "numpy", "version": "2"}]}


def test_the_sbom_names_the_built_files_by_digest_and_no_path(tmp_path):
    wheel(tmp_path / "made-1.0-py3-none-any.whl")
    (tmp_path / "made-1.0.tar.gz").touch()
    files = sbom.published(tmp_path)
    made = sbom.completed(document(), files)["metadata"]["component"]
    assert made["purl"] == "pkg:pypi/made@1.0"
    urls = [reference["url"] for reference in made["externalReferences"]]
    assert urls == ["made-1.0-py3-none-any.whl", "made-1.0.tar.gz"]
    (digest,) = made["externalReferences"][1]["hashes"]
    assert digest["content"] == packages.sha256(tmp_path / "made-1.0.tar.gz")
    with pytest.raises(ValueError, match="names paths of this machine"):
        sbom.completed(document(), {})
    with pytest.raises(ValueError, match="lacks more"):
        sbom.completed(document(), {**files, "more": []})


def test_every_fragment_has_a_name_that_towncrier_reads():
    kinds = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]["type"]
    name = re.compile(rf"(\d+|\+\w+)\.({'|'.join(k['directory'] for k in kinds)})(\.\d+)?\.md")
    assert [p.name for p in papers.fragments(ROOT) if not name.fullmatch(p.name)] == []


def test_a_fragment_of_which_words_are_missing_is_named(tmp_path):
    (tmp_path / "changes").mkdir()
    (tmp_path / "changes/README.md").touch()
    (tmp_path / "changes/1.feature.md").write_text("It feeds\nand races.\n")
    assert papers.unsaid(tmp_path, "- It feeds\n  and races. (#1)\n") == []
    assert papers.unsaid(tmp_path, "- It feeds. (#1)\n") == [
        "changes/1.feature.md is not in the news as it stands"
    ]


def test_a_released_version_has_its_section_of_the_changelog(tmp_path):
    (tmp_path / "changes").mkdir()
    text = "# Changelog\n\n## 1.1 (2030-01-02)\n\nNew.\n\n## 1.0 (2030-01-01)\n\nOld.\n"
    (tmp_path / "CHANGELOG.md").write_text(text)
    assert papers.news(tmp_path, "1.1") == "## 1.1 (2030-01-02)\n\nNew.\n\n"
    assert papers.news(tmp_path, "1.0") == "## 1.0 (2030-01-01)\n\nOld.\n"
    assert papers.news(tmp_path, "1") == ""


def test_the_workflow_publishes_what_it_built_and_checked_without_passwords():
    text = (ROOT / ".github/workflows/release.yml").read_text()
    workflow = yaml.safe_load(text)
    assert "secrets" not in text
    assert workflow["permissions"] == {}
    jobs = workflow["jobs"]
    assert any("tox run -e release" in step.get("run", "") for step in jobs["build"]["steps"])
    assert "id-token" not in jobs["build"]["permissions"]
    assert [step["run"] for step in jobs["test"]["steps"] if "run" in step] == [".ci/run"]
    assert jobs["publish"]["needs"] == ["build", "test"]
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert [step["uses"].partition("@")[0] for step in jobs["publish"]["steps"]] == [
        "actions/download-artifact", "pypa/gh-action-pypi-publish"
    ]  # fmt: skip


@pytest.fixture
def run(monkeypatch):
    """The program, which imports the modules beside it by their bare names."""
    monkeypatch.syspath_prepend(ROOT / "tests/release")
    yield importlib.import_module("run")
    for path in (ROOT / "tests/release").glob("*.py"):
        sys.modules.pop(path.stem, None)


def test_publishing_asks_for_the_address_the_news_and_the_tag(run, monkeypatch):
    monkeypatch.setattr(run.papers, "fragments", lambda root: [])
    monkeypatch.setattr(run, "git", lambda *arguments: "v1.0\nother")
    assert list(run.publishing_faults("1.0", "news", dists(), "https://me")) == []
    assert "https://you" in next(run.publishing_faults("1.0", "news", dists(), "https://you"))
    assert "no section of 1.0" in next(run.publishing_faults("1.0", "", dists(), "https://me"))
    assert "the tag v1.1" in next(run.publishing_faults("1.1", "news", dists(), "https://me"))
    monkeypatch.setattr(run.papers, "fragments", lambda root: [ROOT / "changes/1.misc.md"])
    assert "1.misc.md" in next(run.publishing_faults("1.0", "news", dists(), "https://me"))
