"""AlanProcessor: convert captions and clip features of any length to the input tensors of AlanModel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from transformers import AutoTokenizer, BatchEncoding, PreTrainedTokenizerBase
from transformers.utils import PushToHubMixin

from var_plugin.encoders.alan.configuration import AlanConfig
from var_plugin.encoders.alan.phrases import Phrases, Span
from var_plugin.encoders.alan.text_encoder import word_mask
from var_plugin.errors import InvalidInputError, UnsupportedModalityError


class AlanProcessor(PushToHubMixin):  # type: ignore[misc]
    """Tokenise captions, pad clip features, and convert character spans of phrases to spans of word pieces.

    Args:
        config: the configuration of the model.
        tokenizer: the fast tokenizer of the text backbone. None for audio queries.
    """

    def __init__(self, config: AlanConfig, tokenizer: PreTrainedTokenizerBase | None = None) -> None:
        if (tokenizer is None) != (config.query_modality == "audio"):
            raise InvalidInputError(
                f"the tokenizer is {'missing' if tokenizer is None else 'given'}",
                why=f"the model takes {config.query_modality} queries",
                fix="pass a tokenizer for text queries, and None for audio queries",
            )
        self.config = config
        self.tokenizer = tokenizer

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path, **options: Any) -> AlanProcessor:
        """Load a folder or a model of the Hugging Face Hub. Options go to the loaders of transformers."""
        config = AlanConfig.from_pretrained(name_or_path, **options)
        if config.query_modality == "audio":
            return cls(config)
        return cls(config, AutoTokenizer.from_pretrained(name_or_path, trust_remote_code=False, **options))

    def save_pretrained(self, folder: str | Path, **options: Any) -> None:
        """Write the configuration and the tokenizer. The folder may also hold the weights of the model."""
        self.config.save_pretrained(folder, **options)
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(folder, **options)

    def __call__(
        self,
        text: Sequence[str] | None = None,
        phrases: Sequence[Phrases] | None = None,
        object_features: Sequence[ArrayLike | Tensor] | None = None,
        motion_features: Sequence[ArrayLike | Tensor] | None = None,
        audio_features: Sequence[ArrayLike | Tensor] | None = None,
        anomaly_labels: Sequence[int] | None = None,
    ) -> BatchEncoding:
        """Create a batch. Every argument is optional and adds its own tensors.

        Args:
            text: captions.
            phrases: the output of `PhraseFinder.find` for the captions. Training only.
            object_features: (time, object_dim) per video.
            motion_features: (time, motion_dim) per video. If one stream is one clip longer, as is common with I3D, both
                are cut to the shorter one.
            audio_features: (time, audio_dim) per audio query.
            anomaly_labels: 1 for abnormal, 0 for normal, per video.

        Returns:
            `input_ids`, `attention_mask` (queries, length) int64; `noun_phrases`, `verb_phrases` (queries, phrases, 2)
            int64; `object_features`, `motion_features` (videos, time, width) float32 with `clip_mask` (videos, time)
            bool; `audio_features` with `audio_mask`; `anomaly_labels` (videos,) float32.

        Raises:
            InvalidInputError: An input is empty or has the wrong width, or streams differ by more than one clip.
            UnsupportedModalityError: Text was passed for a model with audio queries.
        """
        batch: dict[str, Tensor] = {}
        if text is not None:
            batch |= self._tokenize(text, phrases)
        if object_features is not None:
            batch |= self._pad_video(object_features, motion_features)
        if audio_features is not None:
            audio = [_clips(features, self.config.audio_dim, "audio") for features in audio_features]
            batch["audio_features"], batch["audio_mask"] = _pad(audio)
        if anomaly_labels is not None:
            batch["anomaly_labels"] = torch.tensor(anomaly_labels, dtype=torch.float32)
        return BatchEncoding(batch)

    def _tokenize(self, captions: Sequence[str], phrases: Sequence[Phrases] | None) -> dict[str, Tensor]:
        if self.tokenizer is None:
            raise UnsupportedModalityError(
                "this ALAN model takes no text queries",
                why="its query_modality is 'audio'",
                fix="load a model with query_modality='text'",
            )
        encoded = self.tokenizer(
            list(captions), padding=True, truncation=True, max_length=self.config.max_text_length,
            return_tensors="pt", return_offsets_mapping=phrases is not None,
        )  # fmt: skip
        batch = {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}
        if not bool(word_mask(batch["attention_mask"]).any(dim=1).all()):
            raise InvalidInputError(
                "a caption is empty",
                why="a caption needs at least one word",
                fix="pass sentences, or leave out the video",
            )
        if phrases is not None:
            offsets = encoded["offset_mapping"].numpy()
            batch["noun_phrases"] = _token_spans([spans.nouns for spans in phrases], offsets)
            batch["verb_phrases"] = _token_spans([spans.verbs for spans in phrases], offsets)
        return batch

    def _pad_video(
        self, objects: Sequence[ArrayLike | Tensor], motions: Sequence[ArrayLike | Tensor] | None
    ) -> dict[str, Tensor]:
        streams = [_clips(video, self.config.object_dim, "object") for video in objects]
        if motions is None:
            features, mask = _pad(streams)
            return {"object_features": features, "clip_mask": mask}
        if self.config.motion_dim is None or len(motions) != len(objects):
            raise InvalidInputError(
                f"got motion features of {len(motions)} videos and object features of {len(objects)}",
                why=f"motion_dim of the model is {self.config.motion_dim}",
                fix="pass both streams of the same videos, or object features alone if motion_dim is None",
            )
        pairs = [
            _same_length(video, _clips(motion, self.config.motion_dim, "motion"))
            for video, motion in zip(streams, motions, strict=True)
        ]
        object_features, mask = _pad([pair[0] for pair in pairs])
        motion_features, _ = _pad([pair[1] for pair in pairs])
        return {"object_features": object_features, "motion_features": motion_features, "clip_mask": mask}


def _clips(features: ArrayLike | Tensor, width: int, stream: str) -> Tensor:
    clips = torch.as_tensor(features if isinstance(features, Tensor) else np.asarray(features), dtype=torch.float32)
    # NaN and infinity propagate to the sum, which needs less memory than a mask of hours of clips.
    is_finite = bool(clips.sum(dim=0).isfinite().all())
    if clips.ndim != 2 or len(clips) == 0 or clips.shape[1] != width or not is_finite:
        raise InvalidInputError(
            f"{stream} features have shape {tuple(clips.shape)}, or contain NaN or infinity",
            why=f"the model needs at least one clip of {width} finite numbers",
            fix="pass the features of one crop of one video, (time, width)",
        )
    return clips


def _same_length(video: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
    length = min(len(video), len(motion))
    if length < max(len(video), len(motion)) - 1:
        raise InvalidInputError(
            f"a video has {len(video)} object clips and {len(motion)} motion clips",
            why="the streams of one video differ by at most one clip",
            fix="check that both files belong to the same video and crop",
        )
    return video[:length], motion[:length]


def _pad(sequences: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return (batch, longest, width), zero-padded on the right, and the mask (batch, longest) bool."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    if len(sequences) == 1:  # avoids a copy of a video that may last hours
        padded = sequences[0].unsqueeze(0)
    else:
        padded = torch.nn.utils.rnn.pad_sequence(list(sequences), batch_first=True)
    return padded, torch.arange(padded.shape[1]) < lengths.unsqueeze(1)


def _token_spans(spans: Sequence[Sequence[Span]], offsets: np.ndarray[Any, np.dtype[Any]]) -> Tensor:
    """Convert character spans to spans of word pieces. Spans that truncation removed are left out.

    Args:
        spans: per caption.
        offsets: (batch, length, 2), characters of each word piece; (0, 0) at special tokens and padding.

    Returns:
        (batch, maximum number of spans, 2) int64, padded with (0, 0).
    """
    token_spans: list[list[Span]] = []
    for phrases, (starts, ends) in zip(spans, offsets.transpose(0, 2, 1), strict=True):
        overlapping = [np.flatnonzero((starts < end) & (ends > start)) for start, end in phrases]
        token_spans.append([(int(pieces[0]), int(pieces[-1]) + 1) for pieces in overlapping if len(pieces)])
    padded = torch.zeros(len(token_spans), max(map(len, token_spans), default=0), 2, dtype=torch.int64)
    for row, row_spans in zip(padded, token_spans, strict=True):
        if row_spans:
            row[: len(row_spans)] = torch.tensor(row_spans)
    return padded
