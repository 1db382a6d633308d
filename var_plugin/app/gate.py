"""ASGI middleware of the page: checks of hosts, origins, bodies, uploads and logins, and a content security policy.

Gradio itself accepts requests for any host and from any origin, stores every upload at once, downloads URLs that a
message names as files, and does not limit failed logins. `page_gate` adds these checks.
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
from var_plugin.web.limits import (
    BodyLimits,
    ClientDisconnectedError,
    check_body_headers,
    declared_length,
    read_body,
    replay_body,
)
from var_plugin.web.same_origin import (
    ASGIApp,
    Message,
    Receive,
    RefusedRequestError,
    SameOriginMiddleware,
    Scope,
    Send,
    header_values,
    send_refusal,
)

MIN_FREE_BYTES = 10**9
"""Free disk space that uploads must leave."""
FILES_IN_QUOTA = 20
"""The quota of stored uploads, in files of the maximum size."""
UPLOAD_SECONDS = 86_400.0
"""Attachments of messages are deleted after this time."""
REMOVABLE_SECONDS = 3600.0
"""Attachments older than this are deleted if a new upload needs the space."""

_UPLOAD_PATHS = frozenset({"/gradio_api/upload", "/upload"})
_LOGIN_PATH = "/login"
_JSON_BODY = BodyLimits(max_bytes=2**20, max_seconds=60)
_MULTIPART_BYTES = 2**20
"""Maximum overhead of a multipart form over its files."""
# Gradio builds the address of the page from these headers. Any client can send them.
_FORGED_HEADERS = (b"x-forwarded-host", b"x-gradio-server")
# Gradio needs inline scripts, and `unsafe-eval` for the bridge. Nothing is loaded from other hosts.
CONTENT_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'"
)


class UploadQuota:
    """Limits stored uploads by their total size and by the free disk space.

    Args:
        folder: Gradio's upload folder.
        max_bytes: total size of the files in the folder.
        owned: whether old files may be deleted. False if other programs may use the folder.
    """

    def __init__(self, folder: Path, max_bytes: int, *, owned: bool) -> None:
        self._folder, self._max_bytes, self._owned = folder, max_bytes, owned
        self._reserved = 0
        self._lock = threading.Lock()

    def clean(self, older_than: float = UPLOAD_SECONDS) -> None:
        """Delete files older than `older_than` seconds."""
        if self._owned:
            for stored, _, path in self._files():
                if time.time() - stored > older_than:
                    path.unlink(missing_ok=True)

    def reserve(self, size: int) -> None:
        """Reserve bytes for an upload until `release`.

        Raises:
            RefusedRequestError: 507, the upload exceeds the quota or the free disk space.
        """
        with self._lock:
            self._check(size)
            self._reserved += size

    def release(self, size: int) -> None:
        """Release reserved bytes. The stored files count by themselves."""
        with self._lock:
            self._reserved -= size

    def _check(self, size: int) -> None:
        needed = self._reserved + size
        if self._used() + needed > self._max_bytes:
            self.clean(REMOVABLE_SECONDS)
        if self._used() + needed > self._max_bytes:
            raise RefusedRequestError(507, "too many uploads are stored; try again later")
        if shutil.disk_usage(self._folder).free - needed < MIN_FREE_BYTES:
            raise RefusedRequestError(507, "the disk is nearly full; uploads are refused")

    def _used(self) -> int:
        return sum(size for _, size, _ in self._files())

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        for path in self._folder.rglob("*"):
            try:
                status = path.lstat()
            except OSError:  # the file was moved or deleted meanwhile
                continue
            if path.is_file() and not path.is_symlink():
                yield status.st_mtime, status.st_size, path


class LoginThrottle:
    """Limits failed logins per address and in total.

    Args:
        per_address: failures of one address within `seconds` before it must wait.
        total: failures of all addresses within `seconds` before all must wait.
        seconds: how long a failure counts.
    """

    def __init__(self, *, per_address: int = 10, total: int = 200, seconds: float = 900.0) -> None:
        self._per_address, self._total, self._seconds = per_address, total, seconds
        self._failures: deque[tuple[float, str]] = deque()

    def wait_seconds(self, address: str) -> int:
        """Return how long an address must wait before the next login; 0: not at all."""
        now = time.monotonic()
        while self._failures and now - self._failures[0][0] > self._seconds:
            self._failures.popleft()
        own = [failed_at for failed_at, client in self._failures if client == address]
        every = [failed_at for failed_at, _ in self._failures]
        waits = [
            times[-limit] + self._seconds - now
            for times, limit in ((own, self._per_address), (every, self._total))
            if len(times) >= limit
        ]
        return round(max(waits, default=0.0) + 0.5) if waits else 0

    def begin(self, address: str) -> float:
        """Count a login as failed until it succeeds, which also limits simultaneous logins. Return its start time."""
        now = time.monotonic()
        self._failures.append((now, address))
        return now

    def succeed(self, address: str, started: float) -> None:
        """Remove a login from the failures."""
        with suppress(ValueError):
            self._failures.remove((started, address))


def credential_check(users: tuple[tuple[str, str], ...]) -> Callable[[str, str], bool]:
    """Return a function that checks a name and a password in constant time."""
    digests = [_digest(name, password) for name, password in users]

    def check(name: str, password: str) -> bool:
        digest = _digest(name, password)
        matches = [hmac.compare_digest(each, digest) for each in digests]  # compare all, whichever matches
        return any(matches)

    return check


def _digest(name: str, password: str) -> bytes:
    return hashlib.sha256(f"{len(name)}:{name}:{password}".encode("utf-8", "surrogatepass")).digest()


class LimitedPage:
    """ASGI middleware that limits bodies, uploads and logins, and adds the content security policy.

    Args:
        app: Gradio's application.
        quota: limits stored uploads.
        max_file_bytes: maximum size of an uploaded file.
        files_per_upload: maximum number of files per request.
    """

    def __init__(self, app: ASGIApp, quota: UploadQuota, *, max_file_bytes: int, files_per_upload: int) -> None:
        self._app, self._quota = app, quota
        self._max_upload_bytes = max_file_bytes * files_per_upload + _MULTIPART_BYTES
        self._throttle = LoginThrottle()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward the request, or answer with 400, 408, 411, 413, 415, 429 or 507."""
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
                await self._app(scope, replay_body(body, receive), send)
        except RefusedRequestError as refusal:
            await send_refusal(refusal, scope, send)
        except ClientDisconnectedError:
            return

    async def _upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = scope["headers"]
        if scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        # Reserving space needs the length. A chunked body has none.
        if header_values(headers, b"transfer-encoding") or not header_values(headers, b"content-length"):
            raise RefusedRequestError(411, "the upload has no Content-Length header")
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
        started = self._throttle.begin(address)
        body = await read_body(scope, receive, _JSON_BODY)

        async def send_result(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 400:
                self._throttle.succeed(address, started)
            await send(message)

        await self._app(scope, replay_body(body, receive), send_result)


def page_gate(app: ASGIApp, options: PageOptions, quota: UploadQuota) -> SameOriginMiddleware:
    """Return Gradio's application with all checks in front of it."""
    limited = LimitedPage(
        app,
        quota,
        max_file_bytes=options.max_file_bytes,
        files_per_upload=1 if options.read_only else FILES_IN_QUOTA,
    )
    return SameOriginMiddleware(
        limited, listen_host=options.host, allowed_hosts=options.allowed_hosts, frame_ancestors=options.framed_by
    )


async def _send_with_policy(send: Send, message: Message) -> None:
    if message["type"] == "http.response.start":
        headers = [*message.get("headers", ()), (b"content-security-policy", CONTENT_POLICY.encode())]
        message = {**message, "headers": headers}
    await send(message)


def _check_files(body: bytes) -> None:
    """Refuse a message whose files are URLs, which Gradio would download.

    Raises:
        RefusedRequestError: 400.
    """
    try:
        document = json.loads(body) if body else None
    except ValueError:  # not JSON, so Gradio finds no file in it
        return
    except RecursionError:
        raise RefusedRequestError(400, "the body of the request is nested too deeply") from None
    if any(_names_url(each) for each in _objects(document)):
        raise RefusedRequestError(400, "the message refers to a file that was not uploaded")


def _objects(document: Any) -> Iterator[dict[str, Any]]:
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _names_url(value: dict[str, Any]) -> bool:
    path = value.get("path")
    return isinstance(path, str) and "://" in path
