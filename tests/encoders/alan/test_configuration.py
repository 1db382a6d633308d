"""Defaults are those of the paper. Invalid values are rejected with the name of the field."""

from __future__ import annotations

import pytest
from transformers import BertConfig

from var_plugin.encoders.alan import AlanConfig
from var_plugin.errors import InvalidInputError


def test_defaults_are_those_of_the_paper():
    config = AlanConfig()
    assert (config.hidden_size, config.num_fixed_clips, config.num_anomaly_clips) == (768, 50, 50)
    assert (config.selection_temperature, config.alignment_alpha, config.margin) == (0.7, 0.5, 0.05)
    assert (config.topk_loss_weight, config.mpm_loss_weight, config.topk_divisor) == (0.1, 0.01, 16)
    assert (config.detector_channels, config.detector_kernel_size, config.detector_dropout) == ((128, 32), 7, 0.6)
    assert (config.text_config.vocab_size, config.text_config.hidden_dropout_prob) == (28996, 0.3)
    assert config.embedding_dim == 4 * 768 + 1


def test_audio_queries_have_no_text_backbone():
    assert AlanConfig(query_modality="audio", text_config=BertConfig()).text_config is None


def test_one_stream_halves_the_embedding():
    assert AlanConfig(motion_dim=None, hidden_size=64).embedding_dim == 2 * 64 + 1


def test_saved_configuration_is_loaded(tmp_path, make_config):
    config = make_config(motion_dim=None, stream_weights_source="ungated")
    config.save_pretrained(tmp_path)
    loaded = AlanConfig.from_pretrained(tmp_path)
    assert isinstance(loaded.text_config, BertConfig)
    assert loaded.text_config.hidden_size == 20
    assert loaded.motion_dim is None
    assert loaded.to_dict() == config.to_dict()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("query_modality", "smell"),
        ("selection_normalizer", "power"),
        ("hidden_size", 770),
        ("hidden_size", 0),
        ("num_attention_heads", 0),
        ("selection_temperature", 0.0),
        ("alignment_alpha", 1.5),
        ("detector_kernel_size", 4),
        ("motion_dim", 0),
        ("margin", -0.1),
        ("max_text_length", 2),
    ],
)
def test_invalid_value_is_rejected(field, value):
    with pytest.raises(InvalidInputError, match=f"AlanConfig.{field} has the value"):
        AlanConfig(**{field: value})


def test_at_least_one_sampling_is_required():
    with pytest.raises(InvalidInputError, match="num_anomaly_clips"):
        AlanConfig(num_fixed_clips=0, num_anomaly_clips=0)


def test_raw_streams_of_different_width_cannot_be_added():
    with pytest.raises(InvalidInputError, match="detector_fusion"):
        AlanConfig(detector_fusion="sum", object_dim=1024, motion_dim=512)
    AlanConfig(detector_fusion="sum", object_dim=1024, motion_dim=512, detector_source="projected")
