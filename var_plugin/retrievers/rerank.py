"""Rerank moments with a model that gets the text of the query and frames of a moment together.

Reranking is slow and therefore off by default. It supports text queries only. The model is a cross-encoder of
sentence-transformers, such as Qwen3-VL-Reranker, or an image-text-to-text model of transformers with a chat template,
from the hub or a folder.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from var_plugin.config import ModelOptions, settings
from var_plugin.encoders.backbones.sentence_transformers import as_video, is_cross_encoder, require_packages
from var_plugin.encoders.base import ImageArray
from var_plugin.encoders.hub import (
    Checkpoint,
    device,
    refusing_random_weights,
    unreadable_files_refused,
    without_progress_bar,
)
from var_plugin.errors import InvalidInputError, VarPluginError
from var_plugin.index.footage import check_footage
from var_plugin.media.sandbox.client import image_at
from var_plugin.types import Moment, Query

logger = logging.getLogger(__name__)

FRAMES = 4
"""Number of evenly spaced frames per moment that a model for images gets."""
VIDEO_FRAMES = 8
"""Number of evenly spaced frames per moment that a model for video gets, as one video."""
WIDTH = 448
"""Width of these frames in pixels."""
QUESTION = 'Do these images of one video show the following: "{}"? Answer with yes or no.'

_YES, _NO = ("yes", "Yes", " yes", " Yes"), ("no", "No", " no", " No")


def load_reranker(name: str, options: ModelOptions | None = None) -> MomentReranker:
    """Return the reranker for a model. The model itself loads on first use.

    Args:
        name: a repository on the hub, `organisation/name@revision`, or a folder.
        options: where models are, and how they run. Default: from the settings.

    Raises:
        MissingWeightsError: the model is not found locally or on the hub.
        MissingDependencyError: the model is a cross-encoder, and sentence-transformers is not installed.
    """
    checkpoint = Checkpoint(name, options=options or settings())
    if is_cross_encoder(checkpoint):
        return CrossEncoderReranker(checkpoint)
    return VisionLanguageReranker(checkpoint)


class MomentReranker(ABC):
    """A `Reranker` that sorts moments by the score that a model gives their frames."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint

    @property
    @abstractmethod
    def frames(self) -> int:
        """Number of frames that the model gets of each moment."""

    @abstractmethod
    def score(self, text: str, images: Sequence[ImageArray], fps: float) -> float:
        """Return how well images match a text, as log-odds.

        Args:
            text: the text of the query.
            images: frames of a moment.
            fps: frames per second of video.
        """

    def __call__(self, query: Query, moments: Sequence[Moment]) -> list[Moment]:
        """Return the moments sorted by the model. Moments with missing or changed footage come last.

        A query without a text keeps its order.

        Raises:
            MissingWeightsError: weights of the model are missing.
            InvalidInputError: the model does not take images.
        """
        if query.text is None:
            return list(moments)
        scored = [(self._moment_score(query.text, moment), moment) for moment in moments]
        return [moment for _, moment in sorted(scored, key=lambda pair: -pair[0])]

    def _moment_score(self, text: str, moment: Moment) -> float:
        count, duration = self.frames, moment.end - moment.start
        times = moment.start + (np.arange(count) + 0.5) / count * duration
        try:
            check_footage(Path(moment.uri), moment.video_id)
            images = [image_at(Path(moment.uri), float(time), width=WIDTH) for time in times]
        except VarPluginError as error:  # keep the results, with this moment last
            logger.warning("moment %s was not reranked: %s", moment.id, error)
            return -float("inf")
        return self.score(text, images, count / duration)


class CrossEncoderReranker(MomentReranker):
    """Score moments with a cross-encoder of sentence-transformers and its own prompt.

    Raises:
        MissingDependencyError: sentence-transformers is not installed, or torchvision for a model for video.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        require_packages(checkpoint)

    @property
    def frames(self) -> int:
        """Number of frames, which depends on whether the model takes video."""
        return VIDEO_FRAMES if self._model.supports("video") else FRAMES

    def score(self, text: str, images: Sequence[ImageArray], fps: float) -> float:
        """Return the score of the model before its activation function. See the base class."""
        from PIL import Image
        from torch.nn import Identity

        document: dict[str, Any]
        processing: dict[str, Any] = {}
        if self._model.supports("video"):
            video = as_video(images, fps)
            document = {"video": video["array"]}
            # A pair drops the metadata of its video, so that the processor would assume 24 frames per second.
            processing["video"] = {"video_metadata": [video["video_metadata"]], "do_sample_frames": False}
        else:
            document = {"image": [Image.fromarray(image) for image in images]}
        scores = self._model.predict(
            [({"text": text}, document)],
            activation_fn=Identity(),
            processing_kwargs=processing,
            show_progress_bar=False,
        )
        return float(scores[0])

    @cached_property
    def _model(self) -> Any:
        from sentence_transformers import CrossEncoder

        options, folder = self._checkpoint.options, self._checkpoint.folder
        with refusing_random_weights(folder), without_progress_bar(), unreadable_files_refused(folder):
            model = CrossEncoder(
                str(folder),
                device=str(device(options)),
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True, "dtype": options.dtype},
            )
        if model.num_labels != 1 or not (model.supports("image") or model.supports("video")):
            raise InvalidInputError(
                f"the model {self._checkpoint.name} cannot rerank moments",
                why=f"it takes {', '.join(map(str, model.modalities))}; number of scores: {model.num_labels}",
                fix="choose a reranker for text and images with one score",
            )
        return model


class VisionLanguageReranker(MomentReranker):
    """Score moments by the log-odds of "yes" against "no" as the answer of a vision-language model.

    Raises:
        InvalidInputError: the model is not a vision-language model. Raised on first use.
    """

    @property
    def frames(self) -> int:
        """Number of frames."""
        return FRAMES

    def score(self, text: str, images: Sequence[ImageArray], fps: float) -> float:
        """Return the log-odds that images show what a text describes. The frame rate is not used."""
        return self.log_odds(text, images)

    def log_odds(self, text: str, images: Sequence[ImageArray]) -> float:
        """Return the log-odds that images show what a text describes, from the logits of the next token."""
        import torch
        from PIL import Image

        content = [{"type": "image", "image": Image.fromarray(image)} for image in images]
        chat = [{"role": "user", "content": [*content, {"type": "text", "text": QUESTION.format(text)}]}]
        inputs = self._processor.apply_chat_template(
            chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        with torch.inference_mode():
            logits = self._model(**inputs.to(self._model.device, self._model.dtype)).logits[0, -1].float()
        yes, no = (torch.logsumexp(logits[words], dim=0) for words in self._answers)
        return float(yes - no)

    @cached_property
    def _model(self) -> Any:
        return self._checkpoint.model("AutoModelForImageTextToText")

    @cached_property
    def _processor(self) -> Any:
        processor = self._checkpoint.processor("AutoProcessor")
        if not getattr(processor, "chat_template", None):
            raise InvalidInputError(
                f"the model {self._checkpoint.name} cannot answer questions",
                why="it has no chat template",
                fix="choose a vision-language model that is trained for chats",
            )
        return processor

    @cached_property
    def _answers(self) -> tuple[list[int], list[int]]:
        """Return the ids of the first tokens of "yes" and of "no"."""
        tokenizer = self._processor.tokenizer

        def first(words: Sequence[str]) -> list[int]:
            ids = [tokenizer.encode(word, add_special_tokens=False)[0] for word in words]
            return sorted({token for token in ids if token != tokenizer.unk_token_id})

        return first(_YES), first(_NO)
