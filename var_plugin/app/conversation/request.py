"""What is looked for, in full: every part of it is a chip on the page that a person can remove."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from pydantic import AwareDatetime

from var_plugin.types import Value

Order = Literal["best", "oldest", "newest"]

DEFAULT_LIMIT = 5
MOST_MOMENTS = 20


class Request(Value):
    """Everything that decides an answer. Nothing is inherited from elsewhere."""

    text: str | None = None
    image: str | None = None
    """Path of an uploaded image, as the page keeps it; so for `audio` and `video`."""
    audio: str | None = None
    video: str | None = None
    like: str | None = None
    """Id of a moment that the answer must resemble."""
    without: tuple[str, ...] = ()
    """What must not be there, in words."""
    cameras: tuple[str, ...] | None = None
    after: AwareDatetime | None = None
    before: AwareDatetime | None = None
    min_anomaly: float | None = None
    louder_than: str | None = None
    """Id of a moment; so for `quieter_than`."""
    quieter_than: str | None = None
    limit: int = DEFAULT_LIMIT
    per_video: bool = False
    order: Order = "best"

    @property
    def parts(self) -> tuple[str, ...]:
        """The fields that say what to look for, besides conditions."""
        return tuple(name for name in ("text", "image", "audio", "video", "like") if getattr(self, name))

    def but(self, **changes: Any) -> Request:
        """Return the request with some parts changed, checked like a new one."""
        return Request(**{**{name: getattr(self, name) for name in type(self).model_fields}, **changes})


class Chip(Value):
    """One removable part of a request: what it is called, what it says, and which fields it stands for."""

    key: str
    label: str
    value: str


NameMoment = Callable[[str], str]
"""From the id of a moment to how a person knows it."""


def chips(request: Request, name_moment: NameMoment) -> list[Chip]:
    """Return the parts of a request that differ from an empty one, in the order in which they are read."""
    found = [
        ("text", "looking for", request.text),
        ("image", "image", request.image and "attached"),
        ("audio", "audio", request.audio and "attached"),
        ("video", "video", request.video and "attached"),
        ("like", "like", request.like and name_moment(request.like)),
        *((f"without:{words}", "without", words) for words in request.without),
        ("cameras", "camera", request.cameras and " or ".join(request.cameras)),
        ("after", "after", request.after and f"{request.after:%a %d %b %Y, %H:%M:%S %Z}"),
        ("before", "before", request.before and f"{request.before:%a %d %b %Y, %H:%M:%S %Z}"),
        ("min_anomaly", "anomaly at least", request.min_anomaly is not None and f"{request.min_anomaly:.2f}"),
        ("louder_than", "louder than", request.louder_than and name_moment(request.louder_than)),
        ("quieter_than", "quieter than", request.quieter_than and name_moment(request.quieter_than)),
        ("limit", "at most", request.limit != DEFAULT_LIMIT and str(request.limit)),
        ("per_video", "one per", request.per_video and "video"),
        ("order", "order", request.order != "best" and f"{request.order} first"),
    ]
    return [Chip(key=key, label=label, value=value) for key, label, value in found if value]


def remove(request: Request, key: str) -> Request:
    """Return the request without the part that a chip stands for; an unknown key changes nothing."""
    field, _, words = key.partition(":")
    if field == "without":
        return request.but(without=tuple(other for other in request.without if other != words))
    if field not in Request.model_fields:
        return request
    return request.but(**{field: Request.model_fields[field].default})
