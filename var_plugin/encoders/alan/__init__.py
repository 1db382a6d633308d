"""ALAN, the Anomaly-Led Alignment Network of Wu et al. (IEEE TIP 33, 2024), as a transformers model.

Public names are imported on first use: the residual form, which the lite suite uses, does without transformers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from var_plugin.encoders.alan.configuration import AlanConfig
    from var_plugin.encoders.alan.modeling import AlanModel, AlanOutput
    from var_plugin.encoders.alan.phrases import PhraseFinder, Phrases
    from var_plugin.encoders.alan.processing import AlanProcessor

_MODULES = {
    "AlanConfig": "configuration",
    "AlanModel": "modeling",
    "AlanOutput": "modeling",
    "AlanProcessor": "processing",
    "PhraseFinder": "phrases",
    "Phrases": "phrases",
}

__all__ = ["AlanConfig", "AlanModel", "AlanOutput", "AlanProcessor", "PhraseFinder", "Phrases"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
