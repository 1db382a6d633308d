"""Rerank moments with a vision-language model that answers whether they show the text of the query.

Reranking is slow and therefore off by default. It supports text queries only. The model is an image-text-to-text model
of transformers with a chat template, from the hub or a folder.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from var_plugin.config import ModelOptions, settings
from var_plugin.encoders.base import ImageArray
from var_plugin.encoders.hub import Checkpoint
from var_plugin.errors import InvalidInputError, VarPluginError
from var_plugin.index.footage import check_footage
from var_plugin.media.sandbox.client import image_at
from var_plugin.types import Moment, Query

logger = logging.getLogger(__name__)

FRAMES = 4
"""Number of evenly spaced frames per moment that the model gets."""
WIDTH = 448
"""Width of these frames in pixels."""
QUESTION = 'Do these images of one video show the following: "{}"? Answer with yes or no.'

_YES, _NO = ("yes", "Yes", " yes", " Yes"), ("no", "No", " no", " No")


class VisionLanguageReranker:
    """A `Reranker` that sorts moments by the log-odds of "yes" against "no". The model loads on first use.

    Args:
        name: a repository on the hub, `organisation/name@revision`, or a folder.
        options: where models are, and how they run. Default: from the settings.
    """

    def __init__(self, name: str, options: ModelOptions | None = None) -> None:
        self._checkpoint = Checkpoint(name, options=options or settings())

    def __call__(self, query: Query, moments: Sequence[Moment]) -> list[Moment]:
        """Return the moments sorted by the model. Moments with missing or changed footage come last.

        A query without a text keeps its order.

        Raises:
            MissingWeightsError: the model is not found locally or on the hub.
            InvalidInputError: the model is not a vision-language model.
        """
        if query.text is None:
            return list(moments)
        scored = [(self._moment_log_odds(query.text, moment), moment) for moment in moments]
        return [moment for _, moment in sorted(scored, key=lambda pair: -pair[0])]

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

    def _moment_log_odds(self, text: str, moment: Moment) -> float:
        times = moment.start + (np.arange(FRAMES) + 0.5) / FRAMES * (moment.end - moment.start)
        try:
            check_footage(Path(moment.uri), moment.video_id)
            images = [image_at(Path(moment.uri), float(time), width=WIDTH) for time in times]
        except VarPluginError as error:  # keep the results, with this moment last
            logger.warning("moment %s was not reranked: %s", moment.id, error)
            return -float("inf")
        return self.log_odds(text, images)

    @cached_property
    def _model(self) -> Any:
        return self._checkpoint.model("AutoModelForImageTextToText")

    @cached_property
    def _processor(self) -> Any:
        from transformers import AutoProcessor

        processor = AutoProcessor.from_pretrained(
            self._checkpoint.folder, local_files_only=True, trust_remote_code=False
        )
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
