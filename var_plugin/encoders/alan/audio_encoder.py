"""Audio tower: detector, clip sampling, one stream and gated embedding units (section III-C)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from var_plugin.encoders.alan.configuration import AlanConfig
from var_plugin.encoders.alan.detector import AnomalyDetector
from var_plugin.encoders.alan.embeddings import ClipSequence, gather_clips, pool_sequence
from var_plugin.encoders.alan.encodings import AudioEncoding
from var_plugin.encoders.alan.query_head import QueryHeads
from var_plugin.encoders.alan.sampling import ClipSampler
from var_plugin.encoders.alan.transformer import self_encoder


class AlanAudioEncoder(nn.Module):
    """Map audio clip features to g_a and h_a for each stream of the videos.

    Audio clips are gather_clips independently of the video's clips, so the two may differ in length.
    """

    def __init__(self, config: AlanConfig) -> None:
        super().__init__()
        self.projection = nn.Linear(config.audio_dim, config.hidden_size)
        self.detect_on_raw = config.detector_source == "raw"
        self.detector = AnomalyDetector(config, config.audio_dim if self.detect_on_raw else config.hidden_size)
        self.sampler = ClipSampler(config)
        self.sequence = ClipSequence(config)
        self.self_encoder = self_encoder(config)
        self.heads = QueryHeads(config, config.hidden_size)

    def forward(self, features: Tensor, mask: Tensor, generator: torch.Generator | None = None) -> AudioEncoding:
        """Encode a batch of audio clip sequences.

        Args:
            features: (batch, time, audio_dim).
            mask: (batch, time) bool, true at real clips, left-aligned.
            generator: random generator of the sampling. Default: torch's global one.

        Returns:
            The encoding, with the anomaly scores of the audio.

        Raises:
            InvalidInputError: The mask is not left-aligned.
        """
        scores = self.detector(features if self.detect_on_raw else self.projection(features), mask)
        samples = self.sampler(scores, mask, generator)
        clips = self.projection(gather_clips(features, samples))
        encoded = self.self_encoder(self.sequence(clips, samples, mask.sum(dim=1)))
        cls, avg, _ = pool_sequence(encoded, [index.shape[1] for index in samples])
        query = self.heads(cls, avg)
        return AudioEncoding(query.cls, query.avg, query.cls_weights, query.avg_weights, anomaly_scores=scores)
