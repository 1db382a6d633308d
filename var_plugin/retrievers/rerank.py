"""A second look: a vision-language model is asked of each candidate whether it shows what was looked for.

Slow, so it is never on by itself; only texts are asked about. The model is any of transformers' image-text-to-text kind
that can be asked in a chat, from the hub or a folder.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from var_plugin.encoders.base import ImageArray
from var_plugin.encoders.hub import Checkpoint
from var_plugin.errors import InvalidInputError, VarPluginError
from var_plugin.index.footage import check_footage
from var_plugin.media.sandbox.client import image_at
from var_plugin.types import Moment, Query

logger = logging.getLogger(__name__)

FRAMES = 4
"""Images of a moment that the model sees, at even distances."""
WIDTH = 448
"""Of these images, in pixels."""
QUESTION = 'Do these images of one video show the following: "{}"? Answer with yes or no.'

_YES, _NO = ("yes", "Yes", " yes", " Yes"), ("no", "No", " no", " No")


class VisionLanguageReranker:
    """Puts moments in order of the odds of "yes" against "no"; a `Reranker`. The model loads at the first use.

    Args:
        name: a repository of the hub, `organisation/name@revision`, or a folder.
    """

    def __init__(self, name: str) -> None:
        self._checkpoint = Checkpoint(name)

    def __call__(self, query: Query, moments: Sequence[Moment]) -> list[Moment]:
        """Return the moments in the model's order; those whose footage is gone or was overwritten come last.

        A query without words keeps its order.

        Raises:
            MissingWeightsError: the model is nowhere to be had.
            InvalidInputError: it is no vision-language model.
        """
        if query.text is None:
            return list(moments)
        asked = [(self._odds(query.text, moment), moment) for moment in moments]
        return [moment for _, moment in sorted(asked, key=lambda pair: -pair[0])]

    def odds(self, text: str, images: Sequence[ImageArray]) -> float:
        """Return the logarithm of the odds that images show what a text says, by the next word's probabilities."""
        import torch
        from PIL import Image

        shown = [{"type": "image", "image": Image.fromarray(image)} for image in images]
        chat = [{"role": "user", "content": [*shown, {"type": "text", "text": QUESTION.format(text)}]}]
        inputs = self._processor.apply_chat_template(
            chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        with torch.inference_mode():
            logits = self._model(**inputs.to(self._model.device, self._model.dtype)).logits[0, -1].float()
        yes, no = (torch.logsumexp(logits[words], dim=0) for words in self._answers)
        return float(yes - no)

    def _odds(self, text: str, moment: Moment) -> float:
        times = moment.start + (np.arange(FRAMES) + 0.5) / FRAMES * (moment.end - moment.start)
        try:
            check_footage(Path(moment.uri), moment.video_id)
            images = [image_at(Path(moment.uri), float(time), width=WIDTH) for time in times]
        except VarPluginError as error:  # an answer in the search's order is better than none
            logger.warning("moment %s was not looked at again: %s", moment.id, error)
            return -float("inf")
        return self.odds(text, images)

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
                f"the model {self._checkpoint.name} cannot be asked",
                why="it brings no chat template",
                fix="choose a vision-language model that was trained to answer",
            )
        return processor

    @cached_property
    def _answers(self) -> tuple[list[int], list[int]]:
        """The tokens that a yes and a no can begin with."""
        tokenizer = self._processor.tokenizer

        def first(words: Sequence[str]) -> list[int]:
            ids = [tokenizer.encode(word, add_special_tokens=False)[0] for word in words]
            return sorted({one for one in ids if one != tokenizer.unk_token_id})

        return first(_YES), first(_NO)
