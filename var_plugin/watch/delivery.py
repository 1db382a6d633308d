"""Deliver alerts to receivers: a webhook, an MQTT broker, or a command.

The text of an alert or a file name is never passed to a shell or as an argument. A command reads the body from its
standard input. Webhooks and brokers are contacted only on allowed hosts, and redirects are not followed. Each delivery
has a timeout, and the body of a response is not read.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import math
import os
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import unquote
from urllib.request import getproxies, proxy_bypass

from var_plugin.config import require
from var_plugin.errors import InvalidInputError, MissingDependencyError, os_error_message

if TYPE_CHECKING:
    import httpx
    from paho.mqtt.client import Client
    from paho.mqtt.reasoncodes import ReasonCode

logger = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 10.0
"""Timeout of one attempt, from connecting to the response, or to the exit of the command."""
_BUDGET_SECONDS = 30.0
"""Total time of all attempts per receiver in one check."""
_WAITS_SECONDS = (1.0, 5.0)
"""Delays between the attempts to deliver one alert."""
_MAX_PACKET_BYTES = 65_536
"""Maximum size of a packet from a broker."""
_MQTT_PORTS = {"mqtt": 1883, "mqtts": 8883}

Send = Callable[[bytes, float], None]
"""Sends a body with a timeout in seconds. Raises an exception on failure."""


class DeliveryError(Exception):
    """A receiver did not accept an alert. The message contains only the host of its URL and no part of its response."""


class Deliveries:
    """Send alerts to receivers, with retries.

    Args:
        hosts: the allowed hosts of webhooks and MQTT brokers.
        mqtt_password: password for MQTT brokers whose URL names a user.
        stop: once it is set, failed deliveries are not retried.
    """

    def __init__(self, hosts: Iterable[str], mqtt_password: str, stop: threading.Event) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)
        self._mqtt_password, self._stop = mqtt_password, stop
        self._failing: set[tuple[str, str]] = set()
        """Alert name and kind of the receivers whose last delivery failed."""

    def webhook(self, url: str) -> Send:
        """Return the function that posts a body to a webhook."""
        return partial(self._post, url)

    def mqtt(self, url: str) -> Send:
        """Return the function that publishes a body to the topic of an MQTT URL."""
        return partial(self._publish, url)

    def command(self, command: Sequence[str]) -> Send:
        """Return the function that runs a command with a body on its standard input."""
        return partial(_run, command)

    def check_host(self, url: str) -> None:
        """Raise `InvalidInputError` if the URL of a webhook or a broker is invalid, or its host is not allowed."""
        self._allowed(parse_mqtt(url) if url.startswith("mqtt") else parse_webhook(url))

    def deliver(self, receiver: tuple[str, str], send: Send, bodies: Sequence[bytes]) -> list[str | None]:
        """Send alerts to one receiver. Return the reason of failure, or None, for each.

        Args:
            receiver: name of the alert and kind of the receiver.
            send: sends a body.
            bodies: the alerts.
        """
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

    def _attempt(self, send: Send, body: bytes, deadline: float, *, repeat: bool) -> str | None:
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
            except (InvalidInputError, MissingDependencyError) as error:  # a retry would fail again
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
        address = self._allowed(parse_webhook(url))
        # Unlike `asyncio.run`, closing the loop does not wait for a pending DNS lookup.
        loop = asyncio.new_event_loop()
        try:
            status = loop.run_until_complete(_status(address, body, seconds))
        finally:
            loop.close()
        if not 200 <= status < 300:
            raise DeliveryError(f"{address.host} answers with status {status}")

    def _publish(self, url: str, body: bytes, seconds: float) -> None:
        """Publish a body with QoS 1, and wait until the broker confirms it."""
        address = self._allowed(parse_mqtt(url))
        require("mqtt", "paho")
        client = _mqtt_client()
        if address.username:
            client.username_pw_set(address.username, self._mqtt_password or None)
        if address.scheme == "mqtts":
            client.tls_set_context(ssl.create_default_context())
        client.connect_timeout = seconds
        try:
            _publish(client, address, body, seconds)
        finally:
            client.disconnect()

    def _allowed(self, address: httpx.URL) -> httpx.URL:
        if address.host.lower() not in self._hosts:
            kind = "MQTT messages" if address.scheme.startswith("mqtt") else "webhooks"
            raise InvalidInputError(
                f"{kind} to {address.host} are not allowed",
                why=f"the allowed hosts are {', '.join(sorted(self._hosts)) or 'none'}",
                fix=f"allow it by name: --allow-host {address.host}",
            )
        return address


def _mqtt_client() -> Client:
    """Return a client that refuses large packets. Paho accepts 256 MiB, but a broker only needs to confirm."""
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    class BoundedClient(Client):  # type: ignore[misc]  # paho is optional
        def _sock_recv(self, bufsize: int) -> bytes:
            if bufsize > _MAX_PACKET_BYTES:
                raise DeliveryError(f"the broker sent a packet of {bufsize} bytes; the limit is {_MAX_PACKET_BYTES}")
            received: bytes = super()._sock_recv(bufsize)
            return received

    return BoundedClient(CallbackAPIVersion.VERSION2)


def _publish(client: Client, address: httpx.URL, body: bytes, seconds: float) -> None:
    """Connect a client, publish a body, and wait for the confirmation, in this thread.

    Raises:
        DeliveryError: the broker cannot be reached, refuses the client, or does not confirm in time.
    """
    answers: list[ReasonCode] = []
    client.on_connect = lambda client, userdata, flags, reason, properties: answers.append(reason)
    deadline = time.monotonic() + seconds

    def wait(is_done: Callable[[], object]) -> None:
        while not is_done():
            if time.monotonic() >= deadline:
                raise DeliveryError(f"{address.host} does not answer within {seconds:.0f} s")
            if client.loop(max(0.0, min(0.5, deadline - time.monotonic()))) and not is_done():
                raise DeliveryError(f"{address.host} broke the connection")

    try:
        client.connect(address.host, address.port or _MQTT_PORTS[address.scheme], keepalive=max(1, math.ceil(seconds)))
        wait(lambda: answers)
        if answers[0].is_failure:
            raise DeliveryError(f"{address.host} refuses the connection: {answers[0]}")
        wait(client.publish(mqtt_topic(address), body, qos=1).is_published)
    except TimeoutError:
        raise DeliveryError(f"{address.host} does not answer within {seconds:.0f} s") from None
    except ssl.SSLError as error:
        raise DeliveryError(f"{address.host} offers no valid TLS connection: {error.reason}") from None
    except (OSError, ValueError) as error:
        raise DeliveryError(f"{address.host} cannot be reached: {os_error_message(error)}") from None


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


def parse_webhook(url: str) -> httpx.URL:
    """Parse an HTTP URL.

    Raises:
        InvalidInputError: the URL is not a valid HTTP URL.
    """
    address = _parse(url, ("http", "https"))
    if address is None:
        raise InvalidInputError(
            "the address of the webhook is invalid",
            why="it is not an http or https address",
            fix="write it as https://HOST/PATH",
        )
    return address


def parse_mqtt(url: str) -> httpx.URL:
    """Parse the URL of an MQTT topic.

    Raises:
        InvalidInputError: the URL is invalid, contains a password, or has no topic to which messages can be sent.
    """
    address = _parse(url, tuple(_MQTT_PORTS))
    why = ""
    if address is None:
        why = "it is not an mqtt or mqtts address"
    elif address.password:
        why = "it contains a password, which belongs into the environment variable VAR_PLUGIN_MQTT_PASSWORD"
    elif not mqtt_topic(address) or set(mqtt_topic(address)) & set("+#\0"):
        why = "it does not name one topic"
    if address is None or why:
        raise InvalidInputError("the MQTT address is invalid", why=why, fix="write it as mqtt://USER@HOST:PORT/TOPIC")
    return address


def mqtt_topic(address: httpx.URL) -> str:
    """Return the topic of an MQTT URL: its path."""
    return unquote(address.path).removeprefix("/")


def _parse(url: str, schemes: Sequence[str]) -> httpx.URL | None:
    """Parse a URL with a host. Return None if it is invalid, because the error message may contain a password."""
    import httpx

    try:
        address = httpx.URL(url)
        if address.host and address.scheme in schemes and (address.port is None or 0 < address.port < 65_536):
            return address
    except (httpx.InvalidURL, ValueError):
        pass
    return None


def masked(url: str) -> str:
    """Return the URL of a webhook with user, password and query string masked."""
    try:
        address = parse_webhook(url)
    except InvalidInputError:
        return "***"
    if address.userinfo:
        address = address.copy_with(userinfo=b"***")
    if address.query:
        address = address.copy_with(query=b"***")
    return str(address)
