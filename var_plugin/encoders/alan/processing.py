"""AlanProcessor: captions and clip features of any length to the tensors that AlanModel takes."""

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
    """Tokenises captions, pads clip features, and turns phrases of characters into spans of word pieces.

    Args:
        config: the model's configuration: widths, and the longest caption.
        tokenizer: the text backbone's, a fast one; None for audio queries.
    """

    def __init__(self, config: AlanConfig, tokenizer: PreTrainedTokenizerBase | None = None) -> None:
        if (tokenizer is None) != (config.query_modality == "audio"):
            raise InvalidInputError(
                f"the tokenizer is {'missing' if tokenizer is None else 'given'}",
                why=f"the model takes {config.query_modality} queries",
                fix="pass a tokenizer for text queries, and none for audio queries",
            )
        self.config = config
        self.tokenizer = tokenizer

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path, **options: Any) -> AlanProcessor:
        """Load what `save_pretrained` wrote, from a folder or the hub; options go to transformers' loaders."""
        config = AlanConfig.from_pretrained(name_or_path, **options)
        text = config.query_modality == "text"
        if not text:
            return cls(config)
        return cls(config, AutoTokenizer.from_pretrained(name_or_path, trust_remote_code=False, **options))

    def save_pretrained(self, folder: str | Path, **options: Any) -> None:
        """Write the configuration and the tokenizer, beside the model's weights if it is the same folder."""
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
        """Make a batch; every argument is optional, and brings its own tensors.

        Args:
            text: captions.
            phrases: what `PhraseFinder.find` found in them; training only.
            object_features: per video (time, object_dim).
            motion_features: per video (time, motion_dim). Where one stream is a clip longer, as often with I3D, both
                end with the shorter.
            audio_features: per sound (time, audio_dim).
            anomaly_labels: per video, 1 for abnormal, 0 for normal.

        Returns:
            `input_ids`, `attention_mask` (queries, length) int64; `noun_phrases`, `verb_phrases` (queries, phrases, 2)
            int64; `object_features`, `motion_features` (videos, time, width) float32 with `clip_mask` (videos, time)
            bool; `audio_features` with `audio_mask`; `anomaly_labels` (videos,) float32.

        Raises:
            InvalidInputError: Something is empty, or of the wrong width, or streams differ by more than a clip.
            UnsupportedModalityError: Text for a model that takes audio.
        """
        batch: dict[str, Tensor] = {}
        if text is not None:
            batch |= self._tokenise(text, phrases)
        if object_features is not None:
            batch |= self._pad_video(object_features, motion_features)
        if audio_features is not None:
            sounds = [_clips(sound, self.config.audio_dim, "audio") for sound in audio_features]
            batch["audio_features"], batch["audio_mask"] = _pad(sounds)
        if anomaly_labels is not None:
            batch["anomaly_labels"] = torch.tensor(anomaly_labels, dtype=torch.float32)
        return BatchEncoding(batch)

    def _tokenise(self, captions: Sequence[str], phrases: Sequence[Phrases] | None) -> dict[str, Tensor]:
        if self.tokenizer is None:
            raise UnsupportedModalityError(
                "this ALAN model takes no text queries",
                why="it was made with query_modality='audio'",
                fix="load a model made with query_modality='text'",
            )
        encoded = self.tokenizer(
            list(captions), padding=True, truncation=True, max_length=self.config.max_text_length,
            return_tensors="pt", return_offsets_mapping=phrases is not None,
        )  # fmt: skip
        batch = {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}
        if not bool(word_mask(batch["attention_mask"]).any(dim=1).all()):
            raise InvalidInputError(
                "a caption is empty",
                why="a caption without words matches nothing",
                fix="pass sentences, or leave the video out",
            )
        if phrases is not None:
            offsets = encoded["offset_mapping"].numpy()
            batch["noun_phrases"] = _token_spans([found.nouns for found in phrases], offsets)
            batch["verb_phrases"] = _token_spans([found.verbs for found in phrases], offsets)
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
                f"motion features of {len(motions)} videos came with object features of {len(objects)}",
                why=f"the model was made with motion_dim={self.config.motion_dim}",
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
    # NaN and infinity survive in sums, which need no room for hours of clips.
    finite = bool(clips.sum(dim=0).isfinite().all())
    if clips.ndim != 2 or len(clips) == 0 or clips.shape[1] != width or not finite:
        raise InvalidInputError(
            f"{stream} features have shape {tuple(clips.shape)}, or hold NaN or infinity",
            why=f"the model takes at least one clip of {width} finite numbers",
            fix="pass the features of one crop of one video, (time, width)",
        )
    return clips


def _same_length(video: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
    length = min(len(video), len(motion))
    if length < max(len(video), len(motion)) - 1:
        raise InvalidInputError(
            f"a video has {len(video)} object clips and {len(motion)} motion clips",
            why="optical flow is at most one clip shorter than the images",
            fix="check that both files belong to the same video and crop",
        )
    return video[:length], motion[:length]


def _pad(sequences: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """(batch, longest, width) with zeros on the right, and (batch, longest) bool."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    if len(sequences) == 1:  # hours of clips are not copied
        padded = sequences[0].unsqueeze(0)
    else:
        padded = torch.nn.utils.rnn.pad_sequence(list(sequences), batch_first=True)
    return padded, torch.arange(padded.shape[1]) < lengths.unsqueeze(1)


def _token_spans(spans: Sequence[Sequence[Span]], offsets: np.ndarray[Any, np.dtype[Any]]) -> Tensor:
    """Spans of characters to spans of word pieces; what truncation cut off is left out.

    Args:
        spans: per caption.
        offsets: (batch, length, 2) characters of each word piece, (0, 0) at special tokens and padding.

    Returns:
        (batch, most spans of a caption, 2) int64, filled up with (0, 0).
    """
    found: list[list[Span]] = []
    for phrases, (starts, ends) in zip(spans, offsets.transpose(0, 2, 1), strict=True):
        inside = [np.flatnonzero((starts < end) & (ends > start)) for start, end in phrases]
        found.append([(int(pieces[0]), int(pieces[-1]) + 1) for pieces in inside if len(pieces)])
    padded = torch.zeros(len(found), max(map(len, found), default=0), 2, dtype=torch.int64)
    for row, phrases_of_row in zip(padded, found, strict=True):
        if phrases_of_row:
            row[: len(phrases_of_row)] = torch.tensor(phrases_of_row)
    return padded
