"""Saved queries that raise an alert when new footage matches: by a webhook, a command, or both.

They lie in one small JSON file that is written whole or not at all. What a query or a file name holds never reaches a
shell or an argument: a command gets the moment as JSON on its standard input, a webhook as its body. Webhooks are sent
to the hosts that the user named, nowhere else, and redirections are not followed.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, TypeAdapter, ValidationError

from var_plugin.errors import InvalidInputError, complaints
from var_plugin.types import Filter, Finite, Moment, Value

logger = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 10.0
_WAITS_SECONDS = (1.0, 5.0)
"""Between the attempts to deliver one alert."""


class SavedQuery(Value):
    """A text that is looked for in whatever comes in."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    text: Annotated[str, Field(min_length=1)]
    threshold: Finite
    """A moment of at least this score raises the alert; the scores of `search` for the same text show what is usual."""
    filter: Filter = Filter()
    webhook: str | None = None
    command: tuple[str, ...] | None = None
    """Program and arguments, run without a shell."""


class Alert(Value):
    """One match and how telling of it went."""

    query: str
    moment: Moment
    failures: tuple[str, ...] = ()
    """Empty when everyone who had to be told was."""


Search = Callable[[str, Filter], Sequence[Moment]]
"""Finds the moments for a text under a filter, best first."""

_QUERIES = TypeAdapter(tuple[SavedQuery, ...])


class SavedQueries:
    """The saved queries of one file; others may change it meanwhile.

    Args:
        file: where they are kept; it need not exist yet.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    @property
    def queries(self) -> tuple[SavedQuery, ...]:
        """The saved queries in order of saving.

        Raises:
            InvalidInputError: the file does not hold saved queries.
        """
        try:
            return _QUERIES.validate_json(self._file.read_bytes()) if self._file.exists() else ()
        except ValidationError as error:
            raise InvalidInputError(
                f"{self._file} does not hold saved queries",
                why=str(complaints(error)[0]),
                fix="mend or remove it",
            ) from error

    def save(self, query: SavedQuery) -> None:
        """Keep a query, in place of the one of the same name.

        Raises:
            InvalidInputError: it tells nobody, or its webhook is no address on the web.
        """
        if query.webhook is None and not query.command:
            raise InvalidInputError(f"the saved query {query.name} tells nobody", fix="give it a webhook or a command")
        if query.webhook is not None:
            _host(query.webhook)
        self._write((*(kept for kept in self.queries if kept.name != query.name), query))

    def remove(self, name: str) -> None:
        """Forget a query.

        Raises:
            InvalidInputError: there is none of that name.
        """
        known = self.queries
        left = tuple(query for query in known if query.name != name)
        if len(left) == len(known):
            raise InvalidInputError(f"no saved query is called {name}", fix="list them: var-plugin alerts list")
        self._write(left)

    def _write(self, queries: tuple[SavedQuery, ...]) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._file.with_name(f".{os.getpid()}.{self._file.name}")
        # Addresses and commands may hold secrets.
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(_QUERIES.dump_json(queries, indent=2))
        unfinished.replace(self._file)


class Alerts:
    """Tells of new footage that matches saved queries; one that is saved later counts from then on.

    Args:
        saved: the queries.
        hosts: the only hosts that webhooks are sent to.

    Raises:
        InvalidInputError: they cannot be read, or one of them names a host that is not allowed.
    """

    def __init__(self, saved: SavedQueries, hosts: Iterable[str] = ()) -> None:
        self._saved, self._hosts = saved, frozenset(host.lower() for host in hosts)
        for query in saved.queries:
            if query.webhook is not None:
                self._check_host(query.webhook)

    def check(self, video_ids: Iterable[str], search: Search) -> list[Alert]:
        """Look for all saved queries in newly added videos and tell of each moment above its threshold.

        One that cannot be delivered is tried three times, logged, and returned with its failures; it stops nothing.

        Args:
            video_ids: the videos that a receipt calls `stored`.
            search: `Index.search`, so to speak; its errors come through.
        """
        raised: list[Alert] = []
        queries = self._saved.queries
        for video_id in video_ids:
            for query in queries:
                if query.filter.video_ids is not None and video_id not in query.filter.video_ids:
                    continue
                wanted = query.filter.model_copy(update={"video_ids": (video_id,)})
                raised += [
                    Alert(query=query.name, moment=moment, failures=self._tell(query, moment))
                    for moment in search(query.text, wanted)
                    if moment.score >= query.threshold
                ]
        return raised

    def _tell(self, query: SavedQuery, moment: Moment) -> tuple[str, ...]:
        content = {"query": query.name, "text": query.text, "moment": moment.model_dump(mode="json")}
        body = json.dumps(content).encode()
        deliveries = [partial(self._post, query.webhook, body)] if query.webhook is not None else []
        deliveries += [partial(_run, query.command, body)] if query.command else []
        failures = tuple(filter(None, map(_attempt, deliveries)))
        for failure in failures:
            logger.error("the alert '%s' could not be delivered: %s", query.name, failure)
        return failures

    def _post(self, url: str, body: bytes) -> None:
        self._check_host(url)
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310  (checked)
        opener = urllib.request.build_opener(_NoRedirection)
        with opener.open(request, timeout=_TIMEOUT_SECONDS):
            pass

    def _check_host(self, url: str) -> None:
        host = _host(url)
        if host not in self._hosts:
            raise InvalidInputError(
                f"no webhook may be sent to {host}",
                why=f"allowed are {', '.join(sorted(self._hosts)) or 'no hosts'}",
                fix=f"allow it by name: --allow-host {host}",
            )


def _host(url: str) -> str:
    """Return the host of an address on the web."""
    address = urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise InvalidInputError(
            f"no webhook may be sent to {address.scheme}://{address.hostname or ''}",
            why="it is no address on the web",
            fix="name it as https://HOST/PATH",
        )
    return address.hostname


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    """A host that is allowed must not pass the alert on to one that is not."""

    def redirect_request(self, *arguments: Any, **options: Any) -> None:
        return None


def _run(command: Sequence[str], body: bytes) -> None:
    subprocess.run(command, input=body, check=True, timeout=_TIMEOUT_SECONDS, stdout=subprocess.DEVNULL)  # noqa: S603


def _attempt(deliver: Callable[[], None]) -> str | None:
    """Try several times; return why the last attempt failed, or nothing."""
    failure = None
    for wait in (0.0, *_WAITS_SECONDS):
        time.sleep(wait)
        try:
            deliver()
        except InvalidInputError as error:  # no host that was allowed; another attempt changes nothing
            return str(error)
        except (OSError, urllib.error.URLError, subprocess.SubprocessError, ValueError) as error:
            failure = f"{type(error).__name__}: {error}"
        else:
            return None
    return failure
