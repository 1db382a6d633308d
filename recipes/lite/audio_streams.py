"""Measure whether an audio event is found in a long video of calm street cameras.

Each video of two to three minutes has an audio track of held-out background recordings and, at one position, a few
seconds of another held-out recording. The query is a held-out wording of it. The search runs without the sound space,
so by appearance, motion and anomaly-led segments alone; with all spaces; and with the sound space only.
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

from recipes.lite.audio_eval import held_out_recordings
from recipes.lite.audio_features import read_waveform
from recipes.lite.audio_sources import Recording
from recipes.lite.audio_templates import WORDINGS
from recipes.lite.cctv_fights import FightClip, read_cctv_fights
from recipes.lite.fight_streams import FPS, MIN_IOU, SIZE, Span, format_rows, overlap, read_frames
from var_plugin.encoders.backbones.minilm import MiniLM
from var_plugin.encoders.base import AudioArray
from var_plugin.encoders.lite import audio as lite_sound
from var_plugin.encoders.registry import load_suite
from var_plugin.encoders.suite import Suite
from var_plugin.errors import exit_on_error
from var_plugin.index.index import VideoIndex
from var_plugin.ingest.add import SourceInfo, add
from var_plugin.media.decoded import SAMPLE_RATE
from var_plugin.retrievers.search import search
from var_plugin.types import Filter, Moment, Query

BACKGROUND_LABELS = ("air conditioner", "children playing", "engine idling", "street music")
"""Labels of the background recordings; all other labels are events."""

SECONDS = (120, 180)
"""Range of the length of the videos."""

_BED_LEVEL, _LEVEL = 0.02, 0.1  # root mean squares: the event is 14 dB louder
_SEARCHES: dict[str, dict[str, float]] = {
    "without the sound space": {"sound": 0.0},
    "with it": {},
    "the sound space only": {"scene": 0.0},
}


@dataclass(frozen=True)
class EventVideo:
    """A video, the span of its audio event in seconds, and the text of the query."""

    path: Path
    sound: Span
    words: str


def make_video(
    clips: Sequence[FightClip],
    recordings: Sequence[Recording],
    event: Recording,
    path: Path,
    random: np.random.Generator,
) -> EventVideo:
    """Join a video from calm clips, a background of `recordings`, and the event at a random position."""
    images: list[NDArray[np.uint8]] = []
    length = random.uniform(*SECONDS)
    while sum(map(len, images)) < length * FPS:
        images.append(read_frames(clips[int(random.integers(len(clips)))]))
    samples = round(sum(map(len, images)) / FPS * SAMPLE_RATE)
    bed = [recording for recording in recordings if recording.label in BACKGROUND_LABELS]
    track = np.zeros(0, np.float32)
    while len(track) < samples:
        track = np.append(track, _with_rms(bed[random.integers(len(bed))], _BED_LEVEL))
    track = track[:samples]
    own = _with_rms(event, _LEVEL)
    first = int(random.integers(len(track) - len(own)))
    track[first : first + len(own)] += own
    _write(path, images, track)
    wordings = WORDINGS[str(event.label)].held_out
    span = (first / SAMPLE_RATE, (first + len(own)) / SAMPLE_RATE)
    return EventVideo(path, span, wordings[random.integers(len(wordings))])


def is_correct(moments: Sequence[Moment], video: EventVideo) -> bool:
    """Return whether the first moment overlaps the event enough."""
    return bool(moments) and overlap((moments[0].start, moments[0].end), video.sound) >= MIN_IOU


def _with_rms(recording: Recording, level: float) -> AudioArray:
    waveform = read_waveform(recording.path)
    if waveform is None:
        raise ValueError(f"{recording.path} has no decodable audio")
    return np.asarray(waveform * (level / np.sqrt(np.mean(waveform**2))), np.float32)


def _write(path: Path, parts: Sequence[NDArray[np.uint8]], track: AudioArray) -> None:
    height, width = SIZE
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS, width=width, height=height, options={"preset": "veryfast"})
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        for image in (image for part in parts for image in part):
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray(track.clip(-1, 1)[None], format="fltp", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))


def _suite(weights: Path) -> Suite:
    """Return the lite suite with the given weights of the sound space."""
    lite = load_suite("lite")
    return Suite(lite.description, {**lite.encoders, "sound": lite_sound.build(MiniLM, weights)})


def main() -> None:
    """Count how often the first moment is the event."""
    parser = argparse.ArgumentParser(prog="python -m recipes.lite.audio_streams", description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with cctv_fights/ and audio/")
    parser.add_argument(
        "--weights", type=Path, required=True, help="folder with weights of the sound space that have held-out folds"
    )
    parser.add_argument("--videos", type=int, default=24, help="number of videos")
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    calm = [clip for clip in read_cctv_fights(arguments.data / "cctv_fights") if not clip.fight]
    recordings = held_out_recordings(arguments.data, arguments.weights)
    labels = sorted({str(recording.label) for recording in recordings} - set(BACKGROUND_LABELS))
    rows = []
    with (
        tempfile.TemporaryDirectory() as folder,
        VideoIndex(Path(folder) / "index", _suite(arguments.weights)) as index,
    ):
        for number in range(arguments.videos):
            label = labels[number % len(labels)]
            events = [recording for recording in recordings if recording.label == label]
            event = events[random.integers(len(events))]
            video = make_video(calm, recordings, event, Path(folder) / f"{number}.mp4", random)
            add(index, [video.path], SourceInfo(camera=video.path.stem))
            query, within = Query(text=video.words), Filter(cameras=(video.path.stem,))
            rows.append(
                {
                    name: is_correct(search(index, query, k=1, filter=within, weights=weights), video)
                    for name, weights in _SEARCHES.items()
                }
            )
            print(f'"{video.words}" {rows[-1]}', flush=True)
    print(format_rows(rows))


if __name__ == "__main__":
    with exit_on_error("audio_streams"):
        main()
