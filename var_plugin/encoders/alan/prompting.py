"""Video prompt based masked phrase modeling (VPMPM): predict a masked phrase from its caption and the video.

An auxiliary training task that makes the encoders match details (section III-D, Eq. 9).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from var_plugin.encoders.alan.configuration import AlanConfig
from var_plugin.encoders.alan.encodings import TextEncoding, VideoEncoding


class PromptingDecoder(nn.Module):
    """One standard decoder layer. Its queries are the words, its keys and values the clips of the video.

    If the width of the text backbone is not d, a linear layer maps its words to d. The paper needs no such layer.
    """

    def __init__(self, config: AlanConfig) -> None:
        super().__init__()
        width, d = config.text_config.hidden_size, config.hidden_size
        self.mask_embedding = nn.Parameter(torch.empty(width))
        self.word_projection = nn.Identity() if width == d else nn.Linear(width, d)
        # Post-norm and ReLU, as in Vaswani et al., 2017 (row 14).
        self.decoder = nn.TransformerDecoderLayer(
            d, config.num_attention_heads, config.intermediate_size, config.dropout, batch_first=True
        )
        self.vocabulary = nn.Linear(d, config.text_config.vocab_size)
        self.reset_mask_embedding()

    def reset_mask_embedding(self) -> None:
        """Initialise the mask embedding from N(0, 0.02²), as in masked autoencoders."""
        nn.init.normal_(self.mask_embedding, std=0.02)

    def forward(self, words: Tensor, word_mask: Tensor, phrase_mask: Tensor, clips: Tensor) -> Tensor:
        """Predict the masked word pieces.

        Args:
            words: (batch, length, text width), X_t.
            word_mask: (batch, length) bool, true at word pieces, at least one per row.
            phrase_mask: (batch, length) bool, true at the word pieces to mask.
            clips: (batch, clips, d), X_v, with gradient: the task trains the encoders.

        Returns:
            (masked word pieces, vocabulary) logits, in the order of `phrase_mask.nonzero()`.
        """
        masked = torch.where(phrase_mask.unsqueeze(-1), self.mask_embedding.to(words.dtype), words)
        decoded = self.decoder(self.word_projection(masked), clips, tgt_key_padding_mask=~word_mask)
        logits: Tensor = self.vocabulary(decoded[phrase_mask])
        return logits


class MaskedPhraseModeling(nn.Module):
    """A noun pass and a verb pass through one decoder. A caption without a phrase adds no loss (rows 18 to 23)."""

    def __init__(self, config: AlanConfig) -> None:
        super().__init__()
        self.decoder = PromptingDecoder(config)
        self.split_streams = config.prompt_streams == "split"
        self.reduction = config.mpm_reduction

    def forward(
        self,
        text: TextEncoding,
        video: VideoEncoding,
        input_ids: Tensor,
        noun_phrases: Tensor,
        verb_phrases: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Mask one phrase of each kind per caption and return the cross-entropy of its prediction (Eq. 9).

        Args:
            text: the captions.
            video: their videos.
            input_ids: (batch, length) int64, the targets.
            noun_phrases: (batch, phrases, 2) int64 spans of word pieces (end exclusive), padded with (0, 0).
            verb_phrases: the same for verbs.
            generator: random generator. Default: torch's global one.

        Returns:
            A scalar, connected to the graph even if no caption has a phrase.
        """
        streams = list(video.clips.unbind(dim=1))
        both = torch.cat(streams, dim=1)
        prompts = (streams[0], streams[-1]) if self.split_streams else (both, both)
        losses = []
        for phrases, clips in zip((noun_phrases, verb_phrases), prompts, strict=True):
            phrase_mask = sample_phrases(phrases, input_ids.shape[1], generator) & text.word_mask
            logits = self.decoder(text.words, text.word_mask, phrase_mask, clips)
            total = F.cross_entropy(logits.float(), input_ids[phrase_mask], reduction="sum")
            losses.append(total / max(1, len(logits)))
        loss = torch.stack(losses)
        return loss.mean() if self.reduction == "mean" else loss.sum()


def sample_phrases(phrases: Tensor, length: int, generator: torch.Generator | None = None) -> Tensor:
    """Sample one phrase of each caption uniformly.

    Args:
        phrases: (batch, phrases, 2) int64 spans, right-padded with (0, 0).
        length: word pieces per caption.
        generator: random generator. Default: torch's global one.

    Returns:
        (batch, length) bool, true in the sampled phrase; all false for a caption without phrases.
    """
    count = (phrases[..., 1] > phrases[..., 0]).sum(dim=1)
    if phrases.shape[1] == 0:
        return torch.zeros(len(phrases), length, dtype=torch.bool, device=phrases.device)
    device = phrases.device if generator is None else generator.device
    uniform = torch.rand(len(phrases), generator=generator, device=device).to(phrases.device)
    index = (uniform * count).long()
    start, end = phrases[torch.arange(len(phrases), device=phrases.device), index].unbind(dim=-1)
    position = torch.arange(length, device=phrases.device)
    return (position >= start.unsqueeze(1)) & (position < end.unsqueeze(1))
