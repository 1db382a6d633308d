"""Compare PE-AV with the processor and the forward pass of transformers, on tiny random checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torchaudio.functional import resample

pytest.importorskip("timm", reason="the extra video-models is not installed")
pytest.importorskip("torchvision", reason="the extra video-models is not installed")
pytest.importorskip("transformers.models.pe_audio_video", reason="transformers has no PE-AV")

from transformers import PeAudioVideoModel, PeAudioVideoProcessor

import var_plugin as vp
from tests.encoders.backbones.recordings import WINDOW, noise, padded, with_audio
from tests.encoders.backbones.test_silent_weights import renamed
from tests.encoders.backbones.tiny import save_clip, save_pe_av
from tests.films import Film, textured
from tests.test_config import run
from tests.tolerances import ATOL, FLOAT32
from var_plugin.config import settings
from var_plugin.encoders.backbones.pe_av import spaces
from var_plugin.encoders.base import l2_normalize
from var_plugin.encoders.hub import Checkpoint
from var_plugin.encoders.registry import load_suite
from var_plugin.encoders.self_check import check_suite
from var_plugin.encoders.suite import Suite
from var_plugin.errors import InvalidInputError, MissingWeightsError, UnknownSuiteError
from var_plugin.media.decoded import SAMPLE_RATE, Frame

pytestmark = pytest.mark.usefixtures("configured")

DEFAULT = "facebook/pe-av-base-16-frame"
TEXTS = ["a red car", "a blue dog barks", "car"]
FRAMES = [Frame(second / 2, textured(second, 32, 32)) for second in range(40)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_pe_av(folder / DEFAULT)
    save_pe_av(folder / "variable", frames=None)
    return folder


@pytest.fixture
def suite() -> Suite:
    return load_suite("pe-av")


def library(
    folder: Path, dtype: str, texts: list[str], frames: list[Frame], audio: NDArray[np.float32]
) -> dict[str, NDArray[np.float32]]:
    """Return the L2-normalised outputs of the library for texts, one video and one recording of 16 kHz."""
    processor = PeAudioVideoProcessor.from_pretrained(folder)
    model = PeAudioVideoModel.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    # The library also joins each text with a video and a recording, so it needs as many of them.
    inputs = processor(
        text=texts,
        videos=[np.stack([frame.image for frame in frames])] * len(texts),
        audio=[resample(torch.from_numpy(audio), SAMPLE_RATE, 48_000).numpy()] * len(texts),
        sampling_rate=48_000,
        return_tensors="pt",
        padding=True,
    ).to(model.dtype)
    with torch.no_grad():
        output = model(**inputs)
    counts = {"text_video_embeds": len(texts), "text_audio_embeds": len(texts), "video_embeds": 1, "audio_embeds": 1}
    return {name: l2_normalize(output[name].float().numpy())[:count] for name, count in counts.items()}


@pytest.mark.parametrize("seconds", [0.6, 3.3, 8.0])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_all_modalities_match_the_library(
    configured: pytest.MonkeyPatch, models: Path, dtype: str, seconds: float
) -> None:
    configured.setenv("VAR_PLUGIN_DTYPE", dtype)
    settings.cache_clear()
    expected = library(models / DEFAULT, dtype, TEXTS, FRAMES[:16], noise(seconds))
    suite = load_suite("pe-av")
    scene, sound, atol = suite.encoders["scene"], suite.encoders["sound"], ATOL[dtype]
    np.testing.assert_allclose(scene.text.encode(TEXTS), expected["text_video_embeds"], atol=atol)
    np.testing.assert_allclose(sound.text.encode(TEXTS), expected["text_audio_embeds"], atol=atol)
    np.testing.assert_allclose(scene.video.encode(FRAMES[:16]), expected["video_embeds"], atol=atol)
    np.testing.assert_allclose(sound.audio.encode(padded(noise(seconds))), expected["audio_embeds"], atol=atol)


@pytest.mark.parametrize("model", [DEFAULT, "variable"])
@pytest.mark.parametrize("count", [1, 3, 16])
def test_incomplete_window_matches_the_library(models: Path, model: str, count: int) -> None:
    """A model of 16 frames repeats frames as its processor does. Other models encode the frames that there are."""
    expected = library(models / model, "float32", TEXTS, FRAMES[:count], noise(1))["video_embeds"]
    window = FRAMES[:count] + [FRAMES[count - 1]] * (16 - count)
    scene = load_suite(f"pe-av:{models / model}").encoders["scene"]
    np.testing.assert_allclose(scene.video.encode(window), expected, atol=FLOAT32)
    if count == 1:
        np.testing.assert_allclose(scene.image.encode([FRAMES[0].image]), expected, atol=FLOAT32)


def test_texts_for_video_differ_from_texts_for_audio(suite: Suite) -> None:
    vectors = [suite.encode("text", TEXTS, space=space) for space in ("scene", "sound")]
    assert np.abs(vectors[0] - vectors[1]).max() > 0.1


@pytest.mark.parametrize("model", [DEFAULT, "variable"])
def test_items_of_a_batch_do_not_affect_each_other(models: Path, model: str) -> None:
    suite = load_suite(f"pe-av:{models / model}")
    audio, video = suite.encoders["sound"].audio, suite.encoders["scene"].video
    windows = np.concatenate([padded(noise(seconds)) for seconds in (1.0, 8.0, 2.5, 8.0, 1.0)])
    alone = np.concatenate([audio.encode(window[None]) for window in windows])
    np.testing.assert_allclose(audio.encode(windows), alone, atol=FLOAT32)
    clips = [[frame.image for frame in FRAMES[:count]] for count in (16, 2, 7)]
    alone = np.concatenate([video.encode_clips([clip]) for clip in clips])
    np.testing.assert_allclose(video.encode_clips(clips), alone, atol=FLOAT32)


def test_long_video_and_audio_are_means_of_windows(suite: Suite) -> None:
    video = suite.encoders["scene"].video
    assert (video.fps, video.frames_per_clip, video.stride) == (2.0, 16, 16)
    windows = [video.encode(FRAMES[:16]), video.encode(FRAMES[16:32]), video.encode(FRAMES[32:] + [FRAMES[-1]] * 8)]
    vectors = video.encode(FRAMES + [FRAMES[-1]] * 8)
    np.testing.assert_allclose(vectors, np.concatenate(windows), atol=FLOAT32)
    audio = noise(24)
    parts = [audio[start : start + WINDOW] for start in range(0, len(audio), WINDOW)]
    loudness = np.sqrt([np.square(part).mean() for part in parts])
    encoded = [suite.encoders["sound"].audio.encode(padded(part)) for part in parts]
    mean = l2_normalize(loudness @ np.concatenate(encoded))
    for space in ("scene", "sound"):
        np.testing.assert_allclose(suite.encode("audio", [(audio, SAMPLE_RATE)], space=space)[0], mean, atol=FLOAT32)


def test_silent_audio_has_a_vector(suite: Suite) -> None:
    vectors = suite.encode("audio", [(np.zeros(WINDOW, np.float32), SAMPLE_RATE)], space="sound")
    assert np.isfinite(vectors).all()


def test_bfloat16_passes_the_self_check() -> None:
    results = check_suite("pe-av", settings().model_copy(update={"dtype": "bfloat16"}))
    assert len(results) == 6
    assert not [result for result in results if result.cosine is None or result.cosine < 0.99]


def test_float16_overflow_fails_the_self_check() -> None:
    """The audio codec has no normalisation. With the weights of the tiny model, loud audio exceeds the range."""
    results = check_suite("pe-av", settings().model_copy(update={"dtype": "float16"}))
    problems = {(result.space, result.modality): result.problem for result in results}
    assert "NaN or infinity" in problems["sound", "audio"]
    assert not problems["scene", "video"]


def test_nothing_is_printed(suite: Suite, capfd: pytest.CaptureFixture[str]) -> None:
    """transformers prints a remark about its documentation, which would break the JSON of a command."""
    suite.encode("text", TEXTS)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("layer", ["video_model.video_head", "audio_model.audio_encoder.embedder", "text_model.layers"])
def test_misnamed_weights_are_rejected(tmp_path: Path, layer: str) -> None:
    misnamed = renamed(save_pe_av(tmp_path / "model"), layer, f"wrapped.{layer}")
    with pytest.raises(MissingWeightsError, match="would be random numbers"):
        spaces(Checkpoint(str(misnamed)))["scene"].text.encode(TEXTS)


def test_unused_weights_are_rejected(tmp_path: Path) -> None:
    file = save_pe_av(tmp_path / "model") / "model.safetensors"
    save_file(load_file(file) | {"score.weight": torch.ones(2)}, file, {"format": "pt"})
    with pytest.raises(MissingWeightsError, match=r"holds 1 weights that the network does not use.*score"):
        load_suite(f"pe-av:{file.parent}").encode("text", TEXTS)


def test_image_network_of_another_repository_is_refused(tmp_path: Path) -> None:
    file = save_pe_av(tmp_path / "model") / "config.json"
    config: dict[str, Any] = json.loads(file.read_text())
    config["audio_video_config"]["video_config"]["vision_config"]["architecture"] = "hf-hub:organisation/vit"
    file.write_text(json.dumps(config))
    with pytest.raises(InvalidInputError, match="'hf-hub:organisation/vit', in another repository"):
        load_suite(f"pe-av:{file.parent}")


def test_model_of_another_type_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UnknownSuiteError, match="of type 'clip'"):
        load_suite(f"pe-av:{save_clip(tmp_path / 'clip')}")


def test_missing_package_error_names_the_extra(tmp_path: Path, models: Path, film: Film) -> None:
    film("film.mp4", seconds=2, fps=5)
    ended = run(tmp_path, "index", "film.mp4", "--suite", f"pe-av:{models / DEFAULT}")
    assert ended.returncode == 6, ended.stderr
    assert "timm, torchvision is not installed" in ended.stderr
    assert "pip install 'var-plugin[video-models]'" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr


def test_film_is_indexed_and_found_by_every_modality(film: Film, tmp_path: Path) -> None:
    """An audio query finds the segment whose audio it is."""
    silent = film("silent.mp4", seconds=24, fps=4, paint=lambda time: textured(int(time) // 8, 48, 64))
    time = np.arange(8 * SAMPLE_RATE) / SAMPLE_RATE
    tones = [0.3 * np.sin(2 * np.pi * 200 * time), noise(8), 0.3 * np.sign(np.sin(2 * np.pi * 900 * time))]
    path = with_audio(silent, tmp_path / "film.mkv", np.concatenate(tones).astype(np.float32))
    with vp.open_index(tmp_path / "index.db", suite="pe-av") as index:
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
        assert index.search(image=textured(1, 48, 64), k=1)
        assert [score.start for score in index.suite.anomaly(path)] == pytest.approx([0, 8, 16], abs=0.01)
        assert index.verify().ok
