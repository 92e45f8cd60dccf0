"""Files in Google Cloud Storage, on a small server that answers as its JSON API does."""

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import pytest

from feedrace.errors import DataError
from feedrace.storage import remote
from feedrace.storage.blocks import BLOCK
from feedrace.storage.files import Storage
from feedrace.storage.retries import Retries

os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"  # it asks Google what kind a bucket is
pytest.importorskip("gcsfs")

CONTENT = np.random.default_rng(0).bytes(2 * BLOCK + 1000)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        _, _, name = url.path.partition("/o/")
        name = unquote(name)
        server.asked.append((name, query, self.headers.get("Range")))
        if server.refused:
            return self.answer(401, {"error": {"message": "Anonymous caller", "code": 401}})
        if not name:
            items = [self.about(name) for name in sorted(server.files)]
            wanted = query.get("prefix", "")
            return self.answer(200, {"items": [i for i in items if i["name"].startswith(wanted)]})
        if name not in server.files:
            return self.answer(404, {"error": {"message": "No such object", "code": 404}})
        if query.get("alt") != "media":
            return self.answer(200, self.about(name))
        generation, content = server.files[name]
        if query.get("generation", str(generation)) != str(generation):
            return self.answer(404, {"error": {"message": "No such object", "code": 404}})
        first, last = self.headers["Range"].removeprefix("bytes=").split("-")
        return self.send(206, content[int(first) : int(last) + 1])

    def about(self, name):
        generation, content = self.server.files[name]
        return {"name": name, "bucket": "b", "size": str(len(content)), "kind": "storage#object",
                "generation": str(generation), "etag": "x"}  # fmt: skip

    def answer(self, status, document):
        self.send(status, json.dumps(document).encode())

    def send(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    daemon_threads, block_on_close = True, False

    def handle_error(self, *args):
        pass  # gcsfs hangs up on the request that it did not need


@pytest.fixture
def server():
    made = Server(("127.0.0.1", 0), Handler)
    made.files = {"in/a.bin": (7, CONTENT), "in/b.txt": (8, b"b")}
    made.asked, made.refused = [], False
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture
def storage(server, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "RETRIES", Retries(sleep=lambda _: None))
    url = f"http://127.0.0.1:{server.server_address[1]}"
    return Storage({"endpoint_url": url, "token": "anon"}, cache_dir=str(tmp_path))


def test_each_request_names_the_generation_that_was_found(server, storage):
    files = storage.find("gs://b/in")
    assert [(file.path, file.size, file.version) for file in files] == [
        ("gs://b/in/a.bin", len(CONTENT), "7"),
        ("gs://b/in/b.txt", 1, "8"),
    ]
    assert storage.find("gcs://b/in/a.bin")[0].version == "7"
    server.asked.clear()
    assert storage.open(files[0]).read(BLOCK + 5, 10) == CONTENT[BLOCK + 5 :][:10]
    # As a set, and without those that ask for no bytes: a request that was lost is made again.
    found = {(name, query["generation"], asked) for name, query, asked in server.asked if asked}
    assert found == {("in/a.bin", "7", f"bytes={BLOCK}-{2 * BLOCK - 1}")}


def test_a_file_that_changes_underneath_is_an_error(server, storage):
    (file,) = storage.find("gs://b/in/a.bin")
    server.files["in/a.bin"] = (9, CONTENT[::-1])
    with pytest.raises(DataError, match=r"gs://b/in/a\.bin cannot be read: the file is not there"):
        storage.open(file).read(BLOCK + 5, 10)


def test_missing_credentials_are_an_error_that_says_what_to_set(server, storage):
    server.refused = True
    with pytest.raises(DataError, match=r"Anonymous caller.*; set GOOGLE_APPLICATION_CREDENTIALS"):
        storage.find("gs://b/in/a.bin")
