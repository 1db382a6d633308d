"""The text tower: BERT, its [CLS] output and the mean of its word outputs, gated embedding units (section III-C)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import AutoModel

from var_plugin.encoders.alan.configuration import AlanConfig
from var_plugin.encoders.alan.encodings import TextEncoding
from var_plugin.encoders.alan.query_head import QueryHeads


class AlanTextEncoder(nn.Module):
    """Turns captions into g_t = [CLS], h_t = mean of the words, each for both streams, and X_t for the phrases."""

    def __init__(self, config: AlanConfig) -> None:
        super().__init__()
        self.backbone = AutoModel.from_config(config.text_config, trust_remote_code=False)
        # BERT's pooler stands behind [CLS]; the paper takes the output itself.
        self.backbone.pooler = None
        self.heads = QueryHeads(config, config.text_config.hidden_size)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> TextEncoding:
        """Encode a batch of captions.

        Args:
            input_ids: (batch, length) int64: [CLS], word pieces, [SEP], padding.
            attention_mask: (batch, length), 1 at everything but padding.

        Returns:
            The encoding with the word-level outputs.
        """
        words = self.backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = word_mask(attention_mask)
        count = mask.sum(dim=1, keepdim=True).clamp(min=1)
        avg = words.masked_fill(~mask.unsqueeze(-1), 0).sum(dim=1) / count
        query = self.heads(words[:, 0], avg)
        return TextEncoding(query.cls, query.avg, query.cls_weights, query.avg_weights, words=words, word_mask=mask)


def word_mask(attention_mask: Tensor) -> Tensor:
    """True at the word pieces of `[CLS] words [SEP] padding`, (batch, length) bool."""
    position = torch.arange(attention_mask.shape[1], device=attention_mask.device)
    last = attention_mask.sum(dim=1, keepdim=True) - 1
    return (position > 0) & (position < last)
