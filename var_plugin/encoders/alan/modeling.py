"""AlanModel: towers, score and losses of ALAN, with the interface of a transformers model.

Importing this module registers the model type "alan" with the Auto classes of transformers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedModel
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
    """Output of a forward pass over videos and queries.

    Attributes:
        loss: scalar, Eq. 10. This and the other losses are set with `return_loss=True`.
        margin_loss: scalar, Eq. 6.
        topk_loss: scalar, Eq. 8. Set if `anomaly_labels` are passed.
        mpm_loss: scalar, Eq. 9. Set if phrases are passed.
        scores: (videos, queries), Eq. 5.
        video_embeds: (videos, embedding_dim), folded. `video_embeds @ query_embeds.T` equals `scores`.
        query_embeds: (queries, embedding_dim), folded.
        anomaly_scores: (videos, time) from 0 to 1; 0 at padding.
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

    `config.query_modality` selects text or audio queries. The paper trains one model for each.
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
        """Create a model with a pretrained text backbone. All other weights are initialised at random.

        Args:
            name_or_path: a BERT on the Hugging Face Hub, `organisation/name` or `organisation/name@revision`, or a
                folder.
            options: fields of `AlanConfig`, and `hidden_dropout_prob` and `attention_probs_dropout_prob` of the
                backbone, 0.3 in the paper and by default.

        Raises:
            MissingWeightsError: the backbone is not found, has no safetensors file, or lacks weights.
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
            motion_features: (batch, time, motion_dim). None if and only if `config.motion_dim` is None.
            clip_mask: (batch, time) bool, true at real clips, left-aligned. Default: all true.
            generator: random generator of the sampling, if the configuration uses any.

        Returns:
            (batch, config.embedding_dim) float32. Inner products with query features are the scores of Eq. 5.

        Raises:
            InvalidInputError: The features or the mask do not fit the configuration.
        """
        return fold_videos(self._encode_video(object_features, motion_features, clip_mask, generator))

    def get_text_features(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Fold captions into query vectors.

        Args:
            input_ids: (batch, length) int64: [CLS], word pieces, [SEP], padding.
            attention_mask: (batch, length), 0 at padding, 1 elsewhere. Default: all 1.

        Returns:
            (batch, config.embedding_dim) float32.

        Raises:
            UnsupportedModalityError: The model takes audio queries.
        """
        return fold_queries(self._encode_text(input_ids, attention_mask), self.config.alignment_alpha)

    def get_audio_features(
        self, audio_features: Tensor, audio_mask: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Fold audio clip sequences into query vectors.

        Args:
            audio_features: (batch, time, audio_dim).
            audio_mask: (batch, time) bool, true at real clips, left-aligned. Default: all true.
            generator: random generator of the sampling, if the configuration uses any.

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
        """Score videos against queries, and compute the losses of pairs.

        Args:
            object_features: (videos, time, object_dim).
            motion_features: (videos, time, motion_dim). None if and only if `config.motion_dim` is None.
            clip_mask: (videos, time) bool, true at real clips, left-aligned. Default: all true.
            input_ids: (queries, length) int64, for text queries.
            attention_mask: (queries, length), 0 at padding, 1 elsewhere. Default: all 1.
            noun_phrases: (queries, phrases, 2) int64 spans of word pieces, padded with (0, 0). Training only.
            verb_phrases: the same for verbs.
            audio_features: (queries, audio time, audio_dim), for audio queries.
            audio_mask: (queries, audio time) bool. Default: all true.
            anomaly_labels: (videos,), 1 for abnormal, 0 for normal videos.
            return_loss: compute losses; query i must belong to video i. Losses whose inputs are missing are left out.
            generator: random generator of the sampling and masking. Default: torch's global one.

        Returns:
            The output; see `AlanOutput`.

        Raises:
            InvalidInputError: An input is missing or does not fit the configuration.
        """
        video = self._encode_video(object_features, motion_features, clip_mask, generator)
        query: QueryEncoding
        if self.config.query_modality == "text":
            query = self._encode_text(_required(input_ids, "input_ids"), attention_mask)
        else:
            query = self._encode_audio(_required(audio_features, "audio_features"), audio_mask, generator)
        scores = align(video, query, self.config.alignment_alpha)
        losses: dict[str, Tensor] = {}
        if return_loss:
            losses["margin_loss"] = self._margin_loss(scores, input_ids)
            if anomaly_labels is not None:
                losses["topk_loss"] = self._topk_loss(video, clip_mask, query, audio_mask, anomaly_labels)
            if isinstance(query, TextEncoding) and self.phrase_modeling and noun_phrases is not None:
                losses["mpm_loss"] = self.phrase_modeling(
                    query, video, input_ids, noun_phrases, _required(verb_phrases, "verb_phrases"), generator
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

    def _require_modality(self, modality: str) -> None:
        if modality != self.config.query_modality:
            raise UnsupportedModalityError(
                f"this ALAN model takes no {modality} queries",
                why=f"its query_modality is '{self.config.query_modality}'",
                fix=f"load a model with query_modality='{modality}'",
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
            audio_scores = query.anomaly_scores
            loss = loss + topk_loss(audio_scores, _mask_or_all(audio_mask, audio_scores), labels, divisor)
        return loss

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Initialise linear and convolution layers from Xavier-uniform, which keeps the scale at any width (row 14)."""
        super()._init_weights(module)
        if isinstance(module, nn.Linear | nn.Conv1d):
            nn.init.xavier_uniform_(module.weight)
        elif isinstance(module, PromptingDecoder):
            module.reset_mask_embedding()


def _mask_or_all(mask: Tensor | None, features: Tensor) -> Tensor:
    """Return the mask as bool, or an all-true mask for features (batch, time, ...)."""
    if mask is None:
        return torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
    return mask.bool()


def _required(value: Tensor | None, name: str) -> Tensor:
    if value is None:
        raise InvalidInputError(
            f"{name} is missing",
            why="the forward pass scores videos against queries",
            fix=f"pass {name}, or call get_video_features to encode videos alone",
        )
    return value


AutoConfig.register(AlanConfig.model_type, AlanConfig, exist_ok=True)
AutoModel.register(AlanConfig, AlanModel, exist_ok=True)
