"""Video tower: one detector, two samplings, and two streams with cross-attention (section III-B, figure 2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from var_plugin.encoders.alan.configuration import AlanConfig
from var_plugin.encoders.alan.detector import AnomalyDetector
from var_plugin.encoders.alan.embeddings import ClipSequence, gather_clips, pool_sequence
from var_plugin.encoders.alan.encodings import VideoEncoding
from var_plugin.encoders.alan.sampling import ClipSampler
from var_plugin.encoders.alan.transformer import CrossEncoder, self_encoder
from var_plugin.errors import InvalidInputError

_MAX_CLIPS_PER_CHUNK = 1_024


class AlanVideoEncoder(nn.Module):
    """Map clip features of an object and a motion stream to g_v, h_v, X_v and anomaly scores.

    The detector reads both streams at full length. Its sampling indices apply to both. Without a motion stream
    (`motion_dim=None`, row 27) the object stream passes its self encoder alone.
    """

    def __init__(self, config: AlanConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.object_dim] if config.motion_dim is None else [config.object_dim, config.motion_dim]
        self.projections = nn.ModuleList(nn.Linear(width, config.hidden_size) for width in widths)
        dims = widths if config.detector_source == "raw" else [config.hidden_size] * len(widths)
        self.detector = AnomalyDetector(config, sum(dims) if config.detector_fusion == "concat" else dims[0])
        self.sampler = ClipSampler(config)
        self.sequences = nn.ModuleList(ClipSequence(config) for _ in widths)
        self.self_encoders = nn.ModuleList(self_encoder(config) for _ in widths)
        self.cross_encoders = nn.ModuleList(CrossEncoder(config) for _ in widths if len(widths) > 1)

    def forward(
        self,
        object_features: Tensor,
        motion_features: Tensor | None,
        mask: Tensor,
        generator: torch.Generator | None = None,
    ) -> VideoEncoding:
        """Encode a batch of videos.

        Args:
            object_features: (batch, time, object_dim).
            motion_features: (batch, time, motion_dim). None if and only if the model has no motion stream.
            mask: (batch, time) bool, true at real clips, left-aligned.
            generator: random generator of the sampling. Default: torch's global one.

        Returns:
            The encoding. S is 2, or 1 without motion.

        Raises:
            InvalidInputError: Motion features do not fit the configuration, or the mask is not left-aligned.
        """
        if (motion_features is None) != (self.config.motion_dim is None):
            raise InvalidInputError(
                f"motion features are {'missing' if motion_features is None else 'not expected'}",
                why=f"motion_dim of the model is {self.config.motion_dim}",
                fix="pass features for the streams of the model, or train a model for the features at hand",
            )
        raw = [object_features] if motion_features is None else [object_features, motion_features]
        scores = self._scores(raw, mask)
        samples = self.sampler(scores, mask, generator)

        lengths = mask.sum(dim=1)
        clips = [project(gather_clips(stream, samples)) for project, stream in zip(self.projections, raw, strict=True)]
        sequences = [build(stream, samples, lengths) for build, stream in zip(self.sequences, clips, strict=True)]
        encoded = [encode(sequence) for encode, sequence in zip(self.self_encoders, sequences, strict=True)]
        if self.cross_encoders:
            others = reversed(encoded)
            encoded = [
                cross(own, other) for cross, own, other in zip(self.cross_encoders, encoded, others, strict=True)
            ]
        pooled = [pool_sequence(sequence, [index.shape[1] for index in samples]) for sequence in encoded]
        cls, avg, outputs = (torch.stack(streams, dim=1) for streams in zip(*pooled, strict=True))
        return VideoEncoding(cls, avg, outputs, clip_index=torch.cat(samples, dim=1), anomaly_scores=scores)

    def _scores(self, raw: list[Tensor], mask: Tensor) -> Tensor:
        """Return the anomaly scores (batch, time). Long videos are scored in chunks, to bound memory."""
        time, context_size = mask.shape[1], self.detector.context_size
        if self.training or time <= _MAX_CLIPS_PER_CHUNK:
            return self._detect(raw, mask)
        scores = []
        for first in range(0, time, _MAX_CLIPS_PER_CHUNK):
            start = max(0, first - context_size)
            chunk = slice(start, first + _MAX_CLIPS_PER_CHUNK + context_size)
            chunk_scores = self._detect([stream[:, chunk] for stream in raw], mask[:, chunk])
            scores.append(chunk_scores[:, first - start :][:, :_MAX_CLIPS_PER_CHUNK])
        return torch.cat(scores, dim=1)

    def _detect(self, raw: list[Tensor], mask: Tensor) -> Tensor:
        streams = raw
        if self.config.detector_source == "projected":
            streams = [project(stream) for project, stream in zip(self.projections, raw, strict=True)]
        fused = torch.cat(streams, dim=-1) if self.config.detector_fusion == "concat" else torch.stack(streams).sum(0)
        scores: Tensor = self.detector(fused, mask)
        return scores
