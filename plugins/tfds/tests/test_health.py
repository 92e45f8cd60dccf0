"""Whether the packages around TensorFlow fit together."""

import importlib.metadata as metadata

import pytest

from feedrace_tfds import health

GOOD = {
    "tensorflow-datasets": ("4.9.10", ["protobuf>=3.20", "tensorflow-metadata"]),
    "tensorflow": ("2.21.0", ["protobuf>=6.31.1,<8.0.0"]),
    "tensorflow-metadata": ("1.21.0", ['protobuf>=6.31; python_version >= "3.9"']),
    "protobuf": ("7.36.2", []),
}


@pytest.fixture
def installed(monkeypatch):
    """A function that sets which packages are there: name to (version, requirements)."""

    def install(packages):
        def version(name):
            if name not in packages:
                raise metadata.PackageNotFoundError(name)
            return packages[name][0]

        monkeypatch.setattr(metadata, "version", version)
        monkeypatch.setattr(metadata, "requires", lambda name: packages[name][1])
        return {finding.subject: finding for finding in health.findings()}

    return install


def test_what_fits_together_is_listed_with_its_versions(installed):
    found = installed(GOOD)
    assert {name: (f.ok, f.detail) for name, f in found.items()} == {
        name: (True, version) for name, (version, _) in GOOD.items()
    }


def test_a_protobuf_that_breaks_the_import_is_reported_with_who_needs_what(installed):
    found = installed({**GOOD, "protobuf": ("5.29.6", [])})
    assert not found["protobuf"].ok
    assert "tensorflow-metadata needs protobuf>=6.31" in found["protobuf"].detail
    assert "install --upgrade tensorflow-datasets tensorflow" in found["protobuf"].fix
    assert found["tensorflow"].ok


def test_tensorflow_may_be_missing_and_the_others_may_not(installed):
    found = installed({k: v for k, v in GOOD.items() if k != "tensorflow"})
    assert found["tensorflow"].ok
    assert "none can be prepared" in found["tensorflow"].detail
    found = installed({k: v for k, v in GOOD.items() if k != "tensorflow-metadata"})
    assert not found["tensorflow-metadata"].ok


def test_requirements_of_extras_and_of_other_systems_do_not_count(installed):
    others = ['protobuf<4; extra == "old"', "protobuf<4; python_version < '3'", "not a line ["]
    found = installed({**GOOD, "tensorflow": ("2.21.0", others)})
    assert all(finding.ok for finding in found.values())


def test_the_doctor_shows_them():
    from feedrace.registry import health as doctor

    assert {"protobuf", "tensorflow-datasets"} <= {f.subject for f in doctor.findings()}
