"""Files in S3, on moto's server."""

import numpy as np
import pytest

from feedrace.errors import DataError
from feedrace.storage import remote
from feedrace.storage.blocks import BLOCK
from feedrace.storage.files import Storage
from feedrace.storage.retries import Retries

for needed in ("s3fs", "moto.server"):
    pytest.importorskip(needed)
servers = pytest.importorskip("feedrace_testing.servers")

CONTENT = np.random.default_rng(0).bytes(3 * BLOCK + 1000)
FILES = {"in/a.bin": CONTENT, "in/b.txt": b"b", "in/.hidden": b"", "c.txt": b"c"}


@pytest.fixture(scope="module")
def server():
    with servers.S3Server() as made:
        yield made


@pytest.fixture(scope="module")
def written(server):
    server.put("data-set", FILES)


@pytest.fixture
def bucket(server, written):
    """The address of a bucket."""
    server.requests.clear()
    return "s3://data-set"


@pytest.fixture
def storage(server, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "RETRIES", Retries(sleep=lambda _: None))
    return Storage(server.options, cache_dir=str(tmp_path))


def test_files_are_found_with_one_listing(server, bucket, storage):
    found = storage.find(f"{bucket}/in")
    assert [(file.path, file.size) for file in found] == [
        (f"{bucket}/in/a.bin", len(CONTENT)),
        (f"{bucket}/in/b.txt", 1),
    ]
    assert len(server.requests) < 6
    assert storage.find(f"{bucket}/in/a.bin") == found[:1]
    assert storage.find(f"{bucket}/**/*.bin") == found[:1]
    with pytest.raises(DataError, match=r"in/a\.bim does not exist; did you mean 'a\.bin'"):
        storage.find(f"{bucket}/in/a.bim")
    with pytest.raises(DataError, match="other-bucket/a does not exist"):
        storage.find("s3://other-bucket/a")


def test_ranges_are_read_by_blocks(server, bucket, storage):
    (file,) = storage.find(f"{bucket}/in/a.bin")
    opened = storage.open(file)
    starts, sizes = np.array([3 * BLOCK, 5]), np.array([1000, 2 * BLOCK])
    assert list(opened.read_many(starts, sizes)) == [CONTENT[3 * BLOCK :], CONTENT[5:][: 2 * BLOCK]]
    done = len(server.requests)
    assert opened.read(0, len(CONTENT)) == CONTENT
    assert len(server.requests) == done


@pytest.mark.parametrize("fault", ["503 SlowDown", "500 InternalError", "cut"])
def test_what_may_pass_is_tried_again(server, bucket, storage, fault):
    (file,) = storage.find(f"{bucket}/in/a.bin")
    server.requests.clear()
    server.fail("GET", fault, fault)
    assert storage.open(file).read(3 * BLOCK, 10) == CONTENT[3 * BLOCK :][:10]
    assert len(server.requests) == 3  # tries are made in one place


def test_what_will_not_pass_is_not_tried_again(server, bucket, storage):
    (file,) = storage.find(f"{bucket}/in/a.bin")
    server.requests.clear()
    server.fail("GET", "403 AccessDenied")
    with pytest.raises(DataError, match=r"AccessDenied; set AWS_ACCESS_KEY_ID .*anon = true"):
        storage.open(file).read(0, 10)
    assert len(server.requests) == 1


@pytest.mark.parametrize("new", [CONTENT[::-1], CONTENT[:5]], ids=["other", "cut"])
def test_a_file_that_changes_underneath_is_an_error(server, bucket, storage, new):
    server.put("data-set", {"other/a.bin": CONTENT})
    (file,) = storage.find(f"{bucket}/other/a.bin")
    server.put("data-set", {"other/a.bin": new})
    with pytest.raises(DataError, match=rf"{bucket}/other/a\.bin changed since it was found"):
        storage.open(file).read(2 * BLOCK, 10)
    assert storage.find(f"{bucket}/other/a.bin") != (file,)


def test_settings_that_are_wrong_are_an_error_at_once(tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(remote, "RETRIES", Retries(sleep=waits.append))
    storage = Storage({"profile": "nobody"}, cache_dir=str(tmp_path))
    with pytest.raises(DataError, match=r"nobody.*; check the address and storage_options"):
        storage.find("s3://data-set/in")
    assert waits == []


def test_a_server_that_is_not_there_is_tried_again(server, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "RETRIES", Retries(sleep=lambda _: None))
    options = {**server.options, "endpoint_url": "http://127.0.0.1:1"}
    with pytest.raises(DataError, match=r"127\.0\.0\.1:1.*\(4 tries"):
        Storage(options, cache_dir=str(tmp_path)).find("s3://data-set/in")


def test_missing_credentials_are_an_error_that_says_what_to_set(server, tmp_path, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    options = {"endpoint_url": server.options["endpoint_url"]}
    with pytest.raises(DataError, match="Unable to locate credentials; set AWS_ACCESS_KEY_ID"):
        Storage(options, cache_dir=str(tmp_path)).find("s3://bucket/a")
