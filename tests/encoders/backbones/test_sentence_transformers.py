"""Compare models of sentence-transformers with the library's own `encode`, per modality, on tiny random checkpoints."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import var_plugin as vp
from tests.encoders.backbones.recordings import noise, padded, with_audio
from tests.encoders.backbones.tiny import save_gemma2, save_sentence_transformers
from tests.films import Film, textured
from tests.tolerances import ATOL, FLOAT32
from var_plugin.config import settings
from var_plugin.encoders.backbones.sentence_transformers import VideoSampling
from var_plugin.encoders.base import Vectors, l2_normalize
from var_plugin.encoders.hub import Checkpoint
from var_plugin.encoders.registry import load_suite
from var_plugin.encoders.suite import Suite
from var_plugin.errors import MissingDependencyError
from var_plugin.media.decoded import SAMPLE_RATE, Frame

HAS_TORCHVISION = importlib.util.find_spec("torchvision") is not None
native_video = pytest.mark.skipif(not HAS_TORCHVISION, reason="video processors of transformers need torchvision")

TEXTS = ["a red car", "a blue dog barks", "car"]
SECOND = SAMPLE_RATE
WINDOW = 8 * SAMPLE_RATE


def frames(count: int, height: int = 96, width: int = 128, fps: float = 1.0) -> list[Frame]:
    return [Frame(number / fps, textured(number, height, width)) for number in range(count)]


def filled(window: Sequence[Frame], size: int) -> list[Frame]:
    """Fill an incomplete window with its last frame, as `ClipBatches` does."""
    return [*window, *[window[-1]] * (size - len(window))]


def as_video(window: Sequence[Frame], fps: float = 1.0) -> dict[str, Any]:
    """Return frames as a video for the library."""
    metadata = {"fps": fps, "total_num_frames": len(window), "frames_indices": list(range(len(window)))}
    return {"array": np.stack([frame.image for frame in window]), "video_metadata": metadata}


def as_audio(samples: NDArray[np.float32], rate: int = SAMPLE_RATE) -> dict[str, Any]:
    return {"array": samples, "sampling_rate": rate}


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    monkeypatch.setenv("VAR_PLUGIN_DEVICE", "cpu")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    settings.cache_clear()
    yield monkeypatch
    settings.cache_clear()


@pytest.fixture(scope="module")
def every_modality(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model for text, image, audio and video: EmbeddingGemma 2, as sentence-transformers loads it."""
    return save_gemma2(tmp_path_factory.mktemp("models") / "gemma")


def library(folder: Path, dtype: str = "float32") -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": dtype})


def encoded(model: Any, items: Sequence[Any]) -> Vectors:
    model[0].processing_kwargs = {"video": {"do_sample_frames": False}}
    return l2_normalize(np.concatenate([model.encode([item]) for item in items]))


def load(folder: Path) -> Suite:
    return load_suite(f"sentence-transformers:{folder}")


@native_video
def test_all_modalities_match_the_library(every_modality: Path, dtype: str) -> None:
    suite, model = load(every_modality), library(every_modality, dtype)
    scene, sound = suite.encoders["scene"], suite.encoders["sound"]
    images = [textured(seed, 384, 384) for seed in range(3)]
    recordings = [noise(seconds, seed=round(seconds)) for seconds in (0.6, 3.3, 8.0)]
    pairs = [
        (scene.text.encode(TEXTS), model.encode_query(TEXTS)),
        (sound.text.encode(TEXTS), model.encode_query(TEXTS)),
        (scene.image.encode(images), encoded(model, map(Image.fromarray, images))),
        (sound.audio.encode(np.concatenate(list(map(padded, recordings)))), encoded(model, map(as_audio, recordings))),
    ]
    for count in (1, 3, 8):
        window = frames(count)
        pairs.append((scene.video.encode(filled(window, 8)), encoded(model, [as_video(window)])))
    for vectors, expected in pairs:
        np.testing.assert_allclose(vectors, l2_normalize(expected), atol=ATOL[dtype])


@native_video
def test_long_video_and_audio_are_means_of_windows(every_modality: Path) -> None:
    suite, model = load(every_modality), library(every_modality)
    video, film = suite.encoders["scene"].video, frames(20)
    expected = encoded(model, [as_video(film[:8]), as_video(film[8:16]), as_video(film[16:])])
    windows = video.encode(filled(film, 24))
    np.testing.assert_allclose(windows, expected, atol=FLOAT32)
    whole = video.embed_spans(windows, [slice(None)])
    np.testing.assert_allclose(whole, l2_normalize(expected.mean(0, keepdims=True)), atol=FLOAT32)
    audio = noise(40)
    parts = [audio[start : start + WINDOW] for start in range(0, len(audio), WINDOW)]
    loudness = np.sqrt([np.square(part).mean() for part in parts])
    mean = l2_normalize(loudness @ encoded(model, map(as_audio, parts)))
    for space in ("scene", "sound"):
        np.testing.assert_allclose(suite.encode("audio", [(audio, SECOND)], space=space)[0], mean, atol=FLOAT32)


@native_video
def test_spaces_are_those_of_the_declared_modalities(every_modality: Path) -> None:
    suite = load(every_modality)
    modalities = {name: space.modalities for name, space in suite.spaces.items()}
    assert modalities == {"scene": {"text", "image", "audio", "video"}, "sound": {"text", "audio"}}
    video = suite.encoders["scene"].video
    assert (video.fps, video.frames_per_clip, video.stride) == (1.0, 8, 8), "the frame rate of its video processor"
    assert suite.spaces["scene"].fingerprint != Checkpoint(str(every_modality)).fingerprint


@native_video
def test_audio_is_resampled_to_the_rate_of_the_model(tmp_path: Path) -> None:
    from torch import from_numpy
    from torchaudio.functional import resample

    folder = save_gemma2(tmp_path / "model")
    file = folder / "processor_config.json"
    config = json.loads(file.read_text())
    config["feature_extractor"]["sampling_rate"] = 24_000
    file.write_text(json.dumps(config))
    samples = resample(from_numpy(noise(3)), SAMPLE_RATE, 24_000).numpy()
    expected = encoded(library(folder), [as_audio(samples, 24_000)])
    vectors = load(folder).encode("audio", [(noise(3), SAMPLE_RATE)], space="sound")
    np.testing.assert_allclose(vectors, expected, atol=FLOAT32)


def test_video_model_without_torchvision_is_an_error(every_modality: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(MissingDependencyError, match=r"torchvision is not installed.*var-plugin\[video-models\]"):
        load(every_modality)


@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        (None, VideoSampling(2.0, 16, 1)),
        (SimpleNamespace(fps=1, max_frames=32), VideoSampling(1.0, 8, 1)),
        (SimpleNamespace(fps=2, max_frames=4, temporal_patch_size=2), VideoSampling(0.5, 4, 2)),
        (SimpleNamespace(fps=None, max_frames=None), VideoSampling(2.0, 16, 1)),
        (SimpleNamespace(fps=0.01), VideoSampling(0.01, 1, 1)),
    ],
)
def test_window_has_the_frame_rate_of_the_processor_within_its_limit(processor: Any, expected: VideoSampling) -> None:
    assert VideoSampling.of(processor) == expected


def test_model_without_video_encodes_footage_as_images(film: Film, tmp_path: Path) -> None:
    folder = save_sentence_transformers(tmp_path / "model", tmp_path / "clip")
    suite = load(folder)
    assert list(suite.spaces) == ["scene"]
    assert suite.encoders["scene"].video is None
    assert suite.spaces["scene"].modalities == {"text", "image", "video"}
    assert suite.spaces["scene"].fingerprint == Checkpoint(str(folder)).fingerprint
    path = film("film.mp4", seconds=4, fps=4, paint=lambda time: textured(int(time), 64, 64))
    with vp.open_index(tmp_path / "index.db", suite=suite) as index:
        assert index.add([path]).ok
        (moment, *_) = index.search(video=path, k=1)
        assert moment.matched["scene"] > 0.99


def test_text_that_names_a_file_is_encoded_as_text(tmp_path: Path, configured: pytest.MonkeyPatch) -> None:
    """The library would open such a file or address."""
    folder = save_sentence_transformers(tmp_path / "model", tmp_path / "clip")
    configured.chdir(tmp_path)
    Image.fromarray(textured(0, 32, 32)).save(tmp_path / "car.png")
    suite, model = load(folder), library(folder)
    texts = ["car.png", "https://host.invalid/car.png", "data:image/png;base64,"]
    expected = model.encode([{"text": text} for text in texts])
    np.testing.assert_allclose(suite.encode("text", texts), l2_normalize(expected), atol=FLOAT32)
    assert np.abs(suite.encode("text", ["car.png"]) - model.encode(["car.png"])).max() > 1e-3


@native_video
def test_film_is_indexed_and_found_by_every_modality(film: Film, tmp_path: Path, every_modality: Path) -> None:
    silent = film("silent.mp4", seconds=24, fps=4, paint=lambda time: textured(int(time) // 8, 96, 128))
    time = np.arange(8 * SECOND) / SAMPLE_RATE
    tones = [0.3 * np.sin(2 * np.pi * 200 * time), noise(8), 0.3 * np.sign(np.sin(2 * np.pi * 900 * time))]
    path = with_audio(silent, tmp_path / "film.mkv", np.concatenate(tones).astype(np.float32))
    with vp.open_index(tmp_path / "index.db", suite=load(every_modality)) as index:
        assert index.add([path, silent]).ok
        for number in range(3):
            span = vp.Span(path, 8.0 * number, 8.0 * number + 8)
            (moment, *_) = index.search(audio=span, k=1)
            assert (moment.uri, moment.matched["sound"] > 0.999) == (str(path), True)
            assert span.start <= moment.peak < span.end
            (moment, *_) = index.search(video=span, k=1)
            assert moment.start <= span.start + 0.3 < moment.end
            assert moment.matched["scene"] > 0.99
        assert index.search("a red car", k=1)
        assert index.verify().ok
