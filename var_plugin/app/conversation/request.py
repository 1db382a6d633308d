"""A chat request with all its conditions, and the chips that show them on the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from pydantic import AwareDatetime

from var_plugin.types import Value

Order = Literal["best", "oldest", "newest"]

DEFAULT_LIMIT = 5
MAX_MOMENTS = 20
MIN_UNUSUAL = 0.5
"""Anomaly score from which a moment counts as unusual."""
QUERY_FIELDS = ("text", "image", "audio", "video", "like")
"""The fields that describe what to look for. The other fields are conditions."""


class ChatRequest(Value):
    """The complete request of one turn: query fields and conditions."""

    text: str | None = None
    image: str | None = None
    """Path of an uploaded image."""
    audio: str | None = None
    """Path of an uploaded audio file."""
    video: str | None = None
    """Path of an uploaded video."""
    like: str | None = None
    """Id of a moment. Results are similar to it."""
    without: tuple[str, ...] = ()
    """Descriptions of what must not occur in a result."""
    cameras: tuple[str, ...] | None = None
    after: AwareDatetime | None = None
    before: AwareDatetime | None = None
    min_anomaly: float | None = None
    louder_than: str | None = None
    """Id of a moment. Results have a higher audio level."""
    quieter_than: str | None = None
    """Id of a moment. Results have a lower audio level."""
    limit: int = DEFAULT_LIMIT
    per_video: bool = False
    """Return at most one moment per video."""
    order: Order = "best"

    @property
    def query_fields(self) -> tuple[str, ...]:
        """The names of the query fields that are set."""
        return tuple(name for name in QUERY_FIELDS if getattr(self, name))

    def replace(self, **changes: Any) -> ChatRequest:
        """Return a validated copy with some fields changed."""
        return ChatRequest(**{**{name: getattr(self, name) for name in type(self).model_fields}, **changes})


class Chip(Value):
    """One removable part of a request: the field (or `without:words`), its label and its value."""

    key: str
    label: str
    value: str


NameMoment = Callable[[str], str]
"""Maps the id of a moment to a readable name."""


def chips(request: ChatRequest, name_moment: NameMoment) -> list[Chip]:
    """Return a chip for each field that differs from its default, in reading order."""
    fields = [
        ("text", "looking for", request.text),
        ("image", "image", request.image and "attached"),
        ("audio", "audio", request.audio and "attached"),
        ("video", "video", request.video and "attached"),
        ("like", "similar to", request.like and name_moment(request.like)),
        *((f"without:{words}", "without", words) for words in request.without),
        ("cameras", "camera", request.cameras and " or ".join(request.cameras)),
        ("after", "after", request.after and f"{request.after:%a %d %b %Y, %H:%M:%S %Z}"),
        ("before", "before", request.before and f"{request.before:%a %d %b %Y, %H:%M:%S %Z}"),
        ("min_anomaly", "anomaly at least", request.min_anomaly is not None and f"{request.min_anomaly:.2f}"),
        ("louder_than", "louder than", request.louder_than and name_moment(request.louder_than)),
        ("quieter_than", "quieter than", request.quieter_than and name_moment(request.quieter_than)),
        ("limit", "show up to", request.limit != DEFAULT_LIMIT and f"{request.limit} moments"),
        ("per_video", "one per", request.per_video and "video"),
        ("order", "order", request.order != "best" and f"{request.order} first"),
    ]
    return [Chip(key=key, label=label, value=value) for key, label, value in fields if value]


def remove_chip(request: ChatRequest, key: str) -> ChatRequest:
    """Return the request without the part of a chip. An unknown key changes nothing."""
    field, _, words = key.partition(":")
    if field == "without":
        return request.replace(without=tuple(other for other in request.without if other != words))
    if field not in ChatRequest.model_fields:
        return request
    return request.replace(**{field: ChatRequest.model_fields[field].default})
