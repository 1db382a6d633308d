from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from recipes.lite.flickr8k import CaptionedImages, read_image
from recipes.lite.lite_features import Features, cached_features, join
from recipes.lite.lite_model import LiteModel, fit_conse_head
from recipes.lite.lite_scene import Recipe, _batches, _loss, evaluate, save, train
from var_plugin.config import settings
from var_plugin.encoders.backbones.efficientnet_lite import EfficientNetLite
from var_plugin.encoders.backbones.minilm import MiniLM
from var_plugin.encoders.base import l2_normalize
from var_plugin.encoders.lite.image_text import LiteImageEncoder, LiteTextEncoder

COLORS = {"red": (220, 20, 20), "green": (20, 180, 20), "blue": (20, 20, 220), "white": (250, 250, 250)}
NAMES = [f"thing {number}" for number in range(1000)]
RECIPE = Recipe(
    epochs=16, batch_size=4, views=2, warmup_steps=2, dropout=0.0, dim=16, general_dim=8, rank=4, hidden=32,
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> CaptionedImages:
    """Return images of one colour each, with five captions."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("colors")
    for name, color in COLORS.items():
        Image.new("RGB", (224, 224), color).save(folder / f"{name}.png")
    templates = ("a {} wall", "everything is {}", "a picture in {}", "the whole surface is {}", "{} paint")
    return CaptionedImages(
        tuple(folder / f"{name}.png" for name in COLORS),
        tuple(tuple(template.format(n) for template in templates) for n in COLORS),
    )


@pytest.fixture(scope="module")
def features(data: CaptionedImages, tmp_path_factory: pytest.TempPathFactory) -> Features:
    return cached_features(data, views=2, folder=tmp_path_factory.mktemp("cache"), name="colors")


@pytest.fixture(scope="module")
def model(features: Features) -> LiteModel:
    return train(features, RECIPE)


@pytest.fixture(scope="module")
def trained(data: CaptionedImages, model: LiteModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    captions = [caption for captions in data.captions for caption in captions]
    save(model, fit_conse_head(NAMES, captions, dim=RECIPE.general_dim), folder, RECIPE)
    return folder


def test_features_are_read_from_the_cache(data: CaptionedImages, tmp_path: Path) -> None:
    first = cached_features(data, views=1, folder=tmp_path, name="colors")
    deleted = CaptionedImages(tuple(path.with_name("deleted.png") for path in data.paths), data.captions)
    second = cached_features(deleted, views=1, folder=tmp_path, name="colors")
    assert np.array_equal(first.trunk, second.trunk)
    assert np.array_equal(first.states, second.states)


def test_cache_depends_on_the_number_of_views(data: CaptionedImages, tmp_path: Path) -> None:
    for views in (1, 2):
        assert len(cached_features(data, views=views, folder=tmp_path, name="colors").trunk) == views


def test_first_view_is_the_unmodified_image(data: CaptionedImages, features: Features) -> None:
    trunk, logits = EfficientNetLite(settings().cache).features(
        [read_image(path) for path in data.paths], ["trunk", "logits"]
    )
    assert features.trunk[0] == pytest.approx(trunk, rel=1e-2, abs=1e-2)
    assert features.logits[0] == pytest.approx(logits, rel=1e-2, abs=1e-2)


def test_caption_states_are_in_the_order_of_the_images(data: CaptionedImages, features: Features) -> None:
    states, mask = MiniLM().trunk([data.captions[2][3]])
    length = states.shape[1]
    assert features.mask[2, 3].sum() == mask.sum() == length
    assert features.states[2, 3, :length] == pytest.approx(states[0].detach().numpy(), rel=1e-2, abs=1e-2)


def test_joined_features_keep_every_row(features: Features) -> None:
    both = join([features, features])
    assert len(both) == 2 * len(features)
    assert np.array_equal(both.trunk[:, len(features) :], features.trunk)
    assert np.array_equal(both.mask[: len(features)], features.mask)


def test_training_matches_captions_with_their_images(data: CaptionedImages, trained: Path) -> None:
    results = evaluate(data, trained)
    assert results["text to image"]["R@1"] >= 90  # chance: 25
    assert results["image to text"]["R@1"] == 100


def test_bfloat16_gives_the_loss_and_gradients_of_float32(features: Features) -> None:
    """One step is compared. Without instructions for bfloat16, a training would take minutes."""
    losses, gradients = [], []
    for bfloat16 in (False, True):
        recipe = replace(RECIPE, captions=1, bfloat16=bfloat16)
        torch.manual_seed(0)
        model = LiteModel(
            dim=recipe.dim, queries=recipe.queries, hidden=recipe.hidden, rank=recipe.rank, dropout=recipe.dropout
        )
        batch = next(_batches(features, recipe, np.random.default_rng(0)))
        loss, _ = _loss(model, batch, recipe)
        loss.backward()
        losses.append(loss.item())
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert torch.cosine_similarity(*gradients, dim=0) > 0.95


@torch.inference_mode()
def test_saved_encoders_agree_with_the_training_graph(
    data: CaptionedImages, features: Features, model: LiteModel, trained: Path
) -> None:
    """The low-rank factors are merged into the weights; the vectors differ by float16 rounding only."""
    captions = [caption for per_image in data.captions for caption in per_image]
    length = int(features.mask.sum(-1).max())
    images, _ = model.images(torch.from_numpy(features.trunk[0].astype(np.float32)))
    texts = model.texts(
        torch.from_numpy(features.states[..., :length, :].astype(np.float32)).flatten(0, 1),
        torch.from_numpy(features.mask[..., :length]).flatten(0, 1),
    )
    shipped = LiteImageEncoder(trained, settings().cache).encode([read_image(path) for path in data.paths])[
        :, : RECIPE.dim
    ]
    assert (l2_normalize(shipped) * images.numpy()).sum(1).min() > 0.999
    shipped = LiteTextEncoder(trained).encode(captions)[:, : RECIPE.dim]
    assert (l2_normalize(shipped) * texts.numpy()).sum(1).min() > 0.999
