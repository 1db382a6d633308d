"""The whole AlanModel: scores, padding, gradients, saving and loading, learning."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModel, BertModel

from tests.tolerances import FLOAT32
from var_plugin.encoders.alan import AlanModel
from var_plugin.errors import InvalidInputError, UnsupportedModalityError


@pytest.fixture
def batches(video_batch, text_batch, audio_batch):
    labels = {"anomaly_labels": torch.tensor([1.0, 0.0, 1.0])}
    return {"text": {**video_batch, **text_batch, **labels}, "audio": {**video_batch, **audio_batch, **labels}}


@pytest.mark.parametrize("modality", ["text", "audio"])
def test_scores_are_inner_products_of_features(make_config, batches, modality):
    model, batch = AlanModel(make_config(query_modality=modality)).eval(), batches[modality]
    with torch.no_grad():
        output = model(**batch)
        videos = model.get_video_features(batch["object_features"], batch["motion_features"], batch["clip_mask"])
        queries = (
            model.get_text_features(batch["input_ids"], batch["attention_mask"])
            if modality == "text"
            else model.get_audio_features(batch["audio_features"], batch["audio_mask"])
        )
    assert videos.shape == queries.shape == (3, model.config.embedding_dim)
    torch.testing.assert_close(videos @ queries.T, output.scores)
    torch.testing.assert_close(videos, output.video_embeds)
    torch.testing.assert_close(queries, output.query_embeds)
    assert output.loss is None


@pytest.mark.parametrize("fields", [{}, {"motion_dim": None}, {"detector_source": "projected"}])
@pytest.mark.parametrize("modality", ["text", "audio"])
def test_padded_batch_equals_single_items(make_config, batches, modality, fields):
    model, batch = AlanModel(make_config(query_modality=modality, **fields)).eval(), dict(batches[modality])
    if model.config.motion_dim is None:
        del batch["motion_features"]
    masks = {"object_features": "clip_mask", "motion_features": "clip_mask", "clip_mask": "clip_mask",
             "input_ids": "attention_mask", "attention_mask": "attention_mask",
             "audio_features": "audio_mask", "audio_mask": "audio_mask"}  # fmt: skip
    with torch.no_grad():
        together = model(**batch)
        for row in range(3):
            single = model(
                **{name: batch[name][row : row + 1, : int(batch[mask][row].sum())] for name, mask in masks.items()
                   if name in batch}
            )  # fmt: skip
            torch.testing.assert_close(single.video_embeds[0], together.video_embeds[row], atol=FLOAT32, rtol=0)
            torch.testing.assert_close(single.query_embeds[0], together.query_embeds[row], atol=FLOAT32, rtol=0)
            length = single.anomaly_scores.shape[1]
            torch.testing.assert_close(single.anomaly_scores[0], together.anomaly_scores[row, :length])


@pytest.mark.parametrize("fields", [{}, {"detector_source": "projected"}, {"detector_padding": "causal"}])
def test_long_video_is_scored_in_chunks_with_the_same_result(make_config, fields):
    encoder = AlanModel(make_config(**fields)).video_encoder.eval()
    streams = [torch.randn(2, 2_500, 12), torch.randn(2, 2_500, 10)]
    mask = torch.arange(2_500) < torch.tensor([[2_500], [1_030]])
    with torch.no_grad():
        chunked = encoder(*streams, mask).anomaly_scores
        whole = encoder._detect(streams, mask)
    torch.testing.assert_close(chunked, whole)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"motion_dim": None},
        {"position_embedding": "learned"},
        {"num_fixed_clips": 0},
        {"num_anomaly_clips": 0},
        {"stream_weights_source": "ungated"},
        {"gated_batch_norm": True},
        {"detector_source": "projected", "detector_fusion": "sum"},
        {"selection_normalizer": "linear"},
        {"prompt_streams": "split"},
        {"query_modality": "audio"},
    ],
)
def test_gradients_reach_every_parameter(make_config, batches, fields):
    config = make_config(**fields)
    model, batch = AlanModel(config), dict(batches[config.query_modality])
    if config.motion_dim is None:
        del batch["motion_features"]
    # No pair satisfies this margin, so every hinge has a gradient.
    config.margin = 3.0
    output = model(**batch, return_loss=True)
    output.loss.backward()
    assert output.loss.isfinite()
    # Softmax is invariant to a bias on keys, so key biases have no gradient.
    without_gradient = [
        name
        for name, parameter in model.named_parameters()
        if not name.endswith("key.bias") and (parameter.grad is None or not parameter.grad.abs().sum() > 0)
    ]
    assert without_gradient == []


def test_total_loss_is_the_weighted_sum_of_its_parts(make_config, batches):
    model = AlanModel(make_config())
    output = model(**batches["text"], return_loss=True, generator=torch.Generator().manual_seed(0))
    expected = output.margin_loss + 0.1 * output.topk_loss + 0.01 * output.mpm_loss
    torch.testing.assert_close(output.loss, expected)
    assert next(iter(output)) == "loss"


@pytest.mark.parametrize(("source", "has_gradient"), [("raw", False), ("projected", True)])
def test_topk_loss_trains_the_projections_only_with_projected_features(make_config, batches, source, has_gradient):
    model = AlanModel(make_config(detector_source=source))
    model(**batches["text"], return_loss=True).topk_loss.backward()
    gradient = model.video_encoder.projections[0].weight.grad
    assert (gradient is not None) == has_gradient


def test_audio_detector_has_its_own_loss(make_config, batches):
    with_loss, without = (
        AlanModel(make_config(query_modality="audio", audio_topk_loss=audio)) for audio in (True, False)
    )
    without.load_state_dict(with_loss.state_dict())
    losses = [model.eval()(**batches["audio"], return_loss=True).topk_loss for model in (with_loss, without)]
    assert losses[0] > losses[1] > 0


def test_losses_without_their_inputs_are_left_out(make_config, video_batch, text_batch):
    captions = {name: text_batch[name] for name in ("input_ids", "attention_mask")}
    output = AlanModel(make_config())(**video_batch, **captions, return_loss=True)
    assert output.topk_loss is None
    assert output.mpm_loss is None
    torch.testing.assert_close(output.loss, output.margin_loss)


def test_model_without_phrase_loss_has_no_decoder(make_config, batches):
    model = AlanModel(make_config(mpm_loss_weight=0.0))
    assert not any("phrase" in name for name, _ in model.named_parameters())
    assert model(**batches["text"], return_loss=True).mpm_loss is None


def test_equal_captions_can_be_excluded_from_negatives(make_config, video_batch):
    ids = torch.tensor([[2, 7, 8, 3], [2, 9, 8, 3], [2, 7, 8, 3]])
    strict = AlanModel(make_config(margin=3.0)).eval()
    lenient = AlanModel(make_config(margin=3.0, ignore_equal_captions=True)).eval()
    lenient.load_state_dict(strict.state_dict())
    scores = strict(**video_batch, input_ids=ids).scores
    negatives = [(0, 1), (1, 0), (1, 2), (2, 1)]
    terms = [scores[i, j] - scores[i, i] + 3 for i, j in negatives]
    terms += [scores[j, i] - scores[i, i] + 3 for i, j in negatives]
    loss = lenient(**video_batch, input_ids=ids, return_loss=True).margin_loss
    torch.testing.assert_close(loss, torch.stack(terms).mean())
    assert not torch.isclose(loss, strict(**video_batch, input_ids=ids, return_loss=True).margin_loss)


def test_same_generator_seed_repeats_a_training_step(make_config, batches):
    model = AlanModel(make_config(num_anomaly_clips=40))
    losses = [
        model(**batches["text"], return_loss=True, generator=torch.Generator().manual_seed(seed)).loss.item()
        for seed in (5, 5, 6)
    ]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("modality", ["text", "audio"])
def test_saved_model_is_loaded(tmp_path, make_config, batches, modality):
    model = AlanModel(make_config(query_modality=modality)).eval()
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        expected = model(**batches[modality])
        for loader in (AlanModel, AutoModel):
            loaded = loader.from_pretrained(tmp_path)
            assert isinstance(loaded, AlanModel)
            assert all(torch.equal(loaded.state_dict()[name], weight) for name, weight in model.state_dict().items())
            torch.testing.assert_close(loaded(**batches[modality]).scores, expected.scores)


def test_text_backbone_loads_pretrained_weights(tmp_path, make_config):
    backbone = BertModel(make_config().text_config)
    backbone.save_pretrained(tmp_path)
    model = AlanModel.from_pretrained_text(tmp_path, object_dim=12, motion_dim=None, hidden_size=16)
    assert torch.equal(model.text_encoder.backbone.embeddings.word_embeddings.weight,
                       backbone.embeddings.word_embeddings.weight)  # fmt: skip
    assert model.config.text_config.hidden_dropout_prob == 0.3
    assert model.config.object_dim == 12


@pytest.mark.parametrize("modality", ["text", "audio"])
def test_bfloat16_autocast_gives_finite_gradients(make_config, batches, modality):
    model = AlanModel(make_config(query_modality=modality))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(**batches[modality], return_loss=True).loss
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_wrong_input_is_rejected_by_name(make_config, batches, video_batch):
    text, audio = AlanModel(make_config()), AlanModel(make_config(query_modality="audio"))
    with pytest.raises(InvalidInputError, match="input_ids is missing"):
        text(**video_batch)
    with pytest.raises(InvalidInputError, match="motion features are missing"):
        text.get_video_features(video_batch["object_features"])
    with pytest.raises(UnsupportedModalityError, match="no audio queries"):
        text.get_audio_features(batches["audio"]["audio_features"])
    with pytest.raises(UnsupportedModalityError, match="no text queries"):
        audio.get_text_features(batches["text"]["input_ids"])


def test_model_overfits_32_pairs(make_config):
    """Every caption retrieves its video and every video its caption, by the folded vectors."""
    pairs = 32
    lengths = torch.randint(10, 40, (pairs, 1))
    batch = {
        "object_features": torch.randn(pairs, 40, 12), "motion_features": torch.randn(pairs, 40, 10),
        "clip_mask": torch.arange(40) < lengths, "input_ids": torch.randint(5, 60, (pairs, 10)),
        "noun_phrases": torch.tensor([[[1, 3], [5, 6]]]).repeat(pairs, 1, 1),
        "verb_phrases": torch.tensor([[[3, 5]]]).repeat(pairs, 1, 1),
        "anomaly_labels": torch.arange(pairs) % 2,
    }  # fmt: skip
    model = AlanModel(make_config(hidden_size=32, num_fixed_clips=10, num_anomaly_clips=10))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(100):
        optimizer.zero_grad()
        model(**batch, return_loss=True).loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        videos = model.get_video_features(*(batch[n] for n in ("object_features", "motion_features", "clip_mask")))
        scores = videos @ model.get_text_features(batch["input_ids"]).T
    own = torch.arange(pairs)
    assert torch.equal(scores.argmax(dim=0), own)
    assert torch.equal(scores.argmax(dim=1), own)
