"""Finding files, reading them by ranges, and keeping tables of what a scan found."""

import os
import pickle
import stat

import numpy as np
import pytest

from feedrace.errors import DataError, StorageError
from feedrace.storage import paths
from feedrace.storage.files import Storage
from feedrace.storage.tables import Table, TableCache


@pytest.fixture
def storage(tmp_path):
    return Storage(cache_dir=str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    for name in ("b.txt", "a.txt", "c.csv", "inner/d.txt", ".hidden.txt", "_SUCCESS"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")
    return tmp_path / "data"


def names(files, folder):
    return [os.path.relpath(file.path, folder) for file in files]


def test_a_folder_stands_for_its_files_in_order(storage, folder):
    assert names(storage.find(str(folder)), folder) == ["a.txt", "b.txt", "c.csv", "inner/d.txt"]
    assert names(storage.find(str(folder), [".csv"]), folder) == ["c.csv"]


def test_patterns_and_lists_name_files(storage, folder):
    assert names(storage.find(f"{folder}/*.txt"), folder) == ["a.txt", "b.txt"]
    found = storage.find(f"{folder}/**/*.txt")
    assert names(found, folder) == ["a.txt", "b.txt", "inner/d.txt"]
    listed = [f"{folder}/inner", f"{folder}/a.txt"]
    assert names(storage.find(listed), folder) == ["inner/d.txt", "a.txt"]


def test_a_name_with_the_letters_of_a_pattern_is_a_name_if_it_exists(storage, folder):
    (folder / "x[1].txt").write_text("")
    assert names(storage.find(f"{folder}/x[1].txt"), folder) == ["x[1].txt"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("a.tkt", "does not exist; did you mean 'a.txt'"),
        ("nowhere/a.txt", "nor does the folder"),
        ("*.tar", "no file matches"),
        (["a.txt", "*.txt"], "named twice"),
    ],
)
def test_a_path_that_names_nothing_is_an_error(storage, folder, path, message):
    paths = [f"{folder}/{one}" for one in ([path] if isinstance(path, str) else path)]
    with pytest.raises(DataError, match=message):
        storage.find(paths)
    with pytest.raises(DataError, match=r"no files ending with \.tar"):
        storage.find(str(folder), [".tar"])


@pytest.mark.parametrize("path", [".", "..", "/", "**/*.txt", "../**/*.txt", "/**", "../*/**"])
def test_every_file_below_the_home_folder_is_never_meant(storage, folder, monkeypatch, path):
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(os, "walk", None)  # it is an error before any folder is listed
    with pytest.raises(DataError, match="is or holds the home folder; give the folder"):
        storage.find(path)
    assert names(storage.find("*.txt"), ".") == ["a.txt", "b.txt"]


def test_folders_within_the_home_folder_and_beside_it_are_listed(storage, folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    inner = ["inner/d.txt"]
    for path in (f"{folder}/inner", f"{folder}/inner/**", f"{folder}/in*/**/*.txt"):
        assert names(storage.find(path), folder) == inner
    for home in (str(folder.parent / "home"), "~", ""):  # the last two: a user without any
        monkeypatch.setenv("HOME", home)
        monkeypatch.chdir(folder)
        assert names(storage.find("inner"), ".") == inner


def test_a_walk_that_meets_nothing_but_other_files_ends(storage, folder, monkeypatch):
    monkeypatch.setattr(paths, "MOST_OTHERS", 4)
    with pytest.raises(DataError, match=r"of more than 4 files and folders in .*, none ends with"):
        storage.find(str(folder), [".tar"])
    assert names(storage.find(str(folder), [".csv"]), folder) == ["c.csv"]


def test_a_folder_that_cannot_be_listed_loses_no_file_silently(storage, folder, monkeypatch):
    scan = os.scandir

    def denied(path):
        if os.path.basename(path) in ("inner", "lost+found"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(StorageError, match="inner cannot be listed: Permission denied"):
        storage.find(str(folder))
    (folder / "inner").rename(folder / "lost+found")  # as the root of a disk has
    assert names(storage.find(str(folder)), folder) == ["a.txt", "b.txt", "c.csv"]


def test_a_pipe_is_no_file(storage, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="not a regular file"):
        storage.find(str(tmp_path / "pipe"))


def test_files_are_read_by_ranges(storage, folder):
    [file] = storage.find(f"{folder}/a.txt")
    opened = storage.open(file)
    assert opened.read(3, 4) == b"tent"
    ranges = opened.read_many(np.array([11, 0]), np.array([5, 7]))
    assert list(ranges) == [b"a.txt", b"content"]
    with opened.binary() as binary:
        assert binary.read() == b"content of a.txt"
        assert binary.seek(-5, os.SEEK_END) == 11
        assert binary.read(1) == b"a"
    assert storage.open(file) is opened


def test_a_range_beyond_the_end_is_an_error(storage, folder):
    [file] = storage.find(f"{folder}/a.txt")
    with pytest.raises(DataError, match="ends at byte 16, before byte 20"):
        storage.open(file).read(10, 10)


@pytest.mark.parametrize("change", ["size", "content", "replaced", "gone"])
def test_a_file_that_changed_since_it_was_found_is_not_read(storage, folder, change):
    path = folder / "a.txt"
    [file] = storage.find(str(path))
    if change == "size":
        path.write_text("more content of a.txt")
    elif change == "content":
        path.write_text("CONTENT of a.txt")
        os.utime(path, ns=(1, 1))  # a clock may be too coarse to show that
    elif change == "replaced":
        (folder / "b.txt").replace(path)
    else:
        path.unlink()
    with pytest.raises(DataError, match=r"changed since it was found|does not exist"):
        storage.open(file)


def test_a_pickled_storage_opens_files_anew(storage, folder):
    [file] = storage.find(f"{folder}/a.txt")
    storage.open(file)
    copy, its_file = pickle.loads(pickle.dumps((storage, file)))
    assert copy == storage
    assert copy.open(its_file).read(0, 7) == b"content"


def lengths(opened):
    lengths.scanned.append(os.path.basename(opened.file.path))
    return Table({"size": np.array([opened.file.size]), "odd": np.arange(3, dtype=np.uint8)})


@pytest.fixture(autouse=True)
def scanned():
    lengths.scanned = []
    return lengths.scanned


def test_tables_are_made_once_and_kept(storage, folder, scanned):
    cache = TableCache(storage)
    files = storage.find(str(folder))
    made = cache.tables("lengths", files, lengths)
    again = cache.tables("lengths", files, lengths)
    assert sorted(scanned) == ["a.txt", "b.txt", "c.csv", "d.txt"]
    for table, other, file in zip(made, again, files, strict=True):
        assert table.arrays["size"].tolist() == other.arrays["size"].tolist() == [file.size]
        assert other.arrays["odd"].tolist() == [0, 1, 2]


def test_only_files_that_changed_are_scanned_again(storage, folder, scanned):
    cache = TableCache(storage)
    cache.tables("lengths", storage.find(str(folder)), lengths)
    (folder / "a.txt").write_text("longer than it was before")
    (folder / "e.txt").write_text("new")
    del scanned[:]
    made = cache.tables("lengths", storage.find(f"{folder}/[a-z]*"), lengths)
    assert sorted(scanned) == ["a.txt", "e.txt"]
    assert [int(table.arrays["size"][0]) for table in made] == [25, 16, 16, 3]
    del scanned[:]
    cache.tables("lengths", storage.find(f"{folder}/inner/*"), lengths)
    cache.tables("lengths", storage.find(f"{folder}/[a-z]*"), lengths)
    assert scanned == ["d.txt"]  # another folder: a kept file of its own


def test_another_version_of_a_scan_makes_all_tables_anew(storage, folder, scanned):
    files = storage.find(f"{folder}/a.txt")
    for version in (1, 2, 2):
        TableCache(storage).tables("lengths", files, lengths, version=version)
    assert scanned == ["a.txt", "a.txt"]


@pytest.mark.parametrize("at", [0, 20, 30, -1])
def test_a_damaged_kept_file_is_made_again(storage, folder, scanned, at):
    files = storage.find(f"{folder}/a.txt")
    cache = TableCache(storage)
    cache.tables("lengths", files, lengths)
    [kept] = (path for path in (folder.parent / "cache").rglob("*") if path.is_file())
    content = bytearray(kept.read_bytes())
    content[at] ^= 1
    kept.write_bytes(content)
    [table] = cache.tables("lengths", files, lengths)
    assert table.arrays["size"].tolist() == [16]
    kept.write_bytes(content[:-3])
    cache.tables("lengths", files, lengths)
    assert scanned == ["a.txt"] * 3


def test_tables_of_damaged_files_are_not_kept(storage, folder):
    files = storage.find(f"{folder}/a.txt")
    seen = []

    def scan(opened):
        seen.append(opened)
        return Table({}, damage="cut short")

    for _ in range(2):
        [table] = TableCache(storage).tables("cut", files, scan)
        assert table.damage == "cut short"
    assert len(seen) == 2


def test_nothing_is_written_if_that_is_not_allowed(storage, folder, scanned):
    files = storage.find(f"{folder}/a.txt")
    TableCache(storage, writable=False).tables("lengths", files, lengths)
    assert not (folder.parent / "cache").exists()


def test_a_cache_folder_that_cannot_be_written_is_an_error_or_a_warning(
    folder, monkeypatch, scanned
):
    (folder / "taken").write_text("a file, no folder")
    storage = Storage(cache_dir=str(folder / "taken"))
    files = storage.find(f"{folder}/a.txt")
    with pytest.raises(DataError, match="give a cache_dir"):
        TableCache(storage).tables("lengths", files, lengths)
    monkeypatch.setenv("FEEDRACE_CACHE_DIR", str(folder / "taken"))
    with pytest.warns(UserWarning, match="set FEEDRACE_CACHE_DIR"):
        TableCache(Storage()).tables("lengths", files, lengths)


def test_unfinished_tables_of_killed_processes_are_removed(storage, folder):
    files = storage.find(f"{folder}/a.txt")
    cache = TableCache(storage)
    cache.tables("lengths", files, lengths)
    [kept] = (path for path in (folder.parent / "cache").rglob("*") if path.is_file())
    old, new = kept.with_name(f"{kept.name}.0"), kept.with_name(f"{kept.name}.1")
    old.write_text("")
    new.write_text("")
    os.utime(old, (1, 1))
    cache.tables("lengths", files, lengths, version=2)
    assert sorted(kept.parent.iterdir()) == [kept, new]


def kept_file(folder):
    [kept] = (path for path in (folder.parent / "cache").rglob("*") if path.is_file())
    return kept


def test_others_can_read_kept_tables(storage, folder):
    before = os.umask(0o022)
    try:
        TableCache(storage).tables("lengths", storage.find(f"{folder}/a.txt"), lengths)
    finally:
        os.umask(before)
    assert stat.S_IMODE(kept_file(folder).stat().st_mode) == 0o644


def test_tables_in_use_may_be_cut_by_others(storage, folder):
    files, cache = storage.find(f"{folder}/a.txt"), TableCache(storage)
    cache.tables("lengths", files, lengths)
    [table] = cache.tables("lengths", files, lengths)
    os.truncate(kept_file(folder), 0)
    assert table.arrays["size"].tolist() == [16]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_in_place_of_kept_tables_is_replaced(storage, folder, scanned):
    files, cache = storage.find(f"{folder}/a.txt"), TableCache(storage)
    cache.tables("lengths", files, lengths)
    kept = kept_file(folder)
    kept.unlink()
    os.mkfifo(kept)
    cache.tables("lengths", files, lengths)
    assert kept.is_file()
    assert scanned == ["a.txt"] * 2


def test_a_write_that_fails_leaves_nothing(storage, folder, monkeypatch):
    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(DataError, match="disk full"):
        TableCache(storage).tables("lengths", storage.find(f"{folder}/a.txt"), lengths)
    assert not [path for path in (folder.parent / "cache").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("environment", "place"),
    [({"FEEDRACE_CACHE_DIR": "~/x"}, "me/x"), ({"XDG_CACHE_HOME": "~/y"}, "me/y/feedrace"),
     ({}, "me/.cache/feedrace")],
)  # fmt: skip
def test_the_user_s_cache_folder_is_the_default(folder, monkeypatch, environment, place):
    for name in ("FEEDRACE_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": str(folder.parent / "me"), **environment}.items():
        monkeypatch.setenv(name, value)
    TableCache(Storage()).tables("lengths", Storage().find(f"{folder}/a.txt"), lengths)
    assert (folder.parent / place / "tables").is_dir()


def test_a_digest_shows_whether_a_files_content_changed(storage, folder):
    path = folder / "large"
    content = bytearray(3 << 20)
    path.write_bytes(content)
    cache = TableCache(storage)
    first = cache.digests(storage.find([str(path), f"{folder}/a.txt"]))
    os.utime(path, (1, 1))
    assert cache.digests(storage.find([str(path), f"{folder}/a.txt"])) == first
    content[-1] = 1
    path.write_bytes(content)
    second = cache.digests(storage.find([str(path), f"{folder}/a.txt"]))
    assert (second[0] != first[0], second[1] == first[1]) == (True, True)


@pytest.mark.parametrize("change", ["content", "replaced", "removed"])
def test_an_open_file_that_changes_is_not_read_on(storage, folder, change):
    path = folder / "a.txt"
    [file] = storage.find(str(path))
    assert storage.open(file).read(0, 7) == b"content"
    if change == "content":
        path.write_text("CONTENT of a.txt")
        os.utime(path, ns=(1, 1))  # a clock may be too coarse to show that
    elif change == "replaced":
        (folder / "b.txt").replace(path)
    else:
        path.unlink()
    with pytest.raises(DataError, match=r"a\.txt changed since it was found; make"):
        storage.open(file)


def test_an_open_file_may_lose_another_of_its_names(storage, folder):
    os.link(folder / "a.txt", folder / "other.txt")
    [file] = storage.find(str(folder / "a.txt"))
    storage.open(file)
    (folder / "other.txt").unlink()
    assert storage.open(file).read(0, 7) == b"content"


def test_relative_and_absolute_paths_may_be_mixed(storage, folder, monkeypatch):
    monkeypatch.chdir(folder)
    files = storage.find(["a.txt", f"{folder}/inner/d.txt"])
    scanned = []

    def scan(opened):
        scanned.append(opened.file.path)
        return Table({"size": np.array([opened.file.size])})

    for _ in range(2):
        tables = TableCache(storage).tables("sizes", files, scan)
    assert [table.arrays["size"][0] for table in tables] == [file.size for file in files]
    assert sorted(scanned) == sorted(file.path for file in files)
