"""Video prompt based masked phrase modeling (VPMPM): guess a masked phrase from its caption and the video.

A training-only task that drives the encoders to matching details (section III-D, Eq. 9).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from var_plugin.encoders.alan.configuration import AlanConfig
from var_plugin.encoders.alan.encodings import TextEncoding, VideoEncoding


class PromptingDecoder(nn.Module):
    """One standard decoder layer whose queries are the words and whose keys and values are the video's clips.

    Words of another width than d go through a linear layer first; at the paper's sizes there is none.
    """

    def __init__(self, config: AlanConfig) -> None:
        super().__init__()
        width, d = config.text_config.hidden_size, config.hidden_size
        self.mask_embedding = nn.Parameter(torch.empty(width))
        self.word_projection = nn.Identity() if width == d else nn.Linear(width, d)
        # Post-norm and ReLU, the layer of "Attention is all you need" (row 14).
        self.decoder = nn.TransformerDecoderLayer(
            d, config.num_attention_heads, config.intermediate_size, config.dropout, batch_first=True
        )
        self.vocabulary = nn.Linear(d, config.text_config.vocab_size)
        self.reset_mask_embedding()

    def reset_mask_embedding(self) -> None:
        """Start the mask embedding near zero, as masked autoencoders do."""
        nn.init.normal_(self.mask_embedding, std=0.02)

    def forward(self, words: Tensor, word_mask: Tensor, phrase_mask: Tensor, clips: Tensor) -> Tensor:
        """Predict the masked word pieces.

        Args:
            words: (batch, length, text width), X_t.
            word_mask: (batch, length) bool, true at word pieces; each row needs one.
            phrase_mask: (batch, length) bool, true at the word pieces to be masked.
            clips: (batch, clips, d), X_v, with gradient: the task trains the encoders.

        Returns:
            (masked word pieces, vocabulary) logits, in the order of `phrase_mask.nonzero()`.
        """
        masked = torch.where(phrase_mask.unsqueeze(-1), self.mask_embedding.to(words.dtype), words)
        decoded = self.decoder(self.word_projection(masked), clips, tgt_key_padding_mask=~word_mask)
        logits: Tensor = self.vocabulary(decoded[phrase_mask])
        return logits


class MaskedPhraseModeling(nn.Module):
    """The two passes, nouns and verbs, through one decoder; a caption without a phrase adds nothing (rows 18 to 23)."""

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
        """Mask one phrase of each kind per caption and return the cross-entropy of guessing it (Eq. 9).

        Args:
            text: the captions.
            video: their videos.
            input_ids: (batch, length) int64, what is to be guessed.
            noun_phrases: (batch, phrases, 2) int64, first word piece and the one behind the last; (0, 0) is no phrase.
            verb_phrases: the same for verbs.
            generator: source of randomness; default torch's own.

        Returns:
            A scalar, with a gradient path even when no caption has a phrase.
        """
        streams = list(video.clips.unbind(dim=1))
        both = torch.cat(streams, dim=1)
        prompts = (streams[0], streams[-1]) if self.split_streams else (both, both)
        losses = []
        for phrases, clips in zip((noun_phrases, verb_phrases), prompts, strict=True):
            chosen = choose_phrases(phrases, input_ids.shape[1], generator) & text.word_mask
            logits = self.decoder(text.words, text.word_mask, chosen, clips)
            losses.append(F.cross_entropy(logits.float(), input_ids[chosen], reduction="sum") / max(1, len(logits)))
        loss = torch.stack(losses)
        return loss.mean() if self.reduction == "mean" else loss.sum()


def choose_phrases(phrases: Tensor, length: int, generator: torch.Generator | None = None) -> Tensor:
    """Pick one phrase of each caption, all with equal chance.

    Args:
        phrases: (batch, phrases, 2) int64 spans, real ones first; (0, 0) is no phrase.
        length: word pieces per caption.
        generator: source of randomness; default torch's own.

    Returns:
        (batch, length) bool, true in the chosen phrase; all false in a caption that has none.
    """
    count = (phrases[..., 1] > phrases[..., 0]).sum(dim=1)
    if phrases.shape[1] == 0:
        return torch.zeros(len(phrases), length, dtype=torch.bool, device=phrases.device)
    device = phrases.device if generator is None else generator.device
    draw = torch.rand(len(phrases), generator=generator, device=device).to(phrases.device)
    pick = (draw * count).long()
    start, end = phrases[torch.arange(len(phrases), device=phrases.device), pick].unbind(dim=-1)
    position = torch.arange(length, device=phrases.device)
    return (position >= start.unsqueeze(1)) & (position < end.unsqueeze(1))
