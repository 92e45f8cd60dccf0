"""Servers on loopback that give files by ranges, and go wrong when a test says so.

    with RangeServer({"a.bin": content}) as server:
        server.fail(503, "cut")  # the next two requests
        source = make(path=f"{server.url}/a.bin")
        assert server.requests[0].status == 206

`python -m feedrace_testing.servers FOLDER` serves the files of a folder until its standard input
ends, for benchmarks: it prints its address first.
"""

import contextlib
import hashlib
import re
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

_HALF = 2  # of a body is sent before it is cut


class Request(NamedTuple):
    """A request that a server answered: its path, what it asked for, and the status of the answer.

    first, last: bytes, both included; -1 if it named no range.
    """

    path: str
    first: int
    last: int
    status: int


class RangeServer:
    """A server of HTTP that gives ranges of files.

    files: contents by name; the dict is read at each request, so that a test can change it; or a
        folder.
    latency: seconds before each answer.
    ranges: False to send whole files always.
    etags: False to name no version.

    `requests` lists what was asked, and `headers` with which headers. `broken` is called with each
    request that `fail` says nothing of, and returns what goes wrong with it. `retry_after`: what
    the header of that name says in answers that are no success. Use it as a context manager.
    """

    def __init__(
        self,
        files: Mapping[str, bytes] | Path,
        *,
        latency: float = 0.0,
        ranges: bool = True,
        etags: bool = True,
    ) -> None:
        self.files = files
        self.latency, self.ranges, self.etags = latency, ranges, etags
        self.requests: list[Request] = []
        self.headers: list[Mapping[str, str]] = []
        self.retry_after = ""
        self._faults: deque[object] = deque()
        self.broken: Callable[[Request], object] = lambda request: None

        class Handler(_Handler):
            server_of_ranges = self

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def fail(self, *faults: object) -> None:
        """Let the next requests fail, in this order.

        faults: a status (503), "reset" (the connection breaks before an answer), "cut" (in the
        middle of the body), a function of no argument that is called before the answer, or None: it
        goes well.
        """
        self._faults.extend(faults)

    def next_fault(self, request: Request) -> object:
        """Return what goes wrong with a request, or None."""
        try:
            return self._faults.popleft()
        except IndexError:
            return self.broken(request)

    def content(self, name: str) -> bytes | Path | None:
        """Return the content of a file, or its path, or None if there is none."""
        if not isinstance(self.files, Path):
            return self.files.get(name)
        path = self.files / name
        inside = path.resolve().is_relative_to(self.files.resolve())
        return path if inside and path.is_file() else None

    def __enter__(self) -> "RangeServer":
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # connections that clients keep open would block it
    request_queue_size = 128

    def handle_error(self, *args: Any) -> None:
        """Say nothing: clients of tests hang up."""


class _Handler(BaseHTTPRequestHandler):
    server_of_ranges: RangeServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        server = self.server_of_ranges
        if server.latency:
            time.sleep(server.latency)
        name = unquote(urlsplit(self.path).path).lstrip("/")
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        first, last = (int(asked[1]), int(asked[2])) if asked else (-1, -1)
        fault = server.next_fault(Request(name, first, last, 0))
        if callable(fault):
            fault()
        content = server.content(name)
        status, size = self._status(content, first, fault)
        server.headers.append(dict(self.headers))
        server.requests.append(Request(name, first, last, status))
        if fault == "reset":
            # A connection that is closed at once, without waiting for what was sent.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            return
        self.send_response(status)
        if content is None or status not in (200, 206):
            if status == 416:
                self.send_header("Content-Range", f"bytes */{size}")
            if server.retry_after:
                self.send_header("Retry-After", server.retry_after)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start, stop = (first, min(last + 1, size)) if status == 206 else (0, size)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        if server.etags:
            self.send_header("ETag", _etag(content))
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        if self.command != "HEAD":
            self._send(content, start, stop, cut=fault == "cut")

    def _status(self, content: bytes | Path | None, first: int, fault: object) -> tuple[int, int]:
        """Return the status of the answer, and the size of the file."""
        if content is None:
            return 404, 0
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        if isinstance(fault, int):
            return fault, size
        if first < 0 or not self.server_of_ranges.ranges:
            return 200, size
        return (206 if first < size else 416), size

    def _send(self, content: bytes | Path, start: int, stop: int, *, cut: bool) -> None:
        if cut:
            stop = start + (stop - start) // _HALF
            self.close_connection = True
        if isinstance(content, bytes):
            self.wfile.write(content[start:stop])
            return
        with open(content, "rb") as file:
            self.connection.sendfile(file, start, stop - start)


def _etag(content: bytes | Path) -> str:
    if isinstance(content, bytes):
        return f'"{hashlib.sha1(content).hexdigest()}"'
    status = content.stat()
    return f'"{status.st_mtime_ns:x}-{status.st_size:x}"'


class S3Server:
    """A server of S3, which is moto's, with buckets of its own.

    `options` are the storage options that lead to it. Use it as a context manager; it needs
    `moto[server]` and `s3fs`. Servers of one process share their buckets.
    """

    def __init__(self) -> None:
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Handler(WSGIRequestHandler):  # type: ignore[misc]
            def log_request(self, *args: Any) -> None:
                """Say nothing."""

        self.requests: list[tuple[str, str]] = []
        self._faults: deque[tuple[str, object]] = deque()
        self._store: Any = None
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server(
            "127.0.0.1", 0, self._answer, threaded=True, request_handler=Handler
        )
        self.options = {
            "key": "test",
            "secret": "test",
            "endpoint_url": f"http://127.0.0.1:{self._server.server_port}",
        }

    def fail(self, method: str, *faults: object) -> None:
        """Let the next requests of a method ("GET") fail.

        faults: a status with a code of S3 ("503 SlowDown"), or "cut": half of the body is missing.
        """
        self._faults.extend((method, fault) for fault in faults)

    def put(self, bucket: str, files: Mapping[str, bytes]) -> None:
        """Write files into a bucket, which is made."""
        if self._store is None:
            import s3fs

            self._store = s3fs.S3FileSystem(skip_instance_cache=True, **self.options)
        if not self._store.exists(bucket):
            self._store.mkdir(bucket)
        for name, content in files.items():
            self._store.pipe_file(f"{bucket}/{name}", content)

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.requests.append((method, path))
        if not self._faults or self._faults[0][0] != method:
            return self._app(environ, start_response)  # type: ignore[no-any-return]
        fault = str(self._faults.popleft()[1])
        if fault == "cut":
            body = b"".join(self._app(environ, start_response))
            return [body[: len(body) // _HALF]]
        code = fault.partition(" ")[2]
        start_response(fault, [("Content-Type", "application/xml")])
        return [f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()]

    def __enter__(self) -> "S3Server":
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def main(arguments: list[str]) -> None:
    """Serve a folder, with some latency, until standard input ends."""
    import sys

    folder, *latency = arguments
    with RangeServer(Path(folder), latency=float(latency[0]) if latency else 0.0) as server:
        print(server.url, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            sys.stdin.read()


@contextlib.contextmanager
def serving(folder: Path, latency: float) -> Iterator[str]:
    """Yield the address of a server of a folder that runs in a process of its own."""
    import subprocess
    import sys

    command = [sys.executable, "-m", "feedrace_testing.servers", str(folder), str(latency)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as made:
        if made.stdin is None or made.stdout is None:
            raise AssertionError("both are pipes")
        yield made.stdout.readline().strip()
        made.stdin.close()


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
