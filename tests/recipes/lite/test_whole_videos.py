"""The weight of anomaly-led clips in the vector of a whole video, with a hand-made model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recipes.lite.alan_examples import Samples
from recipes.lite.whole_videos import similarities
from tests.tolerances import FLOAT32
from var_plugin.encoders.alan.residual import ResidualAlanConfig, ResidualAlanModel
from var_plugin.encoders.base import Vectors, l2_normalize

_OBJECTS, _MOTION = 8, 12


@pytest.fixture
def model() -> ResidualAlanModel:
    """Return a model whose motion stream is the first three motion features and whose detector is the first."""
    config = ResidualAlanConfig(
        hidden_size=_OBJECTS, motion_dim=_MOTION, motion_width=3, sentence_dim=4, detector_stream="motion",
        detector_kernel_size=1, detector_channels=(1, 1), selection_temperature=0.1,
    )  # fmt: skip
    torch.manual_seed(0)
    model: ResidualAlanModel = ResidualAlanModel(config).eval()
    with torch.no_grad():
        model.motion.weight.copy_(torch.eye(3, _MOTION))
        model.motion.bias.zero_()
        for convolution in model.detector.convolutions:
            convolution.weight.zero_()
            convolution.weight[0, 0] = 4.0
            convolution.bias.zero_()
        model.detector.convolutions[-1].bias.fill_(-8.0)
    return model


def test_larger_anomaly_weight_moves_a_video_towards_its_detected_clips(model: ResidualAlanModel) -> None:
    random = np.random.default_rng(0)
    objects = l2_normalize(random.normal(size=(40, _OBJECTS)))
    motion = np.zeros((40, _MOTION), np.float32)
    motion[17:20, 0] = 1.5
    words = np.zeros(model.config.embedding_dim, np.float32)
    words[_OBJECTS] = 1
    near, far = similarities(model, [Samples(objects, motion), Samples(objects, 0 * motion)], words, (0.0, 0.5, 1.0)).T
    assert near[0] < near[1] < near[2]
    assert far == pytest.approx([0, 0, 0], abs=FLOAT32)
    assert near[0] == pytest.approx(_mean_of_all(model, objects, motion) @ words, abs=FLOAT32)


def _mean_of_all(model: ResidualAlanModel, objects: Vectors, motion: Vectors) -> Vectors:
    with torch.inference_mode():
        clips = model.encode_clips(torch.from_numpy(objects), torch.from_numpy(motion)).numpy()
    return l2_normalize(clips.mean(axis=0))
