"""A test that is skipped without another member runs where the members are together."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEST = re.compile(
    r"\n\n((?:[@#( ].*\n|\)[^\n]*\n)*)(?:async )?def (test_\w+)\((?:.|\n)*?(?=\n\n\n|\Z)"
)


def test_what_needs_another_member_is_marked_together():
    asks, unmarked = [], []
    for file in [*ROOT.glob("core/tests/*.py"), *ROOT.glob("plugins/*/tests/*.py")]:
        for test in TEST.finditer(file.read_text()):
            if 'importorskip("feedrace_' in test[0]:
                asks.append(test[2])
                unmarked += [test[2]] if "pytest.mark.together" not in test[1] else []
    assert len(asks) >= 6
    assert unmarked == []
