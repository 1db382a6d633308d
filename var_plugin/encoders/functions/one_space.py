"""Base of the embedding functions: one space of a suite, with a configuration to restore it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from var_plugin.encoders.base import Space, Vectors
from var_plugin.encoders.registry import load_suite
from var_plugin.encoders.suite import Suite
from var_plugin.errors import FingerprintMismatchError, InvalidInputError
from var_plugin.types import Modality


class OneSpace:
    """Encode content of several modalities into one space. The embedding functions inherit from this class.

    Args:
        suite: a suite or its name.
        space: name of the space. Default: the first space with a text encoder.

    Raises:
        UnknownSuiteError: no suite has that name.
        UnsupportedModalityError: the suite has no space of that name, or none with a text encoder.
    """

    def __init__(self, suite: str | Suite = "lite", space: str | None = None) -> None:
        self.suite = suite if isinstance(suite, Suite) else load_suite(suite)
        self.space: Space = self.suite.encoders_for("text", space).space

    @property
    def dim(self) -> int:
        """Dimension of the vectors."""
        return self.space.dim

    def encode(self, modality: Modality, items: Sequence[Any]) -> Vectors:
        """Return vectors (len(items), dim) float32. Arguments and errors are those of `Suite.encode`."""
        return self.suite.encode(modality, items, space=self.space.name)

    def encode_mixed(self, items: Sequence[tuple[Modality, Any]]) -> Vectors:
        """Return vectors (len(items), dim) float32 of items of several modalities, in the order of the items."""
        vectors = np.empty((len(items), self.space.dim), np.float32)
        for modality in dict.fromkeys(modality for modality, _ in items):
            places = [place for place, (other, _) in enumerate(items) if other == modality]
            vectors[places] = self.encode(modality, [items[place][1] for place in places])
        return vectors

    def config(self) -> dict[str, str]:
        """Return the configuration for `from_config`. A host library can store it with the vectors."""
        return {"suite": self.suite.name, "space": self.space.name, "fingerprint": self.space.fingerprint}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Return an instance that produces the same vectors as the stored configuration.

        Raises:
            InvalidInputError: the configuration was not returned by `config`.
            FingerprintMismatchError: the installed suite of that name produces other vectors.
        """
        check_config(config)
        restored = cls(config["suite"], config["space"])
        if restored.space.fingerprint != config["fingerprint"]:
            raise FingerprintMismatchError(
                f"the vectors were computed by suite '{config['suite']}' with fingerprint {config['fingerprint']}",
                why=f"the suite installed now has {restored.space.fingerprint} and computes other vectors",
                fix="install the version that computed them, or embed the content again",
            )
        return restored


def check_config(config: Mapping[str, Any]) -> None:
    """Raise `InvalidInputError` unless the configuration has the keys and types of `OneSpace.config`."""
    keys = {"suite", "space", "fingerprint"}
    if set(config) != keys or not all(isinstance(value, str) for value in config.values()):
        raise InvalidInputError(
            f"the configuration of the embedding function is invalid: {dict(config)!r}",
            why=f"it has the keys {', '.join(sorted(keys))}, each a string",
            fix="pass what the embedding function's configuration returned",
        )
