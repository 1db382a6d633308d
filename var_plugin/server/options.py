"""Options of the server."""

from __future__ import annotations

from pydantic import Field, field_validator

from var_plugin.media.limits import Limits
from var_plugin.types import Value


class ServerOptions(Value):
    """API keys, hosts and limits of the server."""

    api_keys: frozenset[str] = Field(default=frozenset(), description="accepted API keys; empty: no key is required")
    allowed_hosts: frozenset[str] = Field(
        default=frozenset(),
        description="names that requests may use for this server besides loopback names, such as that of a proxy",
    )
    fetch_hosts: frozenset[str] = Field(
        default=frozenset(),
        description="hosts that media may be fetched from, as `name` or `name:port`; empty: no fetching",
    )
    max_body_bytes: int = Field(
        default=64 << 20, ge=1, description="maximum size of an upload, and of all files fetched for a request"
    )
    max_json_bytes: int = Field(default=32 << 20, ge=1, description="maximum size of a JSON body")
    memory_bytes: int = Field(
        default=1 << 30,
        ge=1 << 20,
        description="memory for all requests: half for bodies, half for decoded media",
    )
    max_in_progress: int = Field(default=128, ge=1, description="maximum number of requests in progress; else 429")
    max_batch: int = Field(default=64, ge=1, description="maximum number of items per batch; 1 disables batching")
    limits: Limits = Field(
        default=Limits(pixels=7680 * 4320, duration=600.0), description="limits of one image, audio or video file"
    )

    @property
    def json_bytes(self) -> int:
        """Maximum size of a JSON body: `max_json_bytes`, but never more than `max_body_bytes`."""
        return min(self.max_json_bytes, self.max_body_bytes)

    @field_validator("api_keys")
    @classmethod
    def _strip_keys(cls, keys: frozenset[str]) -> frozenset[str]:
        return frozenset(key.strip() for key in keys if key.strip())
