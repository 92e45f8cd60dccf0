"""The servers that tests and benchmarks read from."""

from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from feedrace_testing import servers


def get(url, first=None, last=None):
    headers = {} if first is None else {"Range": f"bytes={first}-{last}"}
    with urlopen(Request(url, headers=headers), timeout=10) as answer:
        return answer.status, answer.read(), answer.headers


def test_a_range_is_given_with_its_place_and_a_version():
    with servers.RangeServer({"in/a.bin": b"0123456789"}) as server:
        status, body, headers = get(f"{server.url}/in/a.bin", 2, 4)
        assert (status, body) == (206, b"234")
        assert headers["Content-Range"] == "bytes 2-4/10"
        before = headers["ETag"]
        server.files["in/a.bin"] = b"9876543210"
        assert get(f"{server.url}/in/a.bin", 8, 99)[:2] == (206, b"10")
        assert get(f"{server.url}/in/a.bin")[2]["ETag"] != before
        assert [request.status for request in server.requests] == [206, 206, 200]
        for path, first, status in (("a.bin", 0, 404), ("in/a.bin", 10, 416)):
            with pytest.raises(HTTPError) as caught:
                get(f"{server.url}/{path}", first, 20)
            assert caught.value.code == status
            caught.value.close()


def test_requests_fail_as_the_test_says():
    called = []
    with servers.RangeServer({"a": b"0123456789"}) as server:
        server.fail(503, "reset", "cut", lambda: called.append(1), None)
        with pytest.raises(HTTPError) as caught:
            get(f"{server.url}/a", 0, 9)
        caught.value.close()
        with pytest.raises(OSError):
            get(f"{server.url}/a", 0, 9)
        with pytest.raises(Exception, match="IncompleteRead"):
            get(f"{server.url}/a", 0, 9)
        assert get(f"{server.url}/a", 0, 9)[1] == b"0123456789"
        assert called == [1]
        server.ranges = False
        assert get(f"{server.url}/a", 2, 4)[:2] == (200, b"0123456789")


def test_a_folder_is_served_by_a_process_of_its_own(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a").write_bytes(b"0123456789")
    (tmp_path / "b").write_bytes(b"secret")
    with servers.serving(tmp_path / "data", 0.0) as url:
        assert get(f"{url}/a", 2, 4)[1] == b"234"
        with pytest.raises(HTTPError) as caught:
            get(f"{url}/../b")
        caught.value.close()
