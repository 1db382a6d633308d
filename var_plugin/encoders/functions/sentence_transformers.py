"""Suites as modules of a sentence-transformers model (version 5.6 or newer).

`SentenceTransformer(modules=[suite_router("lite")], similarity_fn_name="dot")` accepts the modalities of the space:
text, image, audio, video. A saved model holds the name and fingerprint of the suite, not its weights. Loading it needs
`trust_remote_code=True`, because sentence-transformers otherwise imports only modules of its own package.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sentence_transformers.base.modality import infer_batch_modality
from sentence_transformers.base.modality_types import Modality as HostModality
from sentence_transformers.base.modules import InputModule, Router

from var_plugin.encoders.functions.one_space import OneSpace
from var_plugin.encoders.suite import Suite
from var_plugin.errors import InvalidInputError


def suite_router(suite: str | Suite = "lite", space: str | None = None) -> Router:
    """Return the first module of a model, with one route per modality of a space. The default route is text.

    All routes use the suite. Routes can be replaced or added. Arguments and errors are those of `SuiteModule`.
    """
    module = SuiteModule(suite, space)
    return Router({str(modality): [module] for modality in module.modalities}, default_route="text")


class SuiteModule(InputModule):
    """Encode with a suite into one space. The module can be used alone or in the routes of `suite_router`.

    Args:
        suite: a suite or its name. A saved model can load only suites that can be loaded by name.
        space: name of the space. Default: the first space with a text encoder.
        fingerprint: expected fingerprint of the space. It is set when a saved model is loaded.

    Raises:
        UnknownSuiteError: no suite has that name.
        UnsupportedModalityError: the suite has no space of that name, or none with a text encoder.
        FingerprintMismatchError: the suite of that name produces other vectors than the saved one.
    """

    def __init__(self, suite: str | Suite = "lite", space: str | None = None, fingerprint: str | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if fingerprint is None:
            self._encoders = OneSpace(suite, space)
        else:
            self._encoders = OneSpace.from_config({"suite": suite, "space": space, "fingerprint": fingerprint})

    @property
    def modalities(self) -> list[HostModality]:
        """Modalities of the space."""
        return [*sorted(self._encoders.space.modalities)]

    def get_embedding_dimension(self) -> int:
        """Return the dimension of the vectors."""
        return self._encoders.space.dim

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **kwargs: Any) -> dict[str, Any]:
        """Infer the modality of the inputs as sentence-transformers does, and unpack its input types.

        sentence-transformers has already checked that all inputs have the same modality and that it is in `modalities`.
        """
        modality = infer_batch_modality(inputs, self.modalities)
        items = [_unpacked(sample, modality) for sample in inputs]
        if prompt and modality == "text":
            items = [prompt + item for item in items]
        return {"modality": modality, "items": items}

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Add `sentence_embedding`, (len(items), dim) float32."""
        vectors = self._encoders.encode(features["modality"], features["items"])
        return {**features, "sentence_embedding": torch.from_numpy(vectors)}

    def get_config_dict(self) -> dict[str, Any]:
        """Return suite, space and fingerprint."""
        return self._encoders.config()

    def save(self, output_path: str, *args: Any, **kwargs: Any) -> None:
        """Write the configuration."""
        self.save_config(output_path)


def _unpacked(sample: Any, modality: HostModality) -> Any:
    """Convert an input of sentence-transformers to an item for `Suite.encode`."""
    content = sample[modality] if isinstance(sample, dict) and modality in sample else sample
    if isinstance(content, str) and modality != "text" and content.startswith(("http:", "https:", "data:")):
        raise InvalidInputError(
            f"cannot read {modality} from a URL",
            why="embedding functions download nothing",
            fix="download the file and pass its path",
        )
    if isinstance(content, dict) and modality == "audio":
        return np.asarray(content["array"], np.float32), content["sampling_rate"]
    if isinstance(content, torch.Tensor) and modality == "image":
        content = content.numpy(force=True)
    if isinstance(content, np.ndarray) and modality == "image" and content.shape[0] == 3 != content.shape[-1]:
        return content.transpose(1, 2, 0)  # PyTorch images are channels-first
    return content
