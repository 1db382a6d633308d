"""Compare pretrained backbones with the libraries' own preprocessing and forward pass, on tiny checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torchaudio.functional import resample
from transformers import AutoFeatureExtractor, AutoImageProcessor, AutoModel, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

from tests.encoders.backbones.tiny import save_clap, save_clip, save_sentence_transformers, save_siglip
from tests.encoders.test_audio_features import sine
from tests.films import textured
from tests.tolerances import ATOL, FLOAT32
from var_plugin.config import settings
from var_plugin.encoders.base import Vectors, l2_normalize
from var_plugin.encoders.registry import descriptions, load_suite
from var_plugin.errors import MissingWeightsError, UnknownSuiteError

DTYPES = ["float32", "bfloat16", "float16"]
TEXTS = ["a red car", "a blue dog", "a dog barks"]
IMAGES = [textured(seed, 32, 32) for seed in range(3)]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write all models to a folder, under their Hub names."""
    folder = tmp_path_factory.mktemp("models")
    save_clip(folder / "laion/CLIP-ViT-B-32-laion2B-s34B-b79K")
    save_siglip(folder / "google/siglip2-base-patch16-224")
    save_clap(folder / "laion/larger_clap_general")
    return folder


@pytest.fixture
def configured(hub: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Use the folder of models, no network access, and the CPU."""
    monkeypatch.setenv("VAR_PLUGIN_MODEL_DIR", str(hub))
    monkeypatch.setenv("VAR_PLUGIN_DEVICE", "cpu")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    settings.cache_clear()
    yield monkeypatch
    settings.cache_clear()


def normalised(features: object) -> Vectors:
    return l2_normalize(features.pooler_output.float().numpy(force=True))  # type: ignore[attr-defined]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["clip", "siglip2"])
def test_texts_and_images_match_the_library(configured: pytest.MonkeyPatch, hub: Path, name: str, dtype: str) -> None:
    configured.setenv("VAR_PLUGIN_DTYPE", dtype)
    settings.cache_clear()
    folder = next((hub / ("laion" if name == "clip" else "google")).glob("CLIP*" if name == "clip" else "sig*"))
    model = AutoModel.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    padding = True if name == "clip" else "max_length"
    tokens = AutoTokenizer.from_pretrained(folder)(
        TEXTS, padding=padding, truncation=True, max_length=8, return_tensors="pt", return_token_type_ids=False
    )
    pixels = AutoImageProcessor.from_pretrained(folder)(IMAGES, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        texts = normalised(model.get_text_features(**tokens))
        images = normalised(model.get_image_features(pixel_values=pixels.to(model.dtype)))
    suite = load_suite(name)
    assert suite.spaces["scene"].dim == texts.shape[1]
    np.testing.assert_allclose(suite.encode("text", TEXTS, space="scene"), texts, atol=ATOL[dtype])
    np.testing.assert_allclose(suite.encode("image", IMAGES), images, atol=ATOL[dtype])


@pytest.mark.parametrize("name", ["clip", "siglip2"])
def test_images_of_the_input_size_are_not_resized(configured: pytest.MonkeyPatch, name: str) -> None:
    encoder = load_suite(name).encoders["scene"].image
    processor = encoder._network.image_processor
    assert encoder.size == (32, 32)
    prepared = processor(IMAGES, return_tensors="np")["pixel_values"]
    mean, deviation = np.array(processor.image_mean), np.array(processor.image_std)
    by_hand = (np.stack(IMAGES) / 255 - mean) / deviation
    np.testing.assert_allclose(prepared, by_hand.transpose(0, 3, 1, 2), atol=FLOAT32)


@pytest.mark.parametrize("dtype", DTYPES)
def test_audio_and_texts_match_the_library(configured: pytest.MonkeyPatch, hub: Path, dtype: str) -> None:
    configured.setenv("VAR_PLUGIN_DTYPE", dtype)
    settings.cache_clear()
    folder = hub / "laion/larger_clap_general"
    model = AutoModel.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    tokens = AutoTokenizer.from_pretrained(folder)(
        TEXTS, padding=True, return_tensors="pt", return_token_type_ids=False
    )
    tones = [sine(frequency, 1.0) for frequency in (300, 3_000)]
    at_48 = [resample(torch.from_numpy(tone), 16_000, 48_000).numpy() for tone in tones]
    prepared = AutoFeatureExtractor.from_pretrained(folder)(at_48, sampling_rate=48_000, return_tensors="pt")
    with torch.no_grad():
        texts = normalised(model.get_text_features(**tokens))
        sounds = normalised(model.get_audio_features(input_features=prepared["input_features"].to(model.dtype)))
    suite = load_suite("clip")
    assert suite.encoders["sound"].audio.window == 16_000
    np.testing.assert_allclose(suite.encode("text", TEXTS, space="sound"), texts, atol=ATOL[dtype])
    np.testing.assert_allclose(suite.encode("audio", [(tone, 16_000) for tone in tones]), sounds, atol=ATOL[dtype])


@pytest.mark.parametrize(
    ("where", "dtype"),
    [(where, dtype) for where in ("cpu", "cuda") for dtype in DTYPES if (where, dtype) != ("cpu", "float32")],
)
@pytest.mark.parametrize("name", ["clip", "siglip2"])
def test_gpu_and_half_precision_are_close_to_float32(
    configured: pytest.MonkeyPatch, name: str, where: str, dtype: str
) -> None:
    if where == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU here")

    def vectors() -> list[Vectors]:
        settings.cache_clear()
        suite = load_suite(name)
        sounds = [(sine(frequency, 1.0), 16_000) for frequency in (300, 3_000)]
        return [
            suite.encode("image", IMAGES),
            suite.encode("audio", sounds),
            suite.encode("text", TEXTS, space="scene"),
        ]

    exact = vectors()
    configured.setenv("VAR_PLUGIN_DEVICE", where)
    configured.setenv("VAR_PLUGIN_DTYPE", dtype)
    for ours, theirs in zip(vectors(), exact, strict=True):
        assert (ours * theirs).sum(axis=1).min() > (0.99999 if dtype == "float32" else 0.999)


def test_model_is_loaded_from_its_folder(configured: pytest.MonkeyPatch, tmp_path: Path) -> None:
    suite = load_suite(f"clip:{save_clip(tmp_path / 'mine')}")
    assert suite.name == f"clip:{tmp_path / 'mine'}"
    assert suite.fingerprint == load_suite("clip").fingerprint, "the same files"
    weights = load_file(tmp_path / "mine/model.safetensors")
    weights["logit_scale"] += 1
    save_file(weights, tmp_path / "mine/model.safetensors", {"format": "pt"})
    assert load_suite(suite.name).fingerprint != suite.fingerprint


def test_missing_weights_are_rejected(configured: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = save_clip(tmp_path / "mine")
    weights = load_file(folder / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(MissingWeightsError, match=r"lacks 1 weights .*visual_projection"):
        load_suite(f"clip:{folder}").encode("image", IMAGES)


def test_missing_model_error_names_the_download_command(configured: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingWeightsError, match=r"run: hf download nobody/nothing --revision v2"):
        load_suite("clip:nobody/nothing@v2")


def test_pickles_are_not_loaded(configured: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = save_clip(tmp_path / "mine")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(MissingWeightsError, match="contains no safetensors"):
        load_suite(f"clip:{folder}")


def test_documentation_names_every_suite() -> None:
    page = (Path(__file__).parents[3] / "docs" / "suites.md").read_text()
    table = page.partition("| suite |")[2].partition("\n\n")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1].partition(":")[0] for row in rows] == list(descriptions())


@pytest.mark.parametrize(
    "model_type", ["clap", "clip", "embedding_gemma2", "pe_audio_video", "qwen3_vl", "siglip", "xclip"]
)
def test_transformers_has_the_network_of_every_suite(model_type: str) -> None:
    """Tests of a suite are skipped where its network is missing."""
    assert hasattr(transformers, MODEL_MAPPING_NAMES[model_type])


def test_open_clip_has_the_functions_of_its_suite() -> None:
    import open_clip

    assert callable(open_clip.create_model) and callable(open_clip.get_tokenizer)


@pytest.mark.parametrize("name", ["lite:model", "sentence-transformers", "sentence-transformers:"])
def test_suite_rejects_an_unexpected_model_name(name: str) -> None:
    with pytest.raises(UnknownSuiteError, match=r"needs a model name|takes no model name"):
        load_suite(name)


def test_model_of_another_type_is_rejected(configured: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownSuiteError, match="of type 'clap'"):
        load_suite("clip:laion/larger_clap_general")


@pytest.mark.parametrize("dtype", DTYPES)
def test_sentence_transformers_matches_the_library(configured: pytest.MonkeyPatch, tmp_path: Path, dtype: str) -> None:
    from PIL import Image
    from sentence_transformers import SentenceTransformer

    folder = save_sentence_transformers(tmp_path / "model", tmp_path / "clip")
    library = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": dtype})
    configured.setenv("VAR_PLUGIN_DTYPE", dtype)
    settings.cache_clear()
    suite = load_suite(f"sentence-transformers:{folder}")
    np.testing.assert_allclose(suite.encode("text", TEXTS), l2_normalize(library.encode(TEXTS)), atol=ATOL[dtype])
    big = [np.kron(image, np.ones((12, 12, 1), np.uint8)) for image in IMAGES]
    expected = l2_normalize(library.encode([Image.fromarray(image) for image in big]))
    np.testing.assert_allclose(suite.encode("image", big), expected, atol=ATOL[dtype])
