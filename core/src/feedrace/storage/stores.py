"""Stores of remote files: how each finds out what a file is, and gives a range of its bytes.

Each checks that the bytes are of the version that was found, so that two versions are never mixed:

- http and https: our own requests through the session of fsspec's file system, since its `cat_file`
  shows no headers: status, `Content-Range`, and `ETag` (or `Last-Modified`) of each answer;
- s3: the `ETag` of each answer of `get_object`;
- gs: each request names the generation;
- others: fsspec's `cat_file`, then `info`, whose version must be the one that was found.

Only the public methods of the file systems are called.
"""

import asyncio
import datetime
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from feedrace.errors import StorageError, cut, in_words
from feedrace.storage.blocks import BLOCK
from feedrace.storage.files import File
from feedrace.storage.retries import PassingError

PARALLEL = 32  # requests at a time
_VERSIONS = ("generation", "ETag", "etag", "content_md5", "mtime", "LastModified",
             "last_modified", "updated", "modified", "created")  # fmt: skip
_LIBRARIES = ("aiohttp", "urllib3", "requests", "google", "gcsfs")
# Of botocore and aiobotocore, most of whose errors are about settings.
_PASSING = {"HTTPClientError", "ConnectionError", "IncompleteReadError", "ResponseStreamingError",
            "ResponseParserError"}  # fmt: skip
_CREDENTIALS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or, for a public bucket, "
    "storage_options = { anon = true }",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS to a key file, or, for a public bucket, "
    'storage_options = { token = "anon" }',
    "http": 'give a header, such as storage_options = { headers = { Authorization = "..." } }',
}


class ChangedError(Exception):
    """The file is not the one that was found."""


def shown(url: str) -> str:
    """Return an address for messages, without what may be secret: password and query."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    query = "..." if parts.query else ""
    return cut(urlunsplit((parts.scheme, host, parts.path, query, "")), 300)


def protocol_of(url: str) -> str:
    """Return the protocol of an address, one name for those that mean the same."""
    protocol = url.partition("://")[0].lower()
    return {"s3a": "s3", "gcs": "gs", "https": "http"}.get(protocol, protocol)


def options_for(protocol: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of the file system: the user's, and that retries are made here alone."""
    options = dict(given)
    if protocol == "s3":
        config = {"max_pool_connections": PARALLEL, "retries": {"max_attempts": 0}}
        options["config_kwargs"] = {**config, **options.get("config_kwargs", {})}
    if protocol in ("s3", "gs"):
        options.setdefault("use_listings_cache", False)
    return options


def fetch(fs: Any, protocol: str, file: File, start: int, stop: int, seconds: float) -> bytes:
    """Return bytes of a file from its store.

    Raises `PassingError` for what may pass, `ChangedError` for another version, and `DataError` or
    what the library raises for all else.
    """
    of_store = {"http": _http_range, "s3": _s3_range, "gs": _gs_range}.get(protocol, _any_range)
    data = of_store(fs, file, start, stop, seconds)
    if len(data) != stop - start:
        raise PassingError(f"{len(data)} of {stop - start} bytes came")
    return data


def asked(protocol: str, url: str, call: Callable[[], Any]) -> Any:
    """Return what a call of a store's library returns; put its errors into ours.

    Raises `PassingError` for what may pass, `FileNotFoundError`, and `StorageError` with the words
    of the store.
    """
    try:
        return call()
    except (PassingError, ChangedError, StorageError, FileNotFoundError):
        raise
    except Exception as error:
        words = cut(in_words(error), 500)
        if _status(error) == 416:  # the file is shorter than it was
            raise ChangedError from error
        if _is_refused(error):
            hint = _CREDENTIALS.get(protocol, "give credentials in storage_options")
            raise StorageError(f"{shown(url)} cannot be read: {words}; {hint}") from error
        if _may_pass(error):
            raise PassingError(words) from error
        raise StorageError(
            f"{shown(url)} cannot be read: {words}; check the address and storage_options"
        ) from error


def version_of(info: Mapping[str, Any]) -> str:
    """Return what changes with the content in what a store says of a file; "" if nothing does."""
    for key in _VERSIONS:
        value = info.get(key)
        if value not in (None, ""):
            if isinstance(value, datetime.datetime):
                value = value.timestamp()
            return str(value)
    return ""


def http_file(fs: Any, url: str, seconds: float) -> File:
    """Return a file as it is on a server of HTTP now, by asking for its first byte."""
    status, headers, _ = _http_get(fs, url, 0, 1, seconds)
    if status == 206:
        size = headers.get("Content-Range", "").rpartition("/")[2]
    elif status == 416:  # the first byte is missing, so the file is empty
        size = "0"
    else:
        size = headers.get("Content-Length", "")
        # What one request fetches is read whole anyway, and needs no ranges.
        if size.isdecimal() and int(size) > BLOCK:
            raise _no_ranges(url)
    if not size.isdecimal():
        raise StorageError(
            f"{shown(url)}: the server does not say how long the file is; copy the file, or serve "
            f"it by a server that gives ranges"
        )
    return File(url, int(size), _http_version(headers))


def _http_range(fs: Any, file: File, start: int, stop: int, seconds: float) -> bytes:
    status, headers, body = _http_get(fs, file.path, start, stop, seconds)
    if status == 416 or _http_version(headers) != file.version:
        raise ChangedError
    if status == 200:
        if headers.get("Content-Length") != str(file.size):
            raise ChangedError
        if (start, stop) != (0, file.size):
            raise _no_ranges(file.path)
        return body
    given = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", headers.get("Content-Range", ""))
    if given is None or given[3] not in (str(file.size), "*"):
        raise ChangedError
    if (int(given[1]), int(given[2]) + 1) != (start, stop):
        raise PassingError(f"the answer has the range {given[0]!r}")
    return body


def _http_get(
    fs: Any, url: str, start: int, stop: int, seconds: float
) -> tuple[int, Mapping[str, str], bytes]:
    """Return status, headers and body of an answer of status 200, 206 or 416."""
    import aiohttp
    from fsspec.asyn import sync

    async def get() -> tuple[int, Any, bytes]:
        session = await fs.set_session()
        # Without compression, whose ranges would be those of the compressed file.
        headers = {"Accept-Encoding": "identity", "Range": f"bytes={start}-{stop - 1}"}
        given = {**fs.kwargs, "headers": {**fs.kwargs.get("headers", {}), **headers}}
        given.setdefault("timeout", aiohttp.ClientTimeout(total=seconds))
        async with session.get(fs.encode_url(url), **given) as answer:
            whole = answer.status == 200 and int(answer.headers.get("Content-Length", -1)) == stop
            read = answer.status == 206 or (whole and start == 0)
            return answer.status, answer.headers, await answer.read() if read else b""

    status, headers, body = asked("http", url, lambda: sync(fs.loop, get))
    if status in (404, 410):
        raise FileNotFoundError(url)
    if status in (401, 403, 407):
        hint = _CREDENTIALS["http"]
        raise StorageError(f"{shown(url)} cannot be read: the server answers {status}; {hint}")
    if status in (408, 425, 429) or status >= 500:
        after = headers.get("Retry-After", "")
        raise PassingError(
            f"the server answers {status}", float(after) if after.isdecimal() else 0.0
        )
    if status not in (200, 206, 416):
        raise StorageError(
            f"{shown(url)} cannot be read: the server answers {status}; check the address"
        )
    return status, headers, body


def _http_version(headers: Mapping[str, str]) -> str:
    return headers.get("ETag") or headers.get("Last-Modified", "")


def _no_ranges(url: str) -> StorageError:
    return StorageError(
        f"{shown(url)}: the server ignores ranges and would send the whole file each time; copy "
        f"the file, or serve it by a server that gives ranges"
    )


def _s3_range(fs: Any, file: File, start: int, stop: int, seconds: float) -> bytes:
    from fsspec.asyn import sync

    def get() -> bytes:
        bucket, key, version = fs.split_path(file.path)
        wanted = {"Bucket": bucket, "Key": key, "Range": f"bytes={start}-{stop - 1}"}
        if version:
            wanted["VersionId"] = version
        answer = fs.call_s3("get_object", timeout=seconds, **wanted)
        try:
            if version_of(answer) != file.version:
                raise ChangedError
            return bytes(sync(fs.loop, answer["Body"].read, timeout=seconds))
        finally:
            answer["Body"].close()

    return bytes(asked("s3", file.path, get))


def _gs_range(fs: Any, file: File, start: int, stop: int, seconds: float) -> bytes:
    def get() -> bytes:
        url = f"{fs.url(file.path)}&generation={file.version}"
        given = {"headers": {"Range": f"bytes={start}-{stop - 1}"}, "timeout": seconds}
        return bytes(fs.call("GET", url, **given)[1])

    return bytes(asked("gs", file.path, get))


def _any_range(fs: Any, file: File, start: int, stop: int, seconds: float) -> bytes:
    def get() -> bytes:
        data = bytes(fs.cat_file(file.path, start=start, end=stop))
        fs.invalidate_cache()
        info = fs.info(file.path)
        if (info["size"], version_of(info)) != (file.size, file.version):
            raise ChangedError
        return data

    return bytes(asked(protocol_of(file.path), file.path, get))


def _chain(error: BaseException) -> list[BaseException]:
    found = [error]
    while (cause := found[-1].__cause__) is not None:
        found.append(cause)
    return found


def _status(error: BaseException) -> int:
    """Return the status of HTTP that an error of a library stands for; 0 if it tells none."""
    for one in _chain(error):
        response = getattr(one, "response", None)  # of botocore
        if isinstance(response, dict):
            return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    code = getattr(error, "code", 0)  # of gcsfs
    return code if isinstance(code, int) else 0


def _is_refused(error: BaseException) -> bool:
    named = any("Credentials" in type(one).__name__ for one in _chain(error))
    google = type(error).__module__.startswith("google.auth")
    named = named or (google and type(error).__name__ != "TransportError")
    forbidden = "Forbidden" in str(error) and isinstance(error, OSError)  # as gcsfs has it
    return named or forbidden or isinstance(error, PermissionError) or _status(error) in (401, 403)


def _may_pass(error: BaseException) -> bool:
    status = _status(error)
    if status:
        return status in (408, 425, 429) or status >= 500
    if isinstance(error, asyncio.TimeoutError | ConnectionError):
        return True
    if isinstance(error, ValueError | FileExistsError | IsADirectoryError | NotADirectoryError):
        return False
    kinds = {kind.__name__ for kind in type(error).__mro__}
    library = type(error).__module__.startswith(_LIBRARIES)
    return isinstance(error, OSError) or library or bool(kinds & _PASSING)
