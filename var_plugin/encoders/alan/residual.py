"""ALAN on top of a space that exists already: the residual mode, an extension of ours.

The paper's towers make a space of their own. Where a backbone pair has one (CLIP and its relatives, the lite suite),
they refine it instead: every layer begins as "change nothing". So an untrained model returns the mean of the clip
vectors, and training can only be accepted for what it adds.

What it adds: a second stream for motion, which the text decides how much to listen to; clip anomaly scores; anomaly-led
sampling for the vector of a whole video.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from var_plugin.encoders.alan.configuration import AlanConfig
from var_plugin.encoders.alan.detector import AnomalyDetector, topk_loss
from var_plugin.encoders.alan.embeddings import pool_sequence
from var_plugin.encoders.alan.gated import GatedEmbeddingUnit
from var_plugin.encoders.alan.losses import max_margin_loss
from var_plugin.encoders.alan.sampling import ClipSampler
from var_plugin.errors import InvalidInputError

DetectorStream = Literal["both", "motion"]


class ResidualAlanConfig(AlanConfig):
    """Settings of `ResidualAlanModel`; sampling, detector and loss are those of `AlanConfig`.

    Args:
        hidden_size: width of the space that exists, and of the object stream.
        motion_dim: width of a motion feature; None: no motion stream.
        motion_width: width of the motion stream in a vector, small: it costs storage in every row.
        sentence_dim: width of the sentence vectors that say how much motion counts.
        least_heard: a text's motion part up to this length counts as none: most texts do not speak of motion, and what
            a regression says of them is noise. Training from scratch needs 0, or no gradient gets through.
        adapted_texts: a text's vector is moved by a layer of its own, so that training reaches the search of segments,
            whose vectors are means of clips; else texts stay as the space has them.
        detector_stream: what the detector sees: "both" streams, as in the paper, or "motion" alone, where few cameras
            to learn from would let it learn the cameras.
        detector_shortcut: beside the detector's convolutions, a linear layer of what they see, which begins as zero:
            for what is known of single clips already, so that they learn the rest.
    """

    model_type = "alan-residual"
    even_width: ClassVar[bool] = False

    motion_width: int = 8
    sentence_dim: int = 384
    least_heard: float = 0.0
    adapted_texts: bool = False
    detector_stream: DetectorStream = "both"
    detector_shortcut: bool = False

    def __post_init__(self, **kwargs: object) -> None:
        super().__post_init__(**kwargs)
        self.text_config = None
        if self.detector_stream == "motion" and self.motion_dim is None:
            raise InvalidInputError(
                "the detector is to see motion alone", why="motion_dim is None", fix='pass detector_stream="both"'
            )

    @property
    def widths(self) -> list[int]:
        """Widths of the streams: object, and motion where there is one."""
        return [self.hidden_size] if self.motion_dim is None else [self.hidden_size, self.motion_width]

    @property
    def first_detected(self) -> int:
        """Number of the first stream that the detector sees."""
        return 1 if self.detector_stream == "motion" else 0

    @property
    def embedding_dim(self) -> int:
        """Width of a folded vector: the streams, and with motion the two coordinates that complete the length."""
        return sum(self.widths) + self.completing

    @property
    def completing(self) -> int:
        """How many coordinates complete the length of clips and images."""
        return 0 if self.motion_dim is None else 2


@dataclass
class ResidualVideo:
    """A batch of videos: their vectors and what the detector says of their clips."""

    vectors: Tensor
    """(batch, embedding_dim) of length one."""
    anomaly_scores: Tensor
    """(batch, time) from 0 to 1; 0 where the batch is padded."""


class ResidualAlanModel(PreTrainedModel):  # type: ignore[misc]
    """The towers of ALAN as changes to a space that exists.

    With o and t the vectors of a clip and a text in that space, m and u their motion parts, all shorter than one:

    * a clip is `[o ; m ; √(1-|m|²) ; 0] / √2`; an image, of whose motion nothing is known, is `[o ; 0 ; 0 ; 1] / √2`,
      so that an image finds clips by appearance alone;
    * a text is `[√(1-|u|²)·t ; u ; 0 ; 0]`, so (√(1-|u|²), |u|) are the stream weights of Eq. 3. They start at (1, 0).

    Every vector has length one, so inner product and cosine rank alike.
    """

    config_class = ResidualAlanConfig
    base_model_prefix = "alan"
    main_input_name = "clips"

    def __init__(self, config: ResidualAlanConfig) -> None:
        super().__init__(config)
        seen = sum(config.widths[config.first_detected :])
        self.detector = AnomalyDetector(config, seen)
        self.shortcut = nn.Linear(seen, 1, bias=False) if config.detector_shortcut else None
        self.sampler = ClipSampler(config)
        self.streams = nn.ModuleList(Stream(config, width) for width in config.widths)
        self.crossings = nn.ModuleList(
            Crossing(config, own, other)
            for own, other in zip(config.widths, reversed(config.widths), strict=True)
            if config.motion_dim is not None
        )
        self.anomaly_share = nn.Parameter(torch.zeros(()))
        if config.motion_dim is not None:
            self.motion = nn.Linear(config.motion_dim, config.motion_width)
            self.listening = nn.Linear(config.sentence_dim, config.motion_width)
        self.reading = Reading(config) if config.adapted_texts else None
        self.post_init()
        for part in (*self.streams, *self.crossings, *([self.reading] if self.reading else [])):
            part.start_without_effect()
        if config.motion_dim is not None:
            nn.init.zeros_(self.listening.weight)
            nn.init.zeros_(self.listening.bias)
        if self.shortcut is not None:
            nn.init.zeros_(self.shortcut.weight)

    def clips(self, objects: Tensor, motion_features: Tensor | None = None) -> Tensor:
        """Fold clips into vectors of length one.

        Args:
            objects: (..., hidden_size) of length one.
            motion_features: (..., motion_dim); None where nothing is known of motion, as of an image.

        Returns:
            (..., embedding_dim).
        """
        if self.config.motion_dim is None:
            return objects
        if motion_features is None:
            unknown = objects.new_zeros(*objects.shape[:-1], self.config.motion_width + self.config.completing)
            unknown[..., -1] = 1
            return torch.cat([objects, unknown], dim=-1) / 2**0.5
        return self.fold(objects, self.motion(motion_features))

    @staticmethod
    def fold(objects: Tensor, motion: Tensor) -> Tensor:
        """Fold clips whose motion (..., motion_width), of any length, is known already; as `clips`."""
        motion = _shortened(motion)
        return F.pad(torch.cat([objects, motion, _completing(motion)], dim=-1) / 2**0.5, (0, 1))

    def texts(self, objects: Tensor, sentences: Tensor) -> Tensor:
        """Fold texts: (batch, hidden_size) of length one and sentence vectors (batch, sentence_dim)."""
        if self.reading is not None:
            objects = self.reading(objects)
        if self.config.motion_dim is None:
            return objects
        motion = _beyond(_shortened(self.listening(sentences)), self.config.least_heard)
        return F.pad(torch.cat([_completing(motion) * objects, motion], dim=-1), (0, self.config.completing))

    def score_clips(self, clips: Tensor, mask: Tensor) -> Tensor:
        """Return the anomaly scores (batch, time) of folded clips (batch, time, embedding_dim)."""
        widths = self.config.widths
        seen = clips[..., sum(widths[: self.config.first_detected]) : sum(widths)]
        logits: Tensor = self.detector.logits(seen, mask)
        if self.shortcut is not None:
            logits = logits + self.shortcut(seen).squeeze(-1)
        return torch.sigmoid(logits).masked_fill(~mask, 0)

    def forward(
        self, clips: Tensor, mask: Tensor, scores: Tensor | None = None, generator: torch.Generator | None = None
    ) -> ResidualVideo:
        """Encode a batch of videos.

        Args:
            clips: (batch, time, embedding_dim) folded clips.
            mask: (batch, time) bool, true at real clips, which stand first.
            scores: (batch, time) what `score_clips` said, where it is known already.
            generator: source of the sampling's randomness in training; default torch's own.
        """
        if scores is None:
            scores = self.score_clips(clips, mask)
        samples = self.sampler(scores.detach(), mask, generator)
        lengths = mask.sum(dim=1, keepdim=True)
        parts = torch.split(clips, [*self.config.widths, self.config.completing], dim=-1)
        streams = parts[: self.config.num_streams]
        plain = [_sequence(stream, samples) for stream in streams]
        positions = torch.cat([_positions(index) for index in samples], dim=1)
        encoded = [
            stream(sequence, positions, lengths, [index.shape[1] for index in samples])
            for stream, sequence in zip(self.streams, plain, strict=True)
        ]
        if self.crossings:
            encoded = [
                cross(own, other) for cross, own, other in zip(self.crossings, encoded, reversed(encoded), strict=True)
            ]
        pooled = [
            self._pool(stream, before, after, samples, mask)
            for stream, before, after in zip(streams, plain, encoded, strict=True)
        ]
        completing = _masked_mean(parts[-1], mask)
        return ResidualVideo(F.normalize(torch.cat([*pooled, completing], dim=-1), dim=-1), scores)

    def loss(
        self, videos: ResidualVideo, texts: Tensor, mask: Tensor, labels: Tensor, ignored: Tensor | None = None
    ) -> Tensor:
        """Eq. 6 between videos and their texts (batch, embedding_dim), and λ1 times Eq. 8 on labels (batch,).

        A label is 1, 0, or NaN where nobody said. `ignored` as in `max_margin_loss`.
        """
        config = self.config
        scores = videos.vectors @ texts.T
        loss = max_margin_loss(scores, config.margin, config.margin_reduction, ignored)
        known = labels.isfinite()
        if known.any():
            detection = topk_loss(videos.anomaly_scores[known], mask[known], labels[known], config.topk_divisor)
            loss = loss + config.topk_loss_weight * detection
        return loss

    def _pool(self, stream: Tensor, before: Tensor, after: Tensor, samples: Sequence[Tensor], mask: Tensor) -> Tensor:
        """The mean of all clips, moved towards the anomaly-led ones, plus what the layers changed in g and h."""
        sizes = [index.shape[1] for index in samples]
        mean = _masked_mean(stream, mask)
        led = before[:, -sizes[-1] :].mean(dim=1)
        changed = [
            pool_sequence(after, sizes)[which] - pool_sequence(before, sizes)[which] for which in (0, 1)
        ]  # fmt: skip
        pooled: Tensor = mean + self.anomaly_share * (led - mean) + (changed[0] + changed[1]) / 2
        return pooled


def _masked_mean(clips: Tensor, mask: Tensor) -> Tensor:
    """Mean of (batch, time, width) over the real clips."""
    if mask.all():  # without a copy: one video may be hours long
        return clips.mean(dim=1)
    weights = mask.to(clips.dtype).unsqueeze(-1)
    return (clips * weights).sum(dim=1) / weights.sum(dim=1)


def _sequence(stream: Tensor, samples: Sequence[Tensor]) -> Tensor:
    """`[U_CLS, U_1..U_N, R_CLS, R_1..R_N]`, CLS being the mean of the clips behind it."""
    tokens = []
    for index in samples:
        clips = stream.gather(1, index.unsqueeze(-1).expand(-1, -1, stream.shape[-1]))
        tokens += [clips.mean(dim=1, keepdim=True), clips]
    return torch.cat(tokens, dim=1)


def _positions(index: Tensor) -> Tensor:
    """Positions of CLS and clips: 0, and the clip's place in the video plus one."""
    return torch.cat([torch.zeros_like(index[:, :1]), index + 1], dim=1)


def _shortened(vectors: Tensor) -> Tensor:
    """Scale vectors so that their lengths stay below one, short ones next to unchanged."""
    lengths = vectors.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    shortened: Tensor = vectors * (torch.tanh(lengths) / lengths)
    return shortened


def _beyond(vectors: Tensor, least: float) -> Tensor:
    """Shorten vectors, which are shorter than one, so that those up to `least` vanish and longest ones stay."""
    lengths = vectors.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    beyond: Tensor = vectors * (F.relu(lengths - least) / (1 - least) / lengths)
    return beyond


def _completing(vectors: Tensor) -> Tensor:
    """Return what vectors (..., width) shorter than one lack of that length, (..., 1)."""
    lengths = vectors.square().sum(-1, keepdim=True)
    completing: Tensor = (1 - lengths).clamp(min=0).sqrt()
    return completing


class Stream(nn.Module):
    """Position and segment embeddings and a pre-norm encoder layer, all of which begin as zero."""

    def __init__(self, config: ResidualAlanConfig, width: int) -> None:
        super().__init__()
        self.positions = nn.Embedding(config.num_position_bins, width)
        self.segments = nn.Embedding(2, width)
        heads = config.num_attention_heads if width % config.num_attention_heads == 0 else 1
        self.layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, config.dropout, batch_first=True, norm_first=True
        )

    def start_without_effect(self) -> None:
        """Set what the layer ends in to zero."""
        for weight in (
            self.positions.weight, self.segments.weight, self.layer.self_attn.out_proj.weight,
            self.layer.self_attn.out_proj.bias, self.layer.linear2.weight, self.layer.linear2.bias,
        ):  # fmt: skip
            nn.init.zeros_(weight)

    def forward(self, sequence: Tensor, positions: Tensor, lengths: Tensor, sizes: Sequence[int]) -> Tensor:
        """Encode (batch, length, width); `positions` as `_positions`, `sizes` the N of each part."""
        bins = (positions * self.positions.num_embeddings // (lengths + 1)).clamp(max=self.positions.num_embeddings - 1)
        segment = torch.cat([torch.full((1 + size,), part, device=sequence.device) for part, size in enumerate(sizes)])
        encoded: Tensor = self.layer(sequence + self.positions(bins) + self.segments(segment))
        return encoded


class Crossing(nn.Module):
    """One stream looks at the other (section III-B), pre-norm; begins without effect."""

    def __init__(self, config: ResidualAlanConfig, own: int, other: int) -> None:
        super().__init__()
        heads = config.num_attention_heads if own % config.num_attention_heads == 0 else 1
        self.norm, self.other_norm = nn.LayerNorm(own), nn.LayerNorm(other)
        self.attention = nn.MultiheadAttention(
            own, heads, dropout=config.dropout, kdim=other, vdim=other, batch_first=True
        )
        self.linear = nn.Linear(own, own)

    def start_without_effect(self) -> None:
        """Set what the layer ends in to zero."""
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """(batch, length, own) and (batch, length, other) to (batch, length, own)."""
        seen = self.other_norm(other)
        attended, _ = self.attention(self.norm(own), seen, seen, need_weights=False)
        crossed: Tensor = own + self.linear(attended)
        return crossed


class Reading(nn.Module):
    """A text's vector, moved by what a gated embedding unit makes of it (section III-C); begins without effect."""

    def __init__(self, config: ResidualAlanConfig) -> None:
        super().__init__()
        self.unit = GatedEmbeddingUnit(config.hidden_size, config.hidden_size)
        self.linear = nn.Linear(config.hidden_size, config.hidden_size)

    def start_without_effect(self) -> None:
        """Set what the layer ends in to zero."""
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, texts: Tensor) -> Tensor:
        """(batch, hidden_size) to (batch, hidden_size), both of length one."""
        return F.normalize(texts + self.linear(self.unit(texts)), dim=-1)
