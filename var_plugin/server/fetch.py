"""Fetching media from the few hosts that were allowed by name, and never from inside the network.

The check sits where a connection is made: a name is resolved once, all its addresses must be public, and the connection
goes to the address that was checked. Redirects are followed one by one through the same checks.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Iterable
from urllib.parse import urljoin, urlsplit

import httpcore

from var_plugin.errors import InvalidInputError
from var_plugin.server.errors import RequestTooLargeError

_MOST_REDIRECTS = 3
_SECONDS = 20.0
_PORTS = {"http": 80, "https": 443}
# Addresses of IPv4 behind translators.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Reserve = Callable[[int], None]


class Fetcher:
    """Gets files by URL.

    Args:
        allowed_hosts: host names that may be asked, with `:port` where the port is not the scheme's own.
        max_bytes: largest file taken.
    """

    def __init__(self, allowed_hosts: Iterable[str], max_bytes: int) -> None:
        self._allowed = frozenset(host.lower() for host in allowed_hosts)
        self._max_bytes = max_bytes

    async def fetch(self, url: str, *, max_bytes: int | None = None, reserve: Reserve | None = None) -> bytes:
        """Return what is at the URL.

        Args:
            url: with a host that is allowed.
            max_bytes: largest file taken, where that is less than the fetcher's own limit.
            reserve: called with the size of each part before it is kept; may raise.

        Raises:
            InvalidInputError: the host is not allowed, its address is not public, it does not answer in time or not
                with a file, or the file is too large.
        """
        largest = self._max_bytes if max_bytes is None else max_bytes
        try:
            async with (
                asyncio.timeout(_SECONDS),
                httpcore.AsyncConnectionPool(network_backend=_PublicNetwork()) as pool,
            ):
                for _ in range(_MOST_REDIRECTS + 1):
                    self._check(url)
                    async with pool.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response:
                        if not 300 <= response.status < 400:
                            return await _body(response, url, min(self._max_bytes, largest), reserve)
                        url = urljoin(url, _header(response, b"location"))
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, TimeoutError) as error:
            raise InvalidInputError(f"cannot fetch {url}", why=str(error) or type(error).__name__) from error
        raise InvalidInputError(f"cannot fetch {url}", why=f"more than {_MOST_REDIRECTS} redirects")

    def _check(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port or _PORTS[parts.scheme]
            host = (parts.hostname or "").lower()
        except (KeyError, ValueError) as error:
            raise InvalidInputError("not a URL to fetch", fix="use https:// with a host, or a data: URI") from error
        if f"{host}:{port}" not in self._allowed and (port != _PORTS[parts.scheme] or host not in self._allowed):
            raise InvalidInputError(
                f"nothing is fetched from '{host}'",
                why="this server does not allow that host",
                fix="send the file itself: as a data: URI or an upload",
            )


async def _body(response: httpcore.Response, url: str, max_bytes: int, reserve: Reserve | None) -> bytes:
    if response.status != 200:
        raise InvalidInputError(f"cannot fetch {url}", why=f"it answers with status {response.status}")
    body = bytearray()
    async for piece in response.aiter_stream():
        if len(body) + len(piece) > max_bytes:
            raise RequestTooLargeError(f"the file at {url} is too large", why=f"the limit is {max_bytes} bytes")
        if reserve:
            reserve(len(piece))
        body += piece
    return bytes(body)


class _PublicNetwork(httpcore.AsyncNetworkBackend):
    """Connects to public addresses only."""

    def __init__(self) -> None:
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        address = await _public_address(host, port)
        return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)


async def _public_address(host: str, port: int) -> str:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise InvalidInputError(f"cannot find the host '{host}'", why=str(error)) from error
    addresses = [str(address[0]) for *_, address in found]
    if not all(is_public(address) for address in addresses):
        raise InvalidInputError(f"nothing is fetched from '{host}'", why="its address is not a public one")
    return addresses[0]


def is_public(address: str) -> bool:
    """Tell whether an IP address, or the IPv4 address inside it, is one of the open internet."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip.sixtofour or _translated(ip) or ip
    return ip.is_global and not ip.is_multicast


def _translated(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None


def _header(response: httpcore.Response, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in response.headers if key.lower() == name), "")
