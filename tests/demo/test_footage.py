from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import av
import numpy as np
import pytest

from var_plugin.demo import compose
from var_plugin.demo.footage import MANIFEST, script_hash
from var_plugin.demo.rendering import AUDIO_SAMPLE_RATE, FRAME_RATE, HEIGHT, WIDTH
from var_plugin.demo.script import CAMERAS, Camera, Event, Media, Shot, View
from var_plugin.errors import MissingDependencyError

LAKE = Shot(Media("sklearn", "datasets/images/china.jpg"), View(0.5, 0.3, 0.4))
FLOWER = Shot(Media("sklearn", "datasets/images/flower.jpg"), View(0, 0, 1))
SAXOPHONE = Media("gradio", "media_assets/audio/sax.wav")

GARDEN = Camera(
    "garden",
    datetime(2025, 1, 1, tzinfo=UTC),
    8.0,
    LAKE,
    (Event("flower", "a flower", 2.0, 3.0, shot=FLOWER, recording=SAXOPHONE),),
)
PIER = Camera("pier", datetime(2025, 1, 1, tzinfo=UTC), 2.0, LAKE, ())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("footage") / "nested" / "new folder"
    compose(folder, cameras=[GARDEN, PIER])
    return folder


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_the_file_has_the_declared_streams_and_length(folder: Path) -> None:
    with av.open(folder / "garden.mp4") as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec.name, video.width, video.height, video.average_rate) == ("h264", WIDTH, HEIGHT, FRAME_RATE)
        assert (audio.codec.name, audio.rate, audio.channels) == ("aac", AUDIO_SAMPLE_RATE, 1)
        assert video.duration * video.time_base == pytest.approx(GARDEN.duration, abs=0.01)
        assert audio.duration * audio.time_base == pytest.approx(GARDEN.duration, abs=0.1)
        assert video.frames == GARDEN.duration * FRAME_RATE


def test_the_event_is_visible_from_start_to_end_only(folder: Path) -> None:
    with av.open(folder / "garden.mp4") as container:
        brightness = {frame.time: frame.to_ndarray(format="gray").mean() for frame in container.decode(video=0)}
    (event,) = GARDEN.events
    # The leaves around the flower are dark, the lake is bright; an event fades in and out for half a second.
    assert max(brightness[time] for time in brightness if event.start + 0.5 <= time <= event.end - 0.5) < 100
    assert min(brightness[time] for time in brightness if not event.start <= time <= event.end) > 150


def test_the_event_is_audible_from_start_to_end_only(folder: Path) -> None:
    with av.open(folder / "garden.mp4") as container:
        samples = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    levels = [np.sqrt(np.mean(samples[s * AUDIO_SAMPLE_RATE : (s + 1) * AUDIO_SAMPLE_RATE] ** 2)) for s in range(8)]
    quiet, event = [*levels[:2], *levels[6:]], levels[3:5]
    assert min(event) > 0.1
    assert 0.0005 < min(quiet) < max(quiet) < 0.01


def test_the_folder_contains_videos_and_manifest_only(folder: Path) -> None:
    assert set(stamps(folder)) == {"garden.mp4", "pier.mp4", MANIFEST}


def test_the_manifest_holds_the_ground_truth(folder: Path) -> None:
    garden, pier = json.loads((folder / MANIFEST).read_text())["videos"]
    assert garden["events"] == [
        {
            "id": "flower",
            "description": "a flower",
            "kind": "",
            "start": 2.0,
            "end": 5.0,
            "visible": True,
            "audible": True,
        }
    ]
    assert datetime.fromisoformat(garden["recorded_at"]) == GARDEN.recorded_at
    assert (pier["file"], pier["camera"], pier["duration"], pier["events"]) == ("pier.mp4", "pier", 2.0, [])


def test_a_second_call_reuses_the_videos(folder: Path) -> None:
    before, written = stamps(folder), list[str]()
    videos = compose(folder, cameras=[GARDEN, PIER], progress=written.append)
    assert (stamps(folder), written) == (before, [])
    assert [(video.path, video.camera, video.events) for video in videos] == [
        (folder / "garden.mp4", "garden", GARDEN.events),
        (folder / "pier.mp4", "pier", ()),
    ]


def test_rendering_is_reproducible(folder: Path, tmp_path: Path) -> None:
    (video,) = compose(tmp_path, cameras=[GARDEN])
    assert video.path.read_bytes() == (folder / "garden.mp4").read_bytes()


def test_only_a_missing_file_is_rendered_again(tmp_path: Path) -> None:
    shore = replace(PIER, name="shore")
    compose(tmp_path, cameras=[PIER, shore])
    before, written = stamps(tmp_path), list[str]()
    (tmp_path / "pier.mp4").unlink()
    compose(tmp_path, cameras=[PIER, shore], progress=written.append)
    assert [line.split(":")[0] for line in written] == ["pier.mp4"]
    assert stamps(tmp_path)["shore.mp4"] == before["shore.mp4"]


@pytest.mark.parametrize("manifest", ["{}", "not json", "[]", '{"script": "another"}'])
def test_files_of_another_script_are_rendered_again(tmp_path: Path, manifest: str) -> None:
    (tmp_path / MANIFEST).write_text(manifest)
    (tmp_path / "pier.mp4").write_bytes(b"another script's video")
    (video,) = compose(tmp_path, cameras=[PIER])
    with av.open(video.path) as container:
        assert container.streams.video[0].frames == 25
    assert json.loads((tmp_path / MANIFEST).read_text())["script"] == script_hash([PIER])


def test_a_missing_package_is_reported_before_writing(tmp_path: Path) -> None:
    absent = replace(PIER, name="absent", background=replace(LAKE, media=Media("no_such_package_anywhere", "x.jpg")))
    with pytest.raises(MissingDependencyError, match="no_such_package_anywhere"):
        compose(tmp_path, cameras=[PIER, absent])
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_no_partial_file_and_no_manifest(tmp_path: Path) -> None:
    not_an_image = replace(PIER, background=replace(LAKE, media=SAXOPHONE))
    (tmp_path / MANIFEST).write_text("{}")
    with pytest.raises(OSError, match="cannot identify image file"):
        compose(tmp_path, cameras=[not_an_image])
    assert not list(tmp_path.iterdir())


def test_the_script_hash_changes_with_the_script_only() -> None:
    assert script_hash(CAMERAS) == script_hash(tuple(replace(camera) for camera in CAMERAS))
    later = replace(GARDEN, events=(replace(GARDEN.events[0], start=2.5),))
    assert len({script_hash([GARDEN]), script_hash([later]), script_hash([GARDEN, PIER])}) == 3
