from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from tests.tolerances import FLOAT32
from var_plugin.encoders.alan.residual import ResidualAlanConfig, ResidualAlanModel, from_stored_names, to_stored_names
from var_plugin.errors import MissingWeightsError

CONFIG = {"hidden_size": 16, "motion_dim": 12, "motion_width": 4, "sentence_dim": 6, "num_attention_heads": 4}


def model(**options: object) -> ResidualAlanModel:
    torch.manual_seed(0)
    return ResidualAlanModel(ResidualAlanConfig(**CONFIG | options)).eval()


def clip_batch(alan: ResidualAlanModel, batch: int = 3, time: int = 30) -> tuple[torch.Tensor, torch.Tensor]:
    objects = F.normalize(torch.randn(batch, time, alan.config.hidden_size), dim=-1)
    motion = None if alan.config.motion_dim is None else torch.randn(batch, time, alan.config.motion_dim)
    lengths = torch.tensor([time, time - 7, 1])[:batch]
    return alan.encode_clips(objects, motion), torch.arange(time) < lengths[:, None]


@pytest.mark.parametrize("options", [{}, {"motion_dim": None}])
def test_untrained_model_returns_the_mean_of_the_clips(options: dict[str, object]) -> None:
    alan = model(**options)
    clips, mask = clip_batch(alan)
    means = torch.stack([F.normalize(clips[i, : mask[i].sum()].mean(0), dim=-1) for i in range(3)])
    assert torch.allclose(alan(clips, mask).vectors, means, atol=FLOAT32)


@pytest.mark.parametrize("options", [{}, {"motion_dim": None}])
def test_every_vector_has_norm_one_and_the_dimension_of_the_space(options: dict[str, object]) -> None:
    alan = model(**options)
    clips, mask = clip_batch(alan)
    objects = F.normalize(torch.randn(5, 16), dim=-1)
    for vectors in (
        clips,
        alan(clips, mask).vectors,
        alan.encode_clips(objects),
        alan.encode_texts(objects, torch.randn(5, 6)),
    ):
        assert vectors.shape[-1] == alan.config.embedding_dim
        assert torch.allclose(vectors.norm(dim=-1), torch.ones(vectors.shape[:-1]), atol=FLOAT32)


def test_untrained_text_scores_by_appearance_alone() -> None:
    alan = model()
    clips, _ = clip_batch(alan)
    texts = F.normalize(torch.randn(2, 16), dim=-1)
    scores = clips @ alan.encode_texts(texts, torch.randn(2, 6)).T
    assert torch.allclose(scores, clips[..., :16] @ texts.T, atol=FLOAT32)


def test_image_scores_clips_by_appearance_alone() -> None:
    alan = model()
    clips, _ = clip_batch(alan)
    images = F.normalize(torch.randn(2, 16), dim=-1)
    assert torch.allclose(clips @ alan.encode_clips(images).T, clips[..., :16] @ images.T / 2**0.5, atol=FLOAT32)


def test_motion_gate_decides_the_stream_weights_of_a_text() -> None:
    alan = model()
    torch.nn.init.normal_(alan.motion_gate.weight)
    vectors = alan.encode_texts(F.normalize(torch.randn(2, 16), dim=-1), torch.randn(2, 6))
    motion_norms = vectors[:, 16:20].norm(dim=-1)
    assert ((motion_norms > 0) & (motion_norms < 1)).all()
    assert torch.allclose(vectors[:, :16].norm(dim=-1).square() + motion_norms.square(), torch.ones(2), atol=FLOAT32)


def test_motion_part_below_the_threshold_is_zero() -> None:
    alan = model(motion_threshold=0.5)
    torch.nn.init.normal_(alan.motion_gate.weight, std=0.02)
    texts = F.normalize(torch.randn(2, 16), dim=-1)
    assert torch.allclose(alan.encode_texts(texts, torch.randn(2, 6))[:, :16], texts, atol=FLOAT32)
    torch.nn.init.normal_(alan.motion_gate.weight, std=5.0)
    assert (alan.encode_texts(texts, torch.randn(2, 6))[:, 16:20].norm(dim=-1) > 0.5).all()


def test_gradients_reach_every_part_from_the_first_steps() -> None:
    alan = model(num_fixed_clips=5, num_anomaly_clips=5, dropout=0.0).train()
    optimizer = torch.optim.SGD(alan.parameters(), lr=0.5)
    reached: set[str] = set()
    for _ in range(3):  # a zero-initialised layer passes gradients on only after its first step
        clips, mask = clip_batch(alan)
        texts = alan.encode_texts(F.normalize(torch.randn(3, 16), dim=-1), torch.randn(3, 6))
        optimizer.zero_grad()
        alan.loss(alan(clips, mask), texts, mask, torch.tensor([1.0, 0.0, 1.0])).backward()
        reached |= {name for name, value in alan.named_parameters() if value.grad is not None and value.grad.any()}
        optimizer.step()
    assert reached == {name for name, _ in alan.named_parameters()}


def test_anomaly_weight_moves_a_video_towards_a_short_event() -> None:
    alan = model(selection_temperature=0.1)
    clips, _ = clip_batch(alan, batch=1, time=400)
    event = clips[0, 100:104]
    scores = torch.zeros(1, 400)
    scores[0, 100:104] = 1.0
    mask = torch.ones(1, 400, dtype=torch.bool)
    similarity = []
    for share in (0.0, 1.0):
        torch.nn.init.constant_(alan.anomaly_weight, share)
        led = alan(clips, mask, scores).vectors[0]
        similarity.append((led @ F.normalize(event.mean(0), dim=0)).item())
    assert similarity[1] > similarity[0]


def test_saved_model_is_loaded(tmp_path: Path) -> None:
    alan = model()
    torch.nn.init.normal_(alan.motion_gate.weight)
    clips, mask = clip_batch(alan)
    alan.save_pretrained(tmp_path)
    loaded = ResidualAlanModel.from_pretrained(tmp_path).eval()
    assert torch.allclose(loaded(clips, mask).vectors, alan(clips, mask).vectors, atol=FLOAT32)
    assert torch.equal(loaded.motion_gate.weight, alan.motion_gate.weight)


def test_model_that_transformers_saved_is_loaded(tmp_path: Path) -> None:
    """Models were subclasses of transformers' once: their configuration has more fields."""
    alan = model(detector_channels=(8, 4))
    alan.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    more = {
        "architectures": ["ResidualAlanModel"],
        "model_type": "alan-residual",
        "object_dim": 1024,
        "text_config": None,
    }
    file.write_text(json.dumps(json.loads(file.read_text()) | more))
    loaded = ResidualAlanModel.from_pretrained(tmp_path)
    assert (loaded.config.hidden_size, list(loaded.config.detector_channels)) == (16, [8, 4])
    assert all(torch.equal(value, alan.state_dict()[name]) for name, value in loaded.state_dict().items())


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_incomplete_model_is_refused(file: str, tmp_path: Path) -> None:
    model().save_pretrained(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(MissingWeightsError, match=f"is incomplete: there is no {file}; copy the complete folder"):
        ResidualAlanModel.from_pretrained(tmp_path)


def test_text_adapter_starts_as_identity_and_learns_from_the_first_step() -> None:
    alan = model(motion_dim=None, use_text_adapter=True, num_fixed_clips=5, num_anomaly_clips=5, dropout=0.0).train()
    texts = F.normalize(torch.randn(3, 16), dim=-1)
    assert torch.allclose(alan.encode_texts(texts, texts), texts, atol=FLOAT32)
    clips, mask = clip_batch(alan)
    alan.loss(alan(clips, mask), alan.encode_texts(texts, texts), mask, torch.full((3,), torch.nan)).backward()
    learning = {name for name, value in alan.named_parameters() if value.grad is not None and value.grad.any()}
    assert {"text_adapter.linear.weight", "streams.0.layer.linear2.weight", "anomaly_weight"} <= learning
    assert not any(name.startswith("detector") for name in learning), "no video is labelled"
    torch.optim.SGD(alan.parameters(), lr=0.5).step()
    assert not torch.allclose(alan.encode_texts(texts, texts), texts, atol=1e-4)
    assert not torch.allclose(alan(clips, mask).vectors, model(motion_dim=None)(clips, mask).vectors, atol=1e-4)


def test_shortcut_starts_at_zero_and_adds_to_the_logit_of_the_detector() -> None:
    plain, short = model(detector_stream="motion"), model(detector_stream="motion", detector_shortcut=True)
    short.detector.load_state_dict(plain.detector.state_dict())
    clips, mask = clip_batch(plain)
    before = plain.score_clips(clips, mask)
    assert torch.allclose(short.score_clips(clips, mask), before, atol=FLOAT32)
    torch.nn.init.constant_(short.shortcut.weight, 3.0)
    added = 3 * clips[..., 16:20].sum(-1)
    after = torch.sigmoid(torch.logit(before) + added).masked_fill(~mask, 0)
    assert torch.allclose(short.score_clips(clips, mask), after, atol=FLOAT32)
    assert added.abs().max() > 0.1


def test_unlabelled_videos_do_not_change_the_detector_loss() -> None:
    alan = model(motion_dim=None)
    clips, mask = clip_batch(alan)
    texts = F.normalize(torch.randn(3, 16), dim=-1)
    videos = alan(clips, mask)
    unknown, first = torch.full((3,), torch.nan), torch.tensor([1.0, torch.nan, torch.nan])
    plain = alan.loss(videos, texts, mask, unknown).item()
    one = type(videos)(videos.vectors, videos.anomaly_scores[:1])
    alone = alan.loss(one, texts, mask[:1], first[:1]).item()
    assert (
        alan.loss(videos, texts, mask, first).item() == pytest.approx(alone, rel=1e-5) != pytest.approx(plain, rel=1e-5)
    )


def test_stored_names_are_mapped_to_attributes_and_back() -> None:
    state = model(use_text_adapter=True).state_dict()
    stored = to_stored_names(state)
    assert {"anomaly_share", "listening.weight", "crossings.0.linear.weight", "reading.linear.bias"} <= set(stored)
    assert list(from_stored_names(stored)) == list(state)
