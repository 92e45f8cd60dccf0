"""The project goes by one name."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
FORMER = "pen" + "stock"
MAY_SAY_IT = ("CHANGELOG.md", "changes/")


def files_of(root):
    """Yield the paths of a checkout's tracked files, or of all files if there is no checkout."""
    if (root / ".git").exists():
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True
        )
        yield from filter(None, listed.stdout.split("\0"))
        return
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        if path.is_file() and not any(part.startswith(".") for part in name.split("/")[:-1]):
            yield name


def naming_it(root):
    """Return the files whose name or text has the former name, other than the changelog."""
    found = []
    for name in files_of(root):
        if name.startswith(MAY_SAY_IT) or not (root / name).is_file():
            continue
        text = name.encode() + (root / name).read_bytes()
        if FORMER.encode() in text.lower():
            found.append(name)
    return found


def test_only_the_changelog_has_the_former_name():
    assert naming_it(ROOT) == []


def test_the_former_name_is_found_in_any_case_in_texts_and_in_names_of_files(tmp_path):
    (tmp_path / "changes").mkdir()
    (tmp_path / "changes/1.misc.md").write_text(f"Called {FORMER} once.")
    (tmp_path / "CHANGELOG.md").write_text(f"Called {FORMER} once.")
    (tmp_path / "page.md").write_text(f"{FORMER.title()} reads records.")
    (tmp_path / "code.py").write_text(f"{FORMER.upper()}_API = 1")
    (tmp_path / f"{FORMER}.toml").write_text("")
    (tmp_path / "clean.md").write_text("Feedrace reads records.")
    assert sorted(naming_it(tmp_path)) == ["code.py", "page.md", f"{FORMER}.toml"]
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    subprocess.run(["git", "add", "page.md", "clean.md"], cwd=tmp_path, check=True)
    assert naming_it(tmp_path) == ["page.md"]
