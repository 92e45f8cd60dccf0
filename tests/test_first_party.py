"""The plugins of this workspace match what the core knows of them if they are not installed."""

from feedrace.registry import available
from feedrace.registry.first_party import FIRST_PARTY
from feedrace_testing.inspection import check


def test_the_core_knows_every_first_party_name_and_no_other():
    for extra, names in FIRST_PARTY.items():
        declared = {f"{c.kind}/{c.name}" for c in available() if c.dist == f"feedrace-{extra}"}
        assert set(names) == declared, extra


def test_every_plugin_here_is_sound():
    findings = [f for extra in FIRST_PARTY for f in check(f"feedrace-{extra}")]
    assert len(findings) > 2 * len(FIRST_PARTY)
    assert [finding for finding in findings if not finding.ok] == []
