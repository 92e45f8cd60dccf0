import io
import pickle
import tarfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedrace import create
from feedrace.errors import ConfigError, DataError
from feedrace.storage.files import Storage
from feedrace_files.tar_index import names_in, scan_tar, split_name
from feedrace_testing.sample_files import write_tar

LONG = "folder/" + "a" * 150 + "/" + "b" * 90
FILES = [
    ("images/001.jpg", b"first"),
    ("images/001.cls", b" 7\n"),
    ("images/001.txt", b"gr\xc3\xbcn"),
    ("images/002.JPG", b""),
    ("images/002.cls", b"-1"),
    ("images/002.txt", b""),
    (f"{LONG}.jpg", b"x" * 3000),
    (f"{LONG}.cls", b"3"),
    (f"{LONG}.txt", b"long"),
]


def samples_of(path, **fields):
    return create("source", "tar", path=str(path), **fields)


@pytest.fixture
def path(tmp_path):
    write_tar(tmp_path / "shard.tar", FILES)
    return tmp_path / "shard.tar"


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_samples_are_files_of_one_name(tmp_path, form):
    short = "d" * 90  # POSIX's first form has room for 155 bytes of folders
    old = [(name.replace("folder/" + "a" * 150, short), data) for name, data in FILES]
    files = old if form == tarfile.USTAR_FORMAT else FILES
    write_tar(tmp_path / "a.tar", files, format=form)
    source = samples_of(tmp_path)
    records = source.fetch(np.array([2, 0, 1]))
    keys = [files[6][0][:-4], "images/001", "images/002"]
    assert records["key"].tolist() == keys
    assert records["jpg"].tolist() == [b"x" * 3000, b"first", b""]
    assert records["cls"].tolist() == [3, 7, -1]
    assert records["cls"].dtype == np.int32
    assert records["txt"].tolist() == ["long", "gr\u00fcn", ""]


def test_names_that_are_not_ascii_and_long_are_read(tmp_path):
    name = "\u00fc" * 120
    write_tar(tmp_path / "a.tar", [(f"{name}.jpg", b"1")])
    assert samples_of(tmp_path).fetch(np.array([0]))["key"].tolist() == [name]


@given(data=st.data())
def test_the_index_finds_what_tarfile_finds(data, tmp_path_factory):
    part = st.text("ab\u00e9.", min_size=1, max_size=60).filter(lambda p: p.strip("."))
    names = data.draw(st.lists(st.lists(part, min_size=1, max_size=4).map("/".join), max_size=6))
    sizes = data.draw(st.lists(st.integers(0, 1500), min_size=len(names), max_size=len(names)))
    form = data.draw(st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
    path = tmp_path_factory.mktemp("tars") / "a.tar"
    write_tar(path, [(n, bytes([65]) * s) for n, s in zip(names, sizes, strict=True)], format=form)
    storage = Storage()
    [file] = storage.find(str(path))
    table = scan_tar(storage.open(file))
    with tarfile.open(path) as tar:
        members = [m for m in tar if split_name(m.name)[1]]
    assert table.arrays["starts"].tolist() == [m.offset_data for m in members]
    assert table.arrays["sizes"].tolist() == [m.size for m in members]
    extensions = names_in(table.arrays["extensions"])
    found = [extensions[number] for number in table.arrays["extension"]]
    assert found == [split_name(m.name)[1] for m in members]
    ends = [0, *table.arrays["ends"].tolist()]
    keys = names_in(table.arrays["keys"])
    for key, begin, end in zip(keys, ends, ends[1:], strict=False):
        assert {split_name(m.name)[0] for m in members[begin:end]} == {key}
    assert not table.damage


def test_names_split_at_the_first_dot_of_their_last_part():
    assert split_name("a.b/c.seg.PNG") == ("a.b/c", "seg.png")
    assert split_name("a/.hidden.jpg")[1] == ""
    assert split_name("a/README")[1] == ""


def test_folders_links_and_files_without_extension_belong_to_no_sample(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, kind in (("d", tarfile.DIRTYPE), ("l.jpg", tarfile.SYMTYPE),
                           ("h.jpg", tarfile.LNKTYPE), ("README", tarfile.REGTYPE)):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "elsewhere"
            tar.addfile(info)
        info = tarfile.TarInfo("a.jpg")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"a"))
    assert samples_of(tmp_path).fetch(np.array([0]))["key"].tolist() == ["a"]


def test_columns_choose_fields_and_name_what_there_is(path):
    source = samples_of(path, columns=["cls"])
    assert list(source.element_spec()) == ["cls"]
    assert source.fetch(np.array([1]))["cls"].tolist() == [-1]
    assert samples_of(path, columns=["key"]).fetch(np.array([0]))["key"].tolist() == ["images/001"]
    with pytest.raises(ConfigError, match=r"columns\[0\]: 'jpeg'.*did you mean 'jpg'.*it has key"):
        samples_of(path, columns=["jpeg"])


def test_half_a_sample_is_a_bad_record(tmp_path):
    write_tar(tmp_path / "a.tar", [f for f in FILES if f[0] != "images/001.cls"])
    with pytest.raises(DataError, match=r"sample 'images/001' lacks cls, which others have"):
        samples_of(tmp_path).fetch(np.array([0]))
    skipping = samples_of(tmp_path, on_error="skip", error_budget=1)
    assert skipping.fetch(np.array([0, 1]))["cls"][1] == -1
    assert skipping.invalid_rows(np.array([0, 1])).tolist() == [True, False]
    assert samples_of(tmp_path, columns=["txt"]).fetch(np.array([0]))["txt"].tolist() == [
        "gr\u00fcn"
    ]


def test_a_name_that_comes_twice_in_a_row_begins_a_sample(tmp_path):
    write_tar(tmp_path / "a.tar", [("a.jpg", b"1"), ("a.jpg", b"2"), ("b.jpg", b"3")])
    assert samples_of(tmp_path).fetch(np.arange(3))["jpg"].tolist() == [b"1", b"2", b"3"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.cls", b"cat", r"cls holds b'cat', which is not a whole number that an int32 holds"),
        ("a.cls", b"%d" % 2**31, r"which is not a whole number that an int32 holds"),
        ("a.txt", b"\xff", r"txt holds b'\\xff', which is not UTF-8"),
    ],
)
def test_a_value_that_does_not_fit_is_a_bad_record(tmp_path, name, data, message):
    write_tar(tmp_path / "a.tar", [(name, data)])
    with pytest.raises(DataError, match=message):
        samples_of(tmp_path).fetch(np.array([0]))


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_of_a_tar_that_is_cut_short_the_rest_is_a_bad_record(path, on_error):
    content = path.read_bytes()
    cut = content.index(b"x" * 3000) + 100
    path.write_bytes(content[:cut])
    if on_error == "raise":
        with pytest.raises(
            DataError, match=r"shard\.tar.*cut short: .*b\.jpg.* ends after the tar"
        ):
            samples_of(path)
        return
    source = samples_of(path, on_error="skip", error_budget=1)
    assert len(source) == 3
    assert source.fetch(np.arange(3))["key"].tolist() == ["images/001", "images/002", None]
    [bad] = source.bad_records
    assert (bad.record, "ends after the tar" in bad.reason) == (2, True)


def test_a_damaged_header_ends_what_can_be_read(path):
    content = bytearray(path.read_bytes())
    content[content.index(b"images/002.cls") + 1] ^= 1
    path.write_bytes(content)
    source = samples_of(path, on_error="skip", error_budget=2)
    assert source.fetch(np.arange(3))["txt"].tolist() == ["gr\u00fcn", None, None]
    half, rest = [bad.reason for bad in source.bad_records]
    assert "sample 'images/002' lacks cls, txt" in half
    assert "cut short: the header at byte" in rest


def test_a_tar_without_the_mark_of_its_end_is_cut_short(path):
    content = path.read_bytes().rstrip(b"\0")
    path.write_bytes(content + bytes(-len(content) % 512))
    with pytest.raises(DataError, match="without the mark of its end"):
        samples_of(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x1f\x8b\x08" + bytes(600), r"compressed with gzip.*decompress it first: gunzip"),
        (b"\x28\xb5\x2f\xfd" + bytes(600), r"compressed with zstd"),
        (b"no tar" * 200, r"is no tar file"),
        (b"short", r"cut short"),
        (b"", r"cut short"),
        (bytes(10240), r"has no records"),
    ],
)
def test_what_is_no_tar_is_an_error_before_training(tmp_path, content, message):
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(DataError, match=message):
        samples_of(tmp_path)


def test_sparse_files_are_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("a.jpg")
        info.pax_headers = {"GNU.sparse.major": "1"}
        tar.addfile(info)
    with pytest.raises(DataError, match="holds a sparse file"):
        samples_of(tmp_path)


def test_the_extension_key_is_refused(tmp_path):
    write_tar(tmp_path / "a.tar", [("a.key", b"1")])
    with pytest.raises(DataError, match="extension 'key'"):
        samples_of(tmp_path)


def test_a_pickled_reader_makes_no_table_again(path, tmp_path, monkeypatch):
    source = samples_of(path, cache_dir=str(tmp_path / "cache"))
    pickled = pickle.dumps(source.reader())
    assert len(pickled) < 5000
    monkeypatch.setattr("feedrace_files.tar_index._members", None)
    assert pickle.loads(pickled).fetch(np.array([0]))["cls"].tolist() == [7]


def test_half_a_sample_is_an_error_before_training(tmp_path):
    write_tar(tmp_path / "a.tar", FILES[:5])
    with pytest.raises(DataError, match=r"a\.tar: sample 'images/002' lacks txt.* 'skip'"):
        samples_of(tmp_path)
    assert len(samples_of(tmp_path, columns=["jpg", "cls"])) == 2
    source = samples_of(tmp_path, on_error="skip")
    assert source.fetch(np.arange(2))["txt"].tolist()[0] == "gr\u00fcn"
    assert [bad.number for bad in source.bad_records] == [1]


def test_names_that_lead_out_of_a_folder_are_keys_and_no_more(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    write_tar(inner / "a.tar", [("../out.jpg", b"1"), ("/tmp/root.jpg", b"2")])
    source = samples_of(inner)
    assert source.fetch(np.array([0, 1]))["jpg"].tolist() == [b"1", b"2"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.tar", "inner"]
