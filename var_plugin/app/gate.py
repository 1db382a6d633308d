"""What stands between the network and the page: hosts, origins, request bodies, uploads, logins, content policy.

Gradio answers requests of every host and origin, stores every upload before the page sees it, downloads the addresses
that a message names as its files, and lets a browser guess passwords without a pause. `page_gate` stops that.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from var_plugin.app.options import PageOptions
from var_plugin.web.gate import (
    ASGIApp,
    HttpGate,
    Message,
    Receive,
    RefusedRequestError,
    Scope,
    Send,
    header_values,
    send_refusal,
)
from var_plugin.web.limits import BodyLimits, ClientLeftError, check_body_headers, declared_length, read_body, replayed

MIN_FREE_BYTES = 10**9
"""Free space that uploads leave on the disk."""
FILES_IN_QUOTA = 20
"""The uploads that wait on the disk take at most as many bytes as this number of largest files."""
UPLOAD_SECONDS = 86_400.0
"""What was sent with a question is removed after this time."""
REMOVABLE_SECONDS = 3600.0
"""From this age on it is removed earlier, where a new upload needs the space."""

_UPLOAD_PATHS = frozenset({"/gradio_api/upload", "/upload"})
_LOGIN_PATH = "/login"
_JSON_BODY = BodyLimits(max_bytes=2**20, max_seconds=60)
_MULTIPART_BYTES = 2**20
"""What a form adds to the bytes of its files at most."""
# Gradio builds the address of the page from these, for whoever sends them.
_FORGED_HEADERS = (b"x-forwarded-host", b"x-gradio-server")
# Gradio's page runs inline scripts and compiles the page's own bridge; nothing is loaded from elsewhere.
CONTENT_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'"
)


class UploadQuota:
    """Bounds the files that uploads leave in a folder, by their size and by the free space of the disk.

    Args:
        folder: where Gradio stores uploads.
        max_bytes: of all files in it.
        owned: whether old files may be removed from it; False: something else may use the folder.
    """

    def __init__(self, folder: Path, max_bytes: int, *, owned: bool) -> None:
        self._folder, self._max_bytes, self._owned = folder, max_bytes, owned
        self._reserved = 0
        self._lock = threading.Lock()

    def clean(self, older_than: float = UPLOAD_SECONDS) -> None:
        """Remove files that were stored longer ago than so many seconds."""
        if self._owned:
            for stored, _, path in self._files():
                if time.time() - stored > older_than:
                    path.unlink(missing_ok=True)

    def reserve(self, size: int) -> None:
        """Reserve bytes for an upload until `release`.

        Raises:
            RefusedRequestError: 507, the quota or the disk would be exceeded.
        """
        with self._lock:
            self._check(size)
            self._reserved += size

    def release(self, size: int) -> None:
        """Release what was reserved; the files that the upload left are counted themselves."""
        with self._lock:
            self._reserved -= size

    def _check(self, size: int) -> None:
        needed = self._reserved + size
        if self._used() + needed > self._max_bytes:
            self.clean(REMOVABLE_SECONDS)
        if self._used() + needed > self._max_bytes:
            raise RefusedRequestError(507, "too many uploads wait to be used; try again later")
        if shutil.disk_usage(self._folder).free - needed < MIN_FREE_BYTES:
            raise RefusedRequestError(507, "the disk is nearly full; nothing can be uploaded")

    def _used(self) -> int:
        return sum(size for _, size, _ in self._files())

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        for path in self._folder.rglob("*"):
            try:
                status = path.lstat()
            except OSError:  # it is being moved or removed
                continue
            if path.is_file() and not path.is_symlink():
                yield status.st_mtime, status.st_size, path


class LoginThrottle:
    """Counts failed logins, and makes those who have too many wait.

    Args:
        per_address: failures of one address within `seconds` until it must wait.
        in_all: failures of all addresses within `seconds` until everybody must wait.
        seconds: how long a failure counts.
    """

    def __init__(self, *, per_address: int = 10, in_all: int = 200, seconds: float = 900.0) -> None:
        self._per_address, self._in_all, self._seconds = per_address, in_all, seconds
        self._failures: deque[tuple[float, str]] = deque()

    def wait_seconds(self, address: str) -> int:
        """Return how long an address has to wait until it may try again; 0: it may."""
        now = time.monotonic()
        while self._failures and now - self._failures[0][0] > self._seconds:
            self._failures.popleft()
        own = [at for at, who in self._failures if who == address]
        times = [at for at, _ in self._failures]
        waits = [
            failed[-limit] + self._seconds - now
            for failed, limit in ((own, self._per_address), (times, self._in_all))
            if len(failed) >= limit
        ]
        return round(max(waits, default=0.0) + 0.5) if waits else 0

    def begin(self, address: str) -> float:
        """Count a login as failed until it succeeds, so that simultaneous logins are limited, too. Return its time."""
        now = time.monotonic()
        self._failures.append((now, address))
        return now

    def succeed(self, address: str, begun: float) -> None:
        """Count a login no longer."""
        with suppress(ValueError):
            self._failures.remove((begun, address))


def credential_check(users: tuple[tuple[str, str], ...]) -> Callable[[str, str], bool]:
    """Return the function that tells whether a name and a password belong together, in constant time for all names."""
    known = [_digest(name, password) for name, password in users]

    def check(name: str, password: str) -> bool:
        given = _digest(name, password)
        matches = [hmac.compare_digest(each, given) for each in known]  # all of them, whichever matches
        return any(matches)

    return check


def _digest(name: str, password: str) -> bytes:
    return hashlib.sha256(f"{len(name)}:{name}:{password}".encode("utf-8", "surrogatepass")).digest()


class LimitedPage:
    """ASGI middleware that bounds request bodies, uploads and logins, and adds the content policy.

    Args:
        app: Gradio's application.
        quota: bounds what uploads store.
        max_file_bytes: largest file of an upload.
        files_per_upload: files that one request may hold.
    """

    def __init__(self, app: ASGIApp, quota: UploadQuota, *, max_file_bytes: int, files_per_upload: int) -> None:
        self._app, self._quota = app, quota
        self._max_upload_bytes = max_file_bytes * files_per_upload + _MULTIPART_BYTES
        self._throttle = LoginThrottle()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer with 400, 408, 411, 413, 415, 429 or 507."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = {**scope, "headers": [each for each in scope["headers"] if each[0].lower() not in _FORGED_HEADERS]}
        path = scope["path"].rstrip("/")
        send = partial(_send_with_policy, send)
        try:
            if path in _UPLOAD_PATHS:
                await self._upload(scope, receive, send)
            elif path == _LOGIN_PATH and scope["method"] == "POST":
                await self._login(scope, receive, send)
            else:
                body = await read_body(scope, receive, _JSON_BODY)
                _check_files(body)
                await self._app(scope, replayed(body, receive), send)
        except RefusedRequestError as refusal:
            await send_refusal(refusal, scope, send)
        except ClientLeftError:
            return

    async def _upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = scope["headers"]
        if scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        # Without a length nothing can be reserved; a chunked body has none that counts.
        if header_values(headers, b"transfer-encoding") or not header_values(headers, b"content-length"):
            raise RefusedRequestError(411, "an upload needs a Content-Length")
        check_body_headers(headers, self._max_upload_bytes)
        size = int(declared_length(headers))
        await asyncio.to_thread(self._quota.reserve, size)
        try:
            await self._app(scope, receive, send)
        finally:
            self._quota.release(size)

    async def _login(self, scope: Scope, receive: Receive, send: Send) -> None:
        address = str((scope.get("client") or ("",))[0])
        if seconds := self._throttle.wait_seconds(address):
            raise RefusedRequestError(
                429, "too many failed logins; try again later", [(b"retry-after", str(seconds).encode())]
            )
        begun = self._throttle.begin(address)
        body = await read_body(scope, receive, _JSON_BODY)

        async def send_result(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 400:
                self._throttle.succeed(address, begun)
            await send(message)

        await self._app(scope, replayed(body, receive), send_result)


def page_gate(app: ASGIApp, options: PageOptions, quota: UploadQuota) -> HttpGate:
    """Return Gradio's application behind all checks."""
    limited = LimitedPage(
        app,
        quota,
        max_file_bytes=options.max_file_bytes,
        files_per_upload=1 if options.read_only else FILES_IN_QUOTA,
    )
    return HttpGate(limited, bound=options.host, allowed_hosts=options.allowed_hosts, framed_by=options.framed_by)


async def _send_with_policy(send: Send, message: Message) -> None:
    if message["type"] == "http.response.start":
        headers = [*message.get("headers", ()), (b"content-security-policy", CONTENT_POLICY.encode())]
        message = {**message, "headers": headers}
    await send(message)


def _check_files(body: bytes) -> None:
    """Refuse a message whose files are addresses: Gradio would download them.

    Raises:
        RefusedRequestError: 400.
    """
    try:
        document = json.loads(body) if body else None
    except ValueError:  # not JSON: then Gradio finds no file in it either
        return
    except RecursionError:
        raise RefusedRequestError(400, "the body of the request is nested too deeply") from None
    if any(_is_address(each) for each in _objects(document)):
        raise RefusedRequestError(400, "a file of a message must have been uploaded before")


def _objects(document: Any) -> Iterator[dict[str, Any]]:
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _is_address(value: dict[str, Any]) -> bool:
    path = value.get("path")
    return isinstance(path, str) and "://" in path
