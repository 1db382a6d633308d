"""Saved queries that raise an alert when new footage matches, by a webhook, a command, or both.

The queries are stored in one JSON file, which is written atomically. The text of a query or a file name is never passed
to a shell or as an argument. A command reads the moment as JSON from its standard input. A webhook receives it as the
request body. Webhooks are sent only to allowed hosts, and redirects are not followed. Each delivery has a timeout, and
the body of the response is not read.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.request import getproxies, proxy_bypass

from pydantic import Field, TypeAdapter, ValidationError

from var_plugin.errors import InvalidInputError, field_errors, os_error_message
from var_plugin.media.files import resolve_target
from var_plugin.private_files import create_private_file, make_private_folder
from var_plugin.types import MAX_QUERY_LENGTH, Filter, Finite, Moment, Value

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 10.0
"""Timeout of one attempt, from connecting to the response status, or to the exit of the command."""
_BUDGET_SECONDS = 30.0
"""Total time of all attempts per receiver in one check."""
_WAITS_SECONDS = (1.0, 5.0)
"""Delays between the attempts to deliver one alert."""
_RECEIVERS_AT_ONCE = 8
_MAX_FILE_BYTES = 4 << 20


class SavedQuery(Value):
    """A text query that is run on new footage."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    text: Annotated[str, Field(min_length=1)]
    threshold: Finite
    """Minimum score of a moment that raises the alert. `search` with the same text shows typical scores."""
    filter: Filter = Filter()
    webhook: str | None = None
    command: tuple[str, ...] | None = None
    """Program and arguments, run without a shell."""


class Alert(Value):
    """A match with the result of its delivery."""

    query: str
    moment: Moment
    failures: tuple[str, ...] = ()
    """Reasons of failed deliveries. Empty if all receivers accepted the alert."""


Search = Callable[[str, Filter], Sequence[Moment]]
"""Returns the moments for a text and a filter, best first."""

_Send = Callable[[bytes, float], None]
"""Sends a body with a timeout in seconds. Raises an exception on failure."""

_QUERIES = TypeAdapter(tuple[SavedQuery, ...])


class DeliveryError(Exception):
    """A receiver did not accept an alert. The message contains only the host of its URL and no part of its response."""


class SavedQueries:
    """The saved queries of a file. Other processes may change the file at any time.

    Args:
        file: path of the file. It need not exist yet.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    @property
    def queries(self) -> tuple[SavedQuery, ...]:
        """The saved queries, oldest first.

        Raises:
            InvalidInputError: the file cannot be read or does not contain saved queries.
        """
        try:
            # Non-blocking: opening a FIFO at this path would block forever.
            descriptor = os.open(self._file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise self._unusable("it is not a regular file")
                content = file.read(_MAX_FILE_BYTES + 1)
            if len(content) > _MAX_FILE_BYTES:
                raise self._unusable(f"it is larger than {_MAX_FILE_BYTES >> 20} MiB")
            return _QUERIES.validate_json(content)
        except FileNotFoundError:
            return ()
        except ValidationError as error:
            raise self._unusable(str(field_errors(error)[0])) from error
        except OSError as error:
            raise InvalidInputError(
                f"cannot read {self._file}",
                why=os_error_message(error),
                fix="check its permissions, or name another: --alerts",
            ) from error

    def save(self, query: SavedQuery) -> None:
        """Store a query. It replaces a query of the same name.

        Raises:
            InvalidInputError: the query has no receiver, its text is too long, its webhook is not an HTTP URL, or the
                file cannot be written.
        """
        if query.webhook is None and not query.command:
            raise InvalidInputError(
                f"saved query '{query.name}' has no webhook or command", fix="add --webhook or --command"
            )
        if len(query.text) > MAX_QUERY_LENGTH:
            raise InvalidInputError(
                f"the text of saved query '{query.name}' has {len(query.text)} characters",
                why=f"the limit is {MAX_QUERY_LENGTH}",
                fix="describe the moment in a sentence",
            )
        if query.webhook is not None:
            _address(query.webhook)
        self._write((*(other for other in self.queries if other.name != query.name), query))

    def remove(self, name: str) -> None:
        """Delete a query.

        Raises:
            InvalidInputError: no query has that name, or the file cannot be written.
        """
        queries = self.queries
        others = tuple(query for query in queries if query.name != name)
        if len(others) == len(queries):
            raise InvalidInputError(f"no saved query is called {name}", fix="list them: var-plugin alerts list")
        self._write(others)

    def _write(self, queries: tuple[SavedQuery, ...]) -> None:
        try:
            file = resolve_target(self._file)  # keeps a symbolic link
            unfinished = file.with_name(f".{os.getpid()}.{file.name}")
            if not file.parent.exists():
                make_private_folder(file.parent)
            # URLs and commands may contain secrets.
            with create_private_file(unfinished) as opened:
                opened.write(_QUERIES.dump_json(queries, indent=2))
            unfinished.replace(file)
        except OSError as error:
            raise InvalidInputError(
                f"cannot write {self._file}", why=os_error_message(error), fix="name another file: --alerts"
            ) from error

    def _unusable(self, why: str) -> InvalidInputError:
        return InvalidInputError(f"{self._file} does not hold saved queries", why=why, fix="correct or remove the file")


class Alerts:
    """Raise alerts for new footage that matches saved queries. Queries saved later apply to later checks.

    Args:
        saved: the queries.
        hosts: the allowed hosts of webhooks.
        stop: once it is set, failed deliveries are not retried.

    Raises:
        InvalidInputError: the queries cannot be read, or the host of a webhook is not allowed.
    """

    def __init__(self, saved: SavedQueries, hosts: Iterable[str] = (), *, stop: threading.Event | None = None) -> None:
        self._saved, self._hosts = saved, frozenset(host.lower() for host in hosts)
        self._stop = stop or threading.Event()
        self._failing: set[tuple[str, str]] = set()
        """Query name and kind of the receivers whose last delivery failed."""
        for query in saved.queries:
            if query.webhook is not None:
                self._allowed(query.webhook)

    def check(
        self,
        video_ids: Iterable[str],
        search: Search,
        *,
        earlier: Mapping[str, Sequence[Alert]] | None = None,
    ) -> list[Alert]:
        """Run all saved queries on new videos and deliver an alert for each moment that reaches the threshold.

        A delivery is attempted three times, or once if the last delivery to the receiver failed. A failure is logged
        and returned with its alert. Deliveries to other receivers continue. Receivers run concurrently, each for at
        most 30 s.

        Args:
            video_ids: the videos with the status `stored` in a receipt.
            search: as `Index.search`. Its errors are propagated.
            earlier: alerts raised for an earlier version of the same footage, by video. Moments that overlap them are
                the same event and raise no further alert.
        """
        queries = self._saved.queries
        matches = [
            (query, moment)
            for video_id in video_ids
            for query, moment in _matches(queries, video_id, search)
            if not any(_same_event(alert, query, moment) for alert in (earlier or {}).get(video_id, ()))
        ]
        with ThreadPoolExecutor(_RECEIVERS_AT_ONCE, "alerts") as pool:
            deliveries = {
                (query.name, kind): pool.submit(
                    self._deliver,
                    (query.name, kind),
                    send,
                    [_body(query, moment) for other, moment in matches if other is query],
                )
                for query in queries
                for kind, send in self._receivers(query)
            }
            outcomes = {key: iter(delivery.result()) for key, delivery in deliveries.items()}
        return [
            Alert(
                query=query.name,
                moment=moment,
                failures=tuple(
                    failure for (name, _), each in outcomes.items() if name == query.name and (failure := next(each))
                ),
            )
            for query, moment in matches
        ]

    def _receivers(self, query: SavedQuery) -> Iterator[tuple[str, _Send]]:
        if query.webhook is not None:
            yield "webhook", partial(self._post, query.webhook)
        if query.command:
            yield "command", partial(_run, query.command)

    def _deliver(self, receiver: tuple[str, str], send: _Send, bodies: Sequence[bytes]) -> list[str | None]:
        """Send alerts to one receiver. Return the reason of failure, or None, for each."""
        deadline = time.monotonic() + _BUDGET_SECONDS
        failures: list[str | None] = []
        for body in bodies:
            failure = self._attempt(send, body, deadline, repeat=receiver not in self._failing)
            if failure:
                self._failing.add(receiver)
                logger.error("the alert '%s' could not be delivered: %s", receiver[0], failure)
            else:
                self._failing.discard(receiver)
            failures.append(failure)
        return failures

    def _attempt(self, send: _Send, body: bytes, deadline: float, *, repeat: bool) -> str | None:
        """Attempt a delivery until it succeeds or the deadline passes. Return the last failure, or None on success.

        Args:
            send: sends the body.
            body: the alert as JSON.
            deadline: end of all attempts, in seconds of `time.monotonic`.
            repeat: retry after a failure.
        """
        failure = f"its receiver did not accept earlier alerts within {_BUDGET_SECONDS:.0f} s"
        for wait in (0.0, *(_WAITS_SECONDS if repeat else ())):
            if wait and self._stop.wait(wait):
                break
            seconds = min(_TIMEOUT_SECONDS, deadline - time.monotonic())
            if seconds <= 0:
                break
            try:
                send(body, seconds)
            except InvalidInputError as error:  # the host is not allowed, a retry would fail again
                return str(error)
            except DeliveryError as error:
                failure = str(error)
            except Exception as error:  # a failing receiver must not stop the other alerts
                failure = type(error).__name__
            else:
                return None
        return failure

    def _post(self, url: str, body: bytes, seconds: float) -> None:
        """Post a body to a webhook. The timeout covers the whole exchange, even with a slow server."""
        address = self._allowed(url)
        # Unlike `asyncio.run`, closing the loop does not wait for a pending DNS lookup.
        loop = asyncio.new_event_loop()
        try:
            status = loop.run_until_complete(_status(address, body, seconds))
        finally:
            loop.close()
        if not 200 <= status < 300:
            raise DeliveryError(f"{address.host} answers with status {status}")

    def _allowed(self, url: str) -> httpx.URL:
        address = _address(url)
        if address.host.lower() not in self._hosts:
            raise InvalidInputError(
                f"webhooks to {address.host} are not allowed",
                why=f"the allowed hosts are {', '.join(sorted(self._hosts)) or 'none'}",
                fix=f"allow it by name: --allow-host {address.host}",
            )
        return address


async def _status(address: httpx.URL, body: bytes, seconds: float) -> int:
    """Post a body and return the status code of the response. The response body is not read."""
    import httpx

    headers = {"Content-Type": "application/json"}
    if address.userinfo:
        user = f"{address.username}:{address.password}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(user).decode()}"
    request = httpx.Request("POST", address.copy_with(userinfo=b""), content=body, headers=headers)
    proxy = None if proxy_bypass(address.host) else getproxies().get(address.scheme)
    try:
        # `httpx.AsyncClient` is not used, because it logs the URL, which may contain a secret, and the reason phrase.
        async with asyncio.timeout(seconds), httpx.AsyncHTTPTransport(proxy=proxy) as transport:
            response = await transport.handle_async_request(request)
            await response.aclose()
            return response.status_code
    except TimeoutError:
        reason = f"does not answer within {seconds:.0f} s"
    except httpx.ConnectError as error:
        reason = f"cannot be reached: {error}"
    except httpx.ProtocolError:
        reason = "does not answer with HTTP"
    except (httpx.TransportError, OSError) as error:
        reason = f"broke the connection ({type(error).__name__})"
    raise DeliveryError(f"{address.host} {reason}")


def _run(command: Sequence[str], body: bytes, seconds: float) -> None:
    """Run a command with a body on its standard input. On timeout, kill its process group."""
    try:
        process = subprocess.Popen(  # noqa: S603  (the user's own command, without a shell)
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise DeliveryError(f"cannot run {command[0]}: {os_error_message(error)}") from None
    try:
        process.communicate(body, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise DeliveryError(f"{command[0]} did not end within {seconds:.0f} s and was killed") from None
    finally:
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode:
        raise DeliveryError(f"{command[0]} ended with exit status {process.returncode}; run it by hand to see why")


def _matches(queries: Iterable[SavedQuery], video_id: str, search: Search) -> Iterator[tuple[SavedQuery, Moment]]:
    for query in queries:
        if query.filter.video_ids is None or video_id in query.filter.video_ids:
            for moment in search(query.text, query.filter.model_copy(update={"video_ids": (video_id,)})):
                if moment.score >= query.threshold:
                    yield query, moment


def _body(query: SavedQuery, moment: Moment) -> bytes:
    content = {"query": query.name, "text": query.text, "moment": moment.model_dump(mode="json")}
    return json.dumps(content).encode()


def _same_event(alert: Alert, query: SavedQuery, moment: Moment) -> bool:
    other = alert.moment
    return alert.query == query.name and moment.start <= other.end and other.start <= moment.end


def _address(url: str) -> httpx.URL:
    """Parse an HTTP URL.

    Raises:
        InvalidInputError: the URL is not a valid HTTP URL.
    """
    import httpx

    try:
        address = httpx.URL(url)
        host, port = address.host, address.port
    except (httpx.InvalidURL, ValueError):  # the message may contain a password
        host, port = "", None
    if not host or address.scheme not in ("http", "https") or port == 0:
        raise InvalidInputError(
            "the address of the webhook is invalid",
            why="it is not an http or https address",
            fix="write it as https://HOST/PATH",
        )
    return address


def masked(url: str) -> str:
    """Return the URL of a webhook with user, password and query string masked."""
    try:
        address = _address(url)
    except InvalidInputError:
        return "***"
    if address.userinfo:
        address = address.copy_with(userinfo=b"***")
    if address.query:
        address = address.copy_with(query=b"***")
    return str(address)
