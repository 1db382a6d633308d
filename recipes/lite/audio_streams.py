"""Is a sound found in a long film? Films of calm street cameras with one sound of a held-out recording each.

Each film of two to three minutes has a sound track of held-out recordings of things that hum and murmur, and over it,
at one place, a few seconds of something else. It is asked for in words that were not in training: without the space of
sounds, so by looks, motion and anomaly-led segments alone, with all spaces as a search has them, and by sound alone.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from recipes.lite.audio_eval import unheard
from recipes.lite.audio_features import read_sound
from recipes.lite.audio_sources import Recording
from recipes.lite.audio_templates import WORDINGS
from recipes.lite.cctv_fights import FightClip, read_cctv_fights
from recipes.lite.fight_streams import FPS, RIGHT, SIZE, Span, frames_of, overlap, told
from var_plugin.encoders.backbones.minilm import MiniLM
from var_plugin.encoders.base import AudioArray
from var_plugin.encoders.lite import audio as lite_sound
from var_plugin.encoders.registry import load_suite
from var_plugin.encoders.suite import Suite
from var_plugin.errors import exit_on_error
from var_plugin.index.index import VideoIndex
from var_plugin.ingest.add import SourceInfo, add
from var_plugin.media.audio import SAMPLE_RATE
from var_plugin.retrievers.search import search
from var_plugin.types import Filter, Moment, Query

BED = ("air conditioner", "children playing", "engine idling", "street music")
"""Labels of what sounds all the time; all others are asked for."""

SECONDS = (120, 180)
"""How long the films are."""

_BED_LEVEL, _LEVEL = 0.02, 0.1  # root mean squares: the sound is 14 dB louder
_SEARCHES: dict[str, dict[str, float]] = {
    "without the space of sounds": {"sound": 0.0},
    "with it": {},
    "the space of sounds alone": {"scene": 0.0},
}


@dataclass(frozen=True)
class HeardFilm:
    """A film, where its sound is (seconds), and the words that ask for it."""

    path: Path
    sound: Span
    words: str


def make_film(
    clips: Sequence[FightClip],
    recordings: Sequence[Recording],
    event: Recording,
    path: Path,
    random: np.random.Generator,
) -> HeardFilm:
    """Put a film together from calm clips, a bed out of `recordings`, and the event's sound at some place."""
    images: list[NDArray[np.uint8]] = []
    length = random.uniform(*SECONDS)
    while sum(map(len, images)) < length * FPS:
        images.append(frames_of(clips[int(random.integers(len(clips)))]))
    samples = round(sum(map(len, images)) / FPS * SAMPLE_RATE)
    bed = [recording for recording in recordings if recording.label in BED]
    track = np.zeros(0, np.float32)
    while len(track) < samples:
        track = np.append(track, _levelled(bed[random.integers(len(bed))], _BED_LEVEL))
    track = track[:samples]
    own = _levelled(event, _LEVEL)
    first = int(random.integers(len(track) - len(own)))
    track[first : first + len(own)] += own
    _write(path, images, track)
    wordings = WORDINGS[str(event.label)].held_out
    span = (first / SAMPLE_RATE, (first + len(own)) / SAMPLE_RATE)
    return HeardFilm(path, span, wordings[random.integers(len(wordings))])


def right(found: Sequence[Moment], film: HeardFilm) -> bool:
    """Tell whether the moment put first overlaps the sound enough."""
    return bool(found) and overlap((found[0].start, found[0].end), film.sound) >= RIGHT


def _levelled(recording: Recording, level: float) -> AudioArray:
    sound = read_sound(recording.path)
    if sound is None:
        raise ValueError(f"{recording.path} holds no sound")
    return np.asarray(sound * (level / np.sqrt(np.mean(sound**2))), np.float32)


def _write(path: Path, parts: Sequence[NDArray[np.uint8]], track: AudioArray) -> None:
    height, width = SIZE
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS, width=width, height=height, options={"preset": "veryfast"})
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        for image in (image for part in parts for image in part):
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode(None))
        heard = av.AudioFrame.from_ndarray(track.clip(-1, 1)[None], format="fltp", layout="mono")
        heard.sample_rate = SAMPLE_RATE
        container.mux(audio.encode(heard))
        container.mux(audio.encode(None))


def _suite(weights: Path) -> Suite:
    """Return the lite suite with those weights for sounds."""
    lite = load_suite("lite")
    return Suite(lite.description, {**lite.encoders, "sound": lite_sound.build(MiniLM, weights)})


def main() -> None:
    """Count how often the moment put first is the sound."""
    parser = argparse.ArgumentParser(prog="python -m recipes.lite.audio_streams", description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with cctv_fights/ and audio/")
    parser.add_argument(
        "--weights", type=Path, required=True, help="folder with weights of the space of sounds that leave folds out"
    )
    parser.add_argument("--films", type=int, default=24)
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    calm = [clip for clip in read_cctv_fights(arguments.data / "cctv_fights") if not clip.fight]
    recordings = unheard(arguments.data, arguments.weights)
    labels = sorted({str(recording.label) for recording in recordings} - set(BED))
    rows = []
    with (
        tempfile.TemporaryDirectory() as folder,
        VideoIndex(Path(folder) / "index", _suite(arguments.weights)) as index,
    ):
        for number in range(arguments.films):
            label = labels[number % len(labels)]
            events = [recording for recording in recordings if recording.label == label]
            event = events[random.integers(len(events))]
            film = make_film(calm, recordings, event, Path(folder) / f"{number}.mp4", random)
            add(index, [film.path], SourceInfo(camera=film.path.stem))
            query, within = Query(text=film.words), Filter(cameras=(film.path.stem,))
            rows.append(
                {
                    name: right(search(index, query, k=1, filter=within, weights=weights), film)
                    for name, weights in _SEARCHES.items()
                }
            )
            print(f'"{film.words}" {rows[-1]}', flush=True)
    print(told(rows))


if __name__ == "__main__":
    with exit_on_error("sound_streams"):
        main()
