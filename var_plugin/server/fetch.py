"""Fetch media by URL from allowed hosts with public addresses, without server-side request forgery.

The address check happens when a connection is made: the name is resolved once, all its addresses must be public, and
the connection uses a checked address. Each redirect passes the same checks.
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

_MAX_REDIRECTS = 3
_TIMEOUT_SECONDS = 20.0
_DEFAULT_PORTS = {"http": 80, "https": 443}
# IPv6 prefix of addresses that a NAT64 gateway translates to IPv4.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Reserve = Callable[[int], None]


class Fetcher:
    """Downloads files by URL.

    Args:
        allowed_hosts: hosts that files may be fetched from, as `name`, or `name:port` for a non-default port.
        max_bytes: maximum size of a file.
    """

    def __init__(self, allowed_hosts: Iterable[str], max_bytes: int) -> None:
        self._allowed_hosts = frozenset(host.lower() for host in allowed_hosts)
        self._max_bytes = max_bytes

    async def fetch(self, url: str, *, max_bytes: int | None = None, reserve: Reserve | None = None) -> bytes:
        """Download a file.

        Args:
            url: http(s) URL on an allowed host.
            max_bytes: maximum size of the file. The limit of the fetcher applies as well.
            reserve: called with the size of each part in bytes before the part is stored. May raise.

        Raises:
            InvalidInputError: the host is not allowed, its address is not public, or the request fails.
            RequestTooLargeError: the file is too large.
        """
        limit = self._max_bytes if max_bytes is None else min(self._max_bytes, max_bytes)
        try:
            async with (
                asyncio.timeout(_TIMEOUT_SECONDS),
                httpcore.AsyncConnectionPool(network_backend=_PublicNetwork()) as pool,
            ):
                for _ in range(_MAX_REDIRECTS + 1):
                    self._check_host(url)
                    async with pool.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response:
                        if not 300 <= response.status < 400:
                            return await _read_body(response, url, limit, reserve)
                        url = urljoin(url, _header(response, b"location"))
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, TimeoutError) as error:
            raise InvalidInputError(f"cannot fetch {url}", why=str(error) or type(error).__name__) from error
        raise InvalidInputError(f"cannot fetch {url}", why=f"more than {_MAX_REDIRECTS} redirects")

    def _check_host(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port or _DEFAULT_PORTS[parts.scheme]
            host = (parts.hostname or "").lower()
        except (KeyError, ValueError) as error:
            raise InvalidInputError("not a URL to fetch", fix="use https:// with a host, or a data: URI") from error
        names = {f"{host}:{port}", host} if port == _DEFAULT_PORTS[parts.scheme] else {f"{host}:{port}"}
        if names.isdisjoint(self._allowed_hosts):
            raise InvalidInputError(
                f"cannot fetch from '{host}'",
                why="this server does not allow that host",
                fix="send the file as a data: URI or as an upload",
            )


async def _read_body(response: httpcore.Response, url: str, max_bytes: int, reserve: Reserve | None) -> bytes:
    if response.status != 200:
        raise InvalidInputError(f"cannot fetch {url}", why=f"the host responds with status {response.status}")
    body = bytearray()
    async for part in response.aiter_stream():
        if len(body) + len(part) > max_bytes:
            raise RequestTooLargeError(f"the file at {url} is too large", why=f"the limit is {max_bytes} bytes")
        if reserve:
            reserve(len(part))
        body += part
    return bytes(body)


class _PublicNetwork(httpcore.AsyncNetworkBackend):
    """Network backend that connects to public addresses only."""

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
        records = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise InvalidInputError(f"cannot resolve the host '{host}'", why=str(error)) from error
    addresses = [str(address[0]) for *_, address in records]
    if not all(is_public(address) for address in addresses):
        raise InvalidInputError(f"cannot fetch from '{host}'", why="its address is not public")
    return addresses[0]


def is_public(address: str) -> bool:
    """Return whether an IP address, or the IPv4 address embedded in it, is public."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip.sixtofour or _nat64_ipv4(ip) or ip
    return ip.is_global and not ip.is_multicast


def _nat64_ipv4(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None


def _header(response: httpcore.Response, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in response.headers if key.lower() == name), "")
