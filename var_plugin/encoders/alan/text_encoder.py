"""Text tower: BERT, its [CLS] output and mean word output, and gated embedding units (section III-C)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import AutoModel

from var_plugin.encoders.alan.configuration import AlanConfig
from var_plugin.encoders.alan.encodings import TextEncoding
from var_plugin.encoders.alan.query_head import QueryHeads


class AlanTextEncoder(nn.Module):
    """Map captions to g_t = [CLS] and h_t = mean of the words, each for both streams, and to X_t."""

    def __init__(self, config: AlanConfig) -> None:
        super().__init__()
        self.backbone = AutoModel.from_config(config.text_config, trust_remote_code=False)
        # The paper uses the [CLS] output itself, not BERT's pooler.
        self.backbone.pooler = None
        self.heads = QueryHeads(config, config.text_config.hidden_size)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> TextEncoding:
        """Encode a batch of captions.

        Args:
            input_ids: (batch, length) int64: [CLS], word pieces, [SEP], padding.
            attention_mask: (batch, length), 0 at padding, 1 elsewhere.

        Returns:
            The encoding, with the word-level outputs.
        """
        words = self.backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = word_mask(attention_mask)
        count = mask.sum(dim=1, keepdim=True).clamp(min=1)
        avg = words.masked_fill(~mask.unsqueeze(-1), 0).sum(dim=1) / count
        query = self.heads(words[:, 0], avg)
        return TextEncoding(query.cls, query.avg, query.cls_weights, query.avg_weights, words=words, word_mask=mask)


def word_mask(attention_mask: Tensor) -> Tensor:
    """Return (batch, length) bool, true at the word pieces of `[CLS] words [SEP] padding`."""
    position = torch.arange(attention_mask.shape[1], device=attention_mask.device)
    last = attention_mask.sum(dim=1, keepdim=True) - 1
    return (position > 0) & (position < last)
