"""Residual ALAN: ALAN on top of an existing vector space. An extension of this project, not part of the paper.

The towers of the paper create a space of their own. Where a backbone pair already shares a space (CLIP and its
relatives, the lite suite), `ResidualAlanModel` refines it. Every added layer is zero-initialised. An untrained model
therefore returns the mean-pooled clip vectors, so training starts from the quality of the existing space.

The model adds a motion stream whose weight depends on the text, anomaly scores per clip, and anomaly-led sampling for
the vector of a whole video.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from var_plugin.encoders.alan.detector import AnomalyDetector, topk_loss
from var_plugin.encoders.alan.embeddings import pool_sequence
from var_plugin.encoders.alan.gated import GatedEmbeddingUnit
from var_plugin.encoders.alan.losses import max_margin_loss
from var_plugin.encoders.alan.options import (
    DetectorOptions,
    MarginReduction,
    SamplingOptions,
    check_options,
)
from var_plugin.encoders.alan.sampling import ClipSampler
from var_plugin.errors import InvalidInputError, MissingWeightsError, VarPluginError, os_error_message

DetectorStream = Literal["both", "motion"]

_CONFIG_FILE, _WEIGHTS_FILE = "config.json", "model.safetensors"

STORED_NAMES = {
    "anomaly_weight": "anomaly_share",
    "cross_attention": "crossings",
    "motion_gate": "listening",
    "text_adapter": "reading",
}
"""Names of modules in the weight file of the lite suite where they differ from the attributes of the model."""


@dataclass
class ResidualAlanConfig(SamplingOptions, DetectorOptions):
    """Settings of `ResidualAlanModel`. Other fields than these are those of `AlanConfig`.

    Args:
        hidden_size: dimension of the existing space and of the object stream.
        motion_dim: dimension of a motion feature. None: no motion stream.
        motion_width: dimension of the motion stream in a vector. Keep it small: every stored vector holds it.
        sentence_dim: dimension of the sentence vectors from which the motion part of a text is predicted.
        motion_threshold: a motion part of a text with a norm up to this value is set to zero. Most texts do not
            describe motion, and their predicted motion part is noise. Training from scratch needs 0, because the
            threshold blocks the gradient.
        use_text_adapter: refine text vectors with a `TextAdapter`. Training then also improves the search of segments,
            whose vectors are mean-pooled clips. Otherwise text vectors stay as they are.
        detector_stream: input of the detector. "both" uses both streams, as in the paper. "motion" uses motion alone,
            for training data from few cameras, whose appearance the detector would learn instead of the events.
        detector_shortcut: add a zero-initialised linear layer on the detector's input to its logit. The layer can hold
            what is already known about single clips, so that the convolutions learn the rest.
    """

    hidden_size: int = 768
    motion_dim: int | None = 1024
    motion_width: int = 8
    sentence_dim: int = 384
    motion_threshold: float = 0.0
    use_text_adapter: bool = False
    detector_stream: DetectorStream = "both"
    detector_shortcut: bool = False
    num_attention_heads: int = 8
    dropout: float = 0.1
    num_position_bins: int = 128

    topk_divisor: int = 16

    margin: float = 0.05
    margin_reduction: MarginReduction = "mean"
    topk_loss_weight: float = 0.1

    def __post_init__(self) -> None:
        check_options(self)
        if self.detector_stream == "motion" and self.motion_dim is None:
            raise InvalidInputError(
                'detector_stream is "motion", but the model has no motion stream',
                why="motion_dim is None",
                fix='pass motion_dim, or detector_stream="both"',
            )

    @property
    def widths(self) -> list[int]:
        """Dimensions of the streams: object, and motion if the model has it."""
        return [self.hidden_size] if self.motion_dim is None else [self.hidden_size, self.motion_width]

    @property
    def first_detector_stream(self) -> int:
        """Index of the first stream that the detector uses."""
        return 1 if self.detector_stream == "motion" else 0

    @property
    def embedding_dim(self) -> int:
        """Dimension of a folded vector: the streams, and with motion two norm coordinates."""
        return sum(self.widths) + self.num_norm_dims

    @property
    def num_norm_dims(self) -> int:
        """Number of coordinates that bring clip and image vectors to norm one."""
        return 0 if self.motion_dim is None else 2


@dataclass
class ResidualVideo:
    """Vectors and clip anomaly scores of a batch of videos."""

    vectors: Tensor
    """(batch, embedding_dim), L2-normalised."""
    anomaly_scores: Tensor
    """(batch, time) from 0 to 1; 0 at padding."""


class ResidualAlanModel(nn.Module):
    """ALAN towers that refine an existing space.

    Let o and t be the vectors of a clip and a text in the existing space, and m and u their motion parts, with norms
    below one.

    * A clip is `[o ; m ; √(1-|m|²) ; 0] / √2`. An image has no known motion and is `[o ; 0 ; 0 ; 1] / √2`, so an image
      matches clips by appearance alone.
    * A text is `[√(1-|u|²)·t ; u ; 0 ; 0]`. (√(1-|u|²), |u|) are the stream weights of Eq. 3. They start at (1, 0).

    All vectors have norm one, so inner product and cosine rank alike.
    """

    def __init__(self, config: ResidualAlanConfig) -> None:
        super().__init__()
        self.config = config
        detector_dim = sum(config.widths[config.first_detector_stream :])
        self.detector = AnomalyDetector(config, detector_dim)
        self.shortcut = nn.Linear(detector_dim, 1, bias=False) if config.detector_shortcut else None
        self.sampler = ClipSampler(config)
        self.streams = nn.ModuleList(ResidualStream(config, width) for width in config.widths)
        self.cross_attention = nn.ModuleList(
            CrossAttention(config, own, other)
            for own, other in zip(config.widths, reversed(config.widths), strict=True)
            if config.motion_dim is not None
        )
        self.anomaly_weight = nn.Parameter(torch.zeros(()))
        if config.motion_dim is not None:
            self.motion = nn.Linear(config.motion_dim, config.motion_width)
            self.motion_gate = nn.Linear(config.sentence_dim, config.motion_width)
        self.text_adapter = TextAdapter(config) if config.use_text_adapter else None
        self.apply(_init_weights)
        for module in (*self.streams, *self.cross_attention, *([self.text_adapter] if self.text_adapter else [])):
            module.zero_init()
        if config.motion_dim is not None:
            nn.init.zeros_(self.motion_gate.weight)
            nn.init.zeros_(self.motion_gate.bias)
        if self.shortcut is not None:
            nn.init.zeros_(self.shortcut.weight)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `config.json` and `model.safetensors` to a folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _CONFIG_FILE).write_text(json.dumps(asdict(self.config), indent=2) + "\n", encoding="utf-8")
        save_file(self.state_dict(), folder / _WEIGHTS_FILE, {"format": "pt"})

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> ResidualAlanModel:
        """Return the model that `save_pretrained` wrote, in evaluation mode.

        Raises:
            MissingWeightsError: the folder lacks a file, or weights of the model, or a file is damaged.
            InvalidInputError: a setting of the model has an invalid value.
        """
        folder = Path(folder)
        for file in (_CONFIG_FILE, _WEIGHTS_FILE):
            if not (folder / file).is_file():
                raise _incomplete(folder, f"there is no {file}")
        with _damage_reported(folder / _CONFIG_FILE):
            options = json.loads((folder / _CONFIG_FILE).read_text(encoding="utf-8"))
            names = {field.name for field in fields(ResidualAlanConfig)}
            model = cls(ResidualAlanConfig(**{name: value for name, value in options.items() if name in names}))
        with _damage_reported(folder / _WEIGHTS_FILE):
            report = model.load_state_dict(load_file(folder / _WEIGHTS_FILE), strict=False)
        if report.missing_keys:
            raise _incomplete(folder, f"{len(report.missing_keys)} weights are missing")
        return model.eval()

    def encode_clips(self, objects: Tensor, motion_features: Tensor | None = None) -> Tensor:
        """Fold clips, or images, into L2-normalised vectors.

        Args:
            objects: (..., hidden_size), L2-normalised.
            motion_features: (..., motion_dim). None if the motion is unknown, as for an image.

        Returns:
            (..., embedding_dim).
        """
        if self.config.motion_dim is None:
            return objects
        if motion_features is None:
            unknown = objects.new_zeros(*objects.shape[:-1], self.config.motion_width + self.config.num_norm_dims)
            unknown[..., -1] = 1
            return torch.cat([objects, unknown], dim=-1) / 2**0.5
        return self.fold(objects, self.motion(motion_features))

    @staticmethod
    def fold(objects: Tensor, motion: Tensor) -> Tensor:
        """Fold clips whose motion part is known.

        Args:
            objects: (..., hidden_size), L2-normalised.
            motion: (..., motion_width), any norm.

        Returns:
            (..., embedding_dim), L2-normalised.
        """
        motion = _squash(motion)
        return F.pad(torch.cat([objects, motion, _norm_complement(motion)], dim=-1) / 2**0.5, (0, 1))

    def encode_texts(self, objects: Tensor, sentences: Tensor) -> Tensor:
        """Fold texts into L2-normalised vectors.

        Args:
            objects: (batch, hidden_size), the texts in the existing space, L2-normalised.
            sentences: (batch, sentence_dim), from which the motion part is predicted.

        Returns:
            (batch, embedding_dim).
        """
        if self.text_adapter is not None:
            objects = self.text_adapter(objects)
        if self.config.motion_dim is None:
            return objects
        motion = _soft_threshold(_squash(self.motion_gate(sentences)), self.config.motion_threshold)
        return F.pad(torch.cat([_norm_complement(motion) * objects, motion], dim=-1), (0, self.config.num_norm_dims))

    def score_clips(self, clips: Tensor, mask: Tensor) -> Tensor:
        """Return the anomaly scores of folded clips.

        Args:
            clips: (batch, time, embedding_dim).
            mask: (batch, time) bool, true at real clips.

        Returns:
            (batch, time) from 0 to 1; 0 at padding.
        """
        widths = self.config.widths
        inputs = clips[..., sum(widths[: self.config.first_detector_stream]) : sum(widths)]
        logits: Tensor = self.detector.logits(inputs, mask)
        if self.shortcut is not None:
            logits = logits + self.shortcut(inputs).squeeze(-1)
        return torch.sigmoid(logits).masked_fill(~mask, 0)

    def forward(
        self, clips: Tensor, mask: Tensor, scores: Tensor | None = None, generator: torch.Generator | None = None
    ) -> ResidualVideo:
        """Encode a batch of videos.

        Args:
            clips: (batch, time, embedding_dim), folded clips.
            mask: (batch, time) bool, true at real clips, left-aligned.
            scores: (batch, time), the output of `score_clips` if it is already computed.
            generator: random generator of the sampling in training. Default: torch's global one.
        """
        if scores is None:
            scores = self.score_clips(clips, mask)
        samples = self.sampler(scores.detach(), mask, generator)
        sizes = [index.shape[1] for index in samples]
        lengths = mask.sum(dim=1, keepdim=True)
        parts = torch.split(clips, [*self.config.widths, self.config.num_norm_dims], dim=-1)
        streams = parts[:-1]
        inputs = [_sequence(stream, samples) for stream in streams]
        positions = torch.cat([_positions(index) for index in samples], dim=1)
        outputs = [
            stream(sequence, positions, lengths, sizes) for stream, sequence in zip(self.streams, inputs, strict=True)
        ]
        if self.cross_attention:
            outputs = [
                attend(own, other)
                for attend, own, other in zip(self.cross_attention, outputs, reversed(outputs), strict=True)
            ]
        pooled = [
            self._pool(stream, before, after, sizes, mask)
            for stream, before, after in zip(streams, inputs, outputs, strict=True)
        ]
        norm_coordinates = _masked_mean(parts[-1], mask)
        return ResidualVideo(F.normalize(torch.cat([*pooled, norm_coordinates], dim=-1), dim=-1), scores)

    def loss(
        self, videos: ResidualVideo, texts: Tensor, mask: Tensor, labels: Tensor, ignored: Tensor | None = None
    ) -> Tensor:
        """Return Eq. 6 between videos and their texts, plus λ1 times Eq. 8 on the labelled videos.

        Args:
            videos: the batch.
            texts: (batch, embedding_dim), the text of each video.
            mask: (batch, time) bool, true at real clips.
            labels: (batch,), 1 for abnormal, 0 for normal, NaN for unlabelled videos.
            ignored: (batch, batch) bool, pairs that are not negatives; see `max_margin_loss`.

        Returns:
            A scalar.
        """
        config = self.config
        scores = videos.vectors @ texts.T
        loss = max_margin_loss(scores, config.margin, config.margin_reduction, ignored)
        labelled = labels.isfinite()
        if labelled.any():
            detection = topk_loss(
                videos.anomaly_scores[labelled], mask[labelled], labels[labelled], config.topk_divisor
            )
            loss = loss + config.topk_loss_weight * detection
        return loss

    def _pool(self, stream: Tensor, before: Tensor, after: Tensor, sizes: Sequence[int], mask: Tensor) -> Tensor:
        """Return the mean of all clips, moved towards the anomaly-led ones, plus the change of g and h by the layers.

        Args:
            stream: (batch, time, width), all clips.
            before: (batch, length, width), the sequence that enters the layers.
            after: (batch, length, width), the sequence that leaves them.
            sizes: N of each part of the sequence.
            mask: (batch, time) bool, true at real clips.

        Returns:
            (batch, width).
        """
        mean = _masked_mean(stream, mask)
        anomaly_mean = before[:, -sizes[-1] :].mean(dim=1)
        g_before, h_before, _ = pool_sequence(before, sizes)
        g_after, h_after, _ = pool_sequence(after, sizes)
        change = ((g_after - g_before) + (h_after - h_before)) / 2
        pooled: Tensor = mean + self.anomaly_weight * (anomaly_mean - mean) + change
        return pooled


def from_stored_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict for `ResidualAlanModel.load_state_dict` from the tensors of a weight file."""
    attributes = {stored: attribute for attribute, stored in STORED_NAMES.items()}
    return {_rename(name, attributes): value for name, value in weights.items()}


def to_stored_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a weight file from a state dict of `ResidualAlanModel`."""
    return {_rename(name, STORED_NAMES): value for name, value in state.items()}


def _rename(name: str, names: Mapping[str, str]) -> str:
    module, dot, rest = name.partition(".")
    return names.get(module, module) + dot + rest


@contextmanager
def _damage_reported(file: Path) -> Iterator[None]:
    """Convert every error about the content of a file of the model. PyTorch and safetensors have no common base."""
    try:
        yield
    except VarPluginError:
        raise
    except Exception as error:
        raise MissingWeightsError(
            f"{file} is damaged, or belongs to another model",
            why=f"{type(error).__name__}: {os_error_message(error)}"[:300],
            fix="copy the complete folder again, or train again",
        ) from error


def _incomplete(folder: Path, why: str) -> MissingWeightsError:
    return MissingWeightsError(
        f"the model in {folder} is incomplete", why=why, fix="copy the complete folder, or train again"
    )


def _init_weights(module: nn.Module) -> None:
    """Initialise a module as transformers does: normal weights with a standard deviation of 0.02, zero biases."""
    if isinstance(module, nn.Linear | nn.Conv1d):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    elif isinstance(module, nn.MultiheadAttention):
        module._reset_parameters()


def _masked_mean(clips: Tensor, mask: Tensor) -> Tensor:
    """Return the mean (batch, width) of the real clips of (batch, time, width)."""
    if mask.all():  # avoids a copy of a video that may last hours
        return clips.mean(dim=1)
    weights = mask.to(clips.dtype).unsqueeze(-1)
    return (clips * weights).sum(dim=1) / weights.sum(dim=1)


def _sequence(stream: Tensor, samples: Sequence[Tensor]) -> Tensor:
    """Return `[U_CLS, U_1..U_N, R_CLS, R_1..R_N]`, where each CLS is the mean of the clips of its part."""
    tokens = []
    for index in samples:
        clips = stream.gather(1, index.unsqueeze(-1).expand(-1, -1, stream.shape[-1]))
        tokens += [clips.mean(dim=1, keepdim=True), clips]
    return torch.cat(tokens, dim=1)


def _positions(index: Tensor) -> Tensor:
    """Return the positions of CLS and clips: 0, and the clip index plus one."""
    return torch.cat([torch.zeros_like(index[:, :1]), index + 1], dim=1)


def _squash(vectors: Tensor) -> Tensor:
    """Scale vectors to norms below one by tanh; short vectors are nearly unchanged."""
    norms = vectors.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    squashed: Tensor = vectors * (torch.tanh(norms) / norms)
    return squashed


def _soft_threshold(vectors: Tensor, threshold: float) -> Tensor:
    """Shrink vectors with norms below one: norms up to `threshold` become zero, a norm of one stays."""
    norms = vectors.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    shrunk: Tensor = vectors * (F.relu(norms - threshold) / (1 - threshold) / norms)
    return shrunk


def _norm_complement(vectors: Tensor) -> Tensor:
    """Return √(1-|v|²), (..., 1), for vectors (..., width) with norms below one."""
    squared_norms = vectors.square().sum(-1, keepdim=True)
    complement: Tensor = (1 - squared_norms).clamp(min=0).sqrt()
    return complement


class ResidualStream(nn.Module):
    """Position and segment embeddings and a pre-norm encoder layer, zero-initialised."""

    def __init__(self, config: ResidualAlanConfig, width: int) -> None:
        super().__init__()
        self.positions = nn.Embedding(config.num_position_bins, width)
        self.segments = nn.Embedding(2, width)
        heads = config.num_attention_heads if width % config.num_attention_heads == 0 else 1
        self.layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, config.dropout, batch_first=True, norm_first=True
        )

    def zero_init(self) -> None:
        """Set the embeddings and the output projections of the layer to zero."""
        for weight in (
            self.positions.weight, self.segments.weight, self.layer.self_attn.out_proj.weight,
            self.layer.self_attn.out_proj.bias, self.layer.linear2.weight, self.layer.linear2.bias,
        ):  # fmt: skip
            nn.init.zeros_(weight)

    def forward(self, sequence: Tensor, positions: Tensor, lengths: Tensor, sizes: Sequence[int]) -> Tensor:
        """Encode a sequence.

        Args:
            sequence: (batch, length, width).
            positions: (batch, length) int64, 0 for CLS and the clip index plus one for clips.
            lengths: (batch, 1) int64, number of clips of each video.
            sizes: N of each part of the sequence.

        Returns:
            (batch, length, width).
        """
        bins = (positions * self.positions.num_embeddings // (lengths + 1)).clamp(max=self.positions.num_embeddings - 1)
        segment = torch.cat([torch.full((1 + size,), part, device=sequence.device) for part, size in enumerate(sizes)])
        encoded: Tensor = self.layer(sequence + self.positions(bins) + self.segments(segment))
        return encoded


class CrossAttention(nn.Module):
    """Pre-norm cross-attention from one stream to the other (section III-B), zero-initialised."""

    def __init__(self, config: ResidualAlanConfig, own: int, other: int) -> None:
        super().__init__()
        heads = config.num_attention_heads if own % config.num_attention_heads == 0 else 1
        self.norm, self.other_norm = nn.LayerNorm(own), nn.LayerNorm(other)
        self.attention = nn.MultiheadAttention(
            own, heads, dropout=config.dropout, kdim=other, vdim=other, batch_first=True
        )
        self.linear = nn.Linear(own, own)

    def zero_init(self) -> None:
        """Set the output layer to zero."""
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """Map (batch, length, own) and (batch, length, other) to (batch, length, own)."""
        keys = self.other_norm(other)
        attended, _ = self.attention(self.norm(own), keys, keys, need_weights=False)
        outputs: Tensor = own + self.linear(attended)
        return outputs


class TextAdapter(nn.Module):
    """A residual gated embedding unit on text vectors (section III-C), zero-initialised."""

    def __init__(self, config: ResidualAlanConfig) -> None:
        super().__init__()
        self.unit = GatedEmbeddingUnit(config.hidden_size, config.hidden_size)
        self.linear = nn.Linear(config.hidden_size, config.hidden_size)

    def zero_init(self) -> None:
        """Set the output layer to zero."""
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, texts: Tensor) -> Tensor:
        """Map (batch, hidden_size) to (batch, hidden_size), both L2-normalised."""
        return F.normalize(texts + self.linear(self.unit(texts)), dim=-1)
