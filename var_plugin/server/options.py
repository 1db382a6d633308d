"""What the one who runs the server decides."""

from __future__ import annotations

from pydantic import Field, field_validator

from var_plugin.media.limits import Limits
from var_plugin.types import Value


class ServerOptions(Value):
    """Who may ask, and for how much."""

    api_keys: frozenset[str] = Field(
        default=frozenset(), description="any of them opens the server; none: no key asked"
    )
    host_names: frozenset[str] = Field(
        default=frozenset(),
        description="names that requests may use for this server besides loopback ones, such as that of a proxy",
    )
    allowed_hosts: frozenset[str] = Field(
        default=frozenset(),
        description="hosts that media may be fetched from, as `name` or `name:port`; none: nothing is fetched",
    )
    max_body_bytes: int = Field(
        default=64 << 20, ge=1, description="size of an upload, and of all that one request has fetched"
    )
    max_json_bytes: int = Field(default=32 << 20, ge=1, description="size of a JSON request")
    memory_bytes: int = Field(
        default=1 << 30,
        ge=1 << 20,
        description="memory for the bodies (half of it) and the decoded media (the other half) of all requests",
    )
    max_in_flight: int = Field(default=128, ge=1, description="requests worked on at once; more are told to come back")
    max_batch: int = Field(default=64, ge=1, description="items encoded together; 1 turns batching off")
    limits: Limits = Field(
        default=Limits(pixels=7680 * 4320, duration=600.0), description="what one image, video or sound may ask for"
    )

    @property
    def json_bytes(self) -> int:
        """Size of a JSON request; never larger than that of any request."""
        return min(self.max_json_bytes, self.max_body_bytes)

    @field_validator("api_keys")
    @classmethod
    def _without_blanks(cls, keys: frozenset[str]) -> frozenset[str]:
        return frozenset(key.strip() for key in keys if key.strip())
