"""AlanModel: the towers, the score and the losses of ALAN, in the shape that transformers users know."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from var_plugin.encoders.alan.alignment import align
from var_plugin.encoders.alan.audio_encoder import AlanAudioEncoder
from var_plugin.encoders.alan.configuration import AlanConfig
from var_plugin.encoders.alan.detector import topk_loss
from var_plugin.encoders.alan.encodings import AudioEncoding, QueryEncoding, TextEncoding, VideoEncoding
from var_plugin.encoders.alan.folding import fold_queries, fold_videos
from var_plugin.encoders.alan.losses import max_margin_loss, total_loss
from var_plugin.encoders.alan.prompting import MaskedPhraseModeling, PromptingDecoder
from var_plugin.encoders.alan.text_encoder import AlanTextEncoder
from var_plugin.encoders.alan.video_encoder import AlanVideoEncoder
from var_plugin.encoders.hub import Checkpoint
from var_plugin.errors import InvalidInputError, UnsupportedModalityError


@dataclass
class AlanOutput(ModelOutput):  # type: ignore[misc]
    """What a forward pass over videos and queries gives.

    Attributes:
        loss: scalar, Eq. 10; with `return_loss=True`, as the other losses.
        margin_loss: scalar, Eq. 6.
        topk_loss: scalar, Eq. 8; with `anomaly_labels`.
        mpm_loss: scalar, Eq. 9; with phrases.
        scores: (videos, queries), Eq. 5.
        video_embeds: (videos, embedding_dim), folded; `video_embeds @ query_embeds.T` equals `scores`.
        query_embeds: (queries, embedding_dim), folded.
        anomaly_scores: (videos, time) from 0 to 1, 0 at padding.
        audio_anomaly_scores: (queries, time), for audio queries.
    """

    loss: Tensor | None = None
    margin_loss: Tensor | None = None
    topk_loss: Tensor | None = None
    mpm_loss: Tensor | None = None
    scores: Tensor | None = None
    video_embeds: Tensor | None = None
    query_embeds: Tensor | None = None
    anomaly_scores: Tensor | None = None
    audio_anomaly_scores: Tensor | None = None


class AlanModel(PreTrainedModel):  # type: ignore[misc]
    """The Anomaly-Led Alignment Network (Wu et al., IEEE TIP 33, 2024, arXiv 2307.12545).

    `config.query_modality` decides whether it matches videos with text or with audio: the paper trains two models.
    """

    config_class = AlanConfig
    base_model_prefix = "alan"
    main_input_name = "object_features"
    _supports_sdpa = True

    def __init__(self, config: AlanConfig) -> None:
        super().__init__(config)
        self.video_encoder = AlanVideoEncoder(config)
        if config.query_modality == "text":
            self.text_encoder = AlanTextEncoder(config)
            self.phrase_modeling = MaskedPhraseModeling(config) if config.mpm_loss_weight > 0 else None
        else:
            self.audio_encoder = AlanAudioEncoder(config)
        self.post_init()

    @classmethod
    def from_pretrained_text(cls, name_or_path: str | Path, **options: Any) -> AlanModel:
        """Make a new model whose text backbone has pretrained weights; all else starts at random.

        Args:
            name_or_path: a BERT on the hub, `organisation/name` or `organisation/name@revision`, or a folder.
            options: fields of `AlanConfig`; and `hidden_dropout_prob` and `attention_probs_dropout_prob` of the
                backbone, 0.3 in the paper and by default.

        Raises:
            MissingWeightsError: the backbone is nowhere, has no safetensors, or lacks weights of its network.
        """
        dropout = {
            name: options.pop(name, 0.3) for name in ("hidden_dropout_prob", "attention_probs_dropout_prob")
        }  # fmt: skip
        backbone = Checkpoint(str(name_or_path)).load(without="pooler", dtype=torch.float32, **dropout)
        backbone.pooler = None
        model = cls(AlanConfig(text_config=backbone.config.to_dict(), **options))
        model.text_encoder.backbone.load_state_dict(backbone.state_dict())
        return model

    def get_video_features(
        self,
        object_features: Tensor,
        motion_features: Tensor | None = None,
        clip_mask: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Fold videos into vectors for a store.

        Args:
            object_features: (batch, time, object_dim).
            motion_features: (batch, time, motion_dim); None if and only if `config.motion_dim` is None.
            clip_mask: (batch, time) bool, true at real clips, which stand first; default all.
            generator: source of the sampling's randomness, where the configuration asks for any.

        Returns:
            (batch, config.embedding_dim) float32. Inner products with query features are the scores of Eq. 5.

        Raises:
            InvalidInputError: The features or the mask are not what the model was made for.
        """
        return fold_videos(self._encode_video(object_features, motion_features, clip_mask, generator))

    def get_text_features(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Fold captions into vectors to search a store with.

        Args:
            input_ids: (batch, length) int64: [CLS], word pieces, [SEP], padding.
            attention_mask: (batch, length), 1 at everything but padding; default all.

        Returns:
            (batch, config.embedding_dim) float32.

        Raises:
            UnsupportedModalityError: The model takes audio queries.
        """
        return fold_queries(self._encode_text(input_ids, attention_mask), self.config.alignment_alpha)

    def get_audio_features(
        self, audio_features: Tensor, audio_mask: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Fold sounds into vectors to search a store with.

        Args:
            audio_features: (batch, time, audio_dim).
            audio_mask: (batch, time) bool, true at real clips, which stand first; default all.
            generator: source of the sampling's randomness, where the configuration asks for any.

        Returns:
            (batch, config.embedding_dim) float32.

        Raises:
            InvalidInputError: The mask is not left-aligned.
            UnsupportedModalityError: The model takes text queries.
        """
        return fold_queries(self._encode_audio(audio_features, audio_mask, generator), self.config.alignment_alpha)

    def forward(
        self,
        object_features: Tensor,
        motion_features: Tensor | None = None,
        clip_mask: Tensor | None = None,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        noun_phrases: Tensor | None = None,
        verb_phrases: Tensor | None = None,
        audio_features: Tensor | None = None,
        audio_mask: Tensor | None = None,
        anomaly_labels: Tensor | None = None,
        return_loss: bool = False,
        generator: torch.Generator | None = None,
    ) -> AlanOutput:
        """Score videos against queries, and learn from pairs.

        Args:
            object_features: (videos, time, object_dim).
            motion_features: (videos, time, motion_dim); None if and only if `config.motion_dim` is None.
            clip_mask: (videos, time) bool, true at real clips, which stand first; default all.
            input_ids: (queries, length) int64, for text queries.
            attention_mask: (queries, length), 1 at everything but padding; default all.
            noun_phrases: (queries, phrases, 2) int64 spans of word pieces, (0, 0) where there is none; training only.
            verb_phrases: the same for verbs.
            audio_features: (queries, audio time, audio_dim), for audio queries.
            audio_mask: (queries, audio time) bool; default all.
            anomaly_labels: (videos,), 1 for abnormal, 0 for normal videos.
            return_loss: whether the i-th query belongs to the i-th video and losses are wanted. Parts of the loss whose
                inputs are missing are left out.
            generator: source of all randomness but dropout; default torch's own.

        Returns:
            The output; see `AlanOutput`.

        Raises:
            InvalidInputError: An input is missing, or is not what the model was made for.
        """
        video = self._encode_video(object_features, motion_features, clip_mask, generator)
        query: QueryEncoding
        if self.config.query_modality == "text":
            query = self._encode_text(_needed(input_ids, "input_ids"), attention_mask)
        else:
            query = self._encode_audio(_needed(audio_features, "audio_features"), audio_mask, generator)
        scores = align(video, query, self.config.alignment_alpha)
        losses: dict[str, Tensor] = {}
        if return_loss:
            losses["margin_loss"] = self._margin_loss(scores, input_ids)
            if anomaly_labels is not None:
                losses["topk_loss"] = self._topk_loss(video, clip_mask, query, audio_mask, anomaly_labels)
            if isinstance(query, TextEncoding) and self.phrase_modeling and noun_phrases is not None:
                losses["mpm_loss"] = self.phrase_modeling(
                    query, video, input_ids, noun_phrases, _needed(verb_phrases, "verb_phrases"), generator
                )
            losses["loss"] = total_loss(self.config, **losses)
        return AlanOutput(
            **losses,
            scores=scores,
            video_embeds=fold_videos(video),
            query_embeds=fold_queries(query, self.config.alignment_alpha),
            anomaly_scores=video.anomaly_scores,
            audio_anomaly_scores=query.anomaly_scores if isinstance(query, AudioEncoding) else None,
        )

    def _encode_video(
        self,
        object_features: Tensor,
        motion_features: Tensor | None,
        clip_mask: Tensor | None,
        generator: torch.Generator | None,
    ) -> VideoEncoding:
        encoding: VideoEncoding = self.video_encoder(
            object_features, motion_features, _mask_or_all(clip_mask, object_features), generator
        )
        return encoding

    def _encode_text(self, input_ids: Tensor, attention_mask: Tensor | None) -> TextEncoding:
        self._require_modality("text")
        encoding: TextEncoding = self.text_encoder(
            input_ids, torch.ones_like(input_ids) if attention_mask is None else attention_mask
        )
        return encoding

    def _encode_audio(
        self, audio_features: Tensor, audio_mask: Tensor | None, generator: torch.Generator | None
    ) -> AudioEncoding:
        self._require_modality("audio")
        encoding: AudioEncoding = self.audio_encoder(
            audio_features, _mask_or_all(audio_mask, audio_features), generator
        )
        return encoding

    def _require_modality(self, wanted: str) -> None:
        if wanted != self.config.query_modality:
            raise UnsupportedModalityError(
                f"this ALAN model takes no {wanted} queries",
                why=f"it was made with query_modality='{self.config.query_modality}'",
                fix=f"load a model made with query_modality='{wanted}'",
            )

    def _margin_loss(self, scores: Tensor, input_ids: Tensor | None) -> Tensor:
        ignored = None
        if self.config.ignore_equal_captions and input_ids is not None:
            ignored = (input_ids.unsqueeze(0) == input_ids.unsqueeze(1)).all(dim=-1)
        return max_margin_loss(scores, self.config.margin, self.config.margin_reduction, ignored)

    def _topk_loss(
        self,
        video: VideoEncoding,
        clip_mask: Tensor | None,
        query: QueryEncoding,
        audio_mask: Tensor | None,
        labels: Tensor,
    ) -> Tensor:
        divisor = self.config.topk_divisor
        loss = topk_loss(video.anomaly_scores, _mask_or_all(clip_mask, video.anomaly_scores), labels, divisor)
        if isinstance(query, AudioEncoding) and self.config.audio_topk_loss:
            heard = query.anomaly_scores
            loss = loss + topk_loss(heard, _mask_or_all(audio_mask, heard), labels, divisor)
        return loss

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Start linear and convolution layers so that the scale of features survives at any width (row 14)."""
        super()._init_weights(module)
        if isinstance(module, nn.Linear | nn.Conv1d):
            nn.init.xavier_uniform_(module.weight)
        elif isinstance(module, PromptingDecoder):
            module.reset_mask_embedding()


def _mask_or_all(mask: Tensor | None, features: Tensor) -> Tensor:
    """The mask as bool, or one that takes every clip of (batch, time, ...)."""
    if mask is None:
        return torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
    return mask.bool()


def _needed(value: Tensor | None, name: str) -> Tensor:
    if value is None:
        raise InvalidInputError(
            f"{name} is missing",
            why="videos are scored against queries",
            fix=f"pass {name}, or use get_video_features for videos alone",
        )
    return value
