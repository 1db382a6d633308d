"""Video anomaly retrieval: index camera footage, search it by text, image, audio or video, get moments.

Public names are imported on first use, so that importing the package is fast.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from var_plugin.api import Index, open_index
    from var_plugin.config import CameraClock
    from var_plugin.encoders.registry import load_suite
    from var_plugin.errors import VarPluginError
    from var_plugin.ingest.ray import RayEngine
    from var_plugin.retrievers.langchain import AnomalyRetriever
    from var_plugin.types import Filter, Moment, Query, Receipt, Span

__version__ = "0.1.0"

# Several dependencies send telemetry by default. They read these variables when they are imported, so the variables are
# set first. A value that the user has set is kept.
_NO_TELEMETRY = {
    "ANONYMIZED_TELEMETRY": "False",  # Chroma
    "DO_NOT_TRACK": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime from 1.29 on
    "RAY_USAGE_STATS_ENABLED": "0",
}
for _name, _value in _NO_TELEMETRY.items():
    os.environ.setdefault(_name, _value)

_MODULES = {
    "AnomalyRetriever": "var_plugin.retrievers.langchain",
    "CameraClock": "var_plugin.config",
    "Filter": "var_plugin.types",
    "Index": "var_plugin.api",
    "Moment": "var_plugin.types",
    "Query": "var_plugin.types",
    "RayEngine": "var_plugin.ingest.ray",
    "Receipt": "var_plugin.types",
    "Span": "var_plugin.types",
    "VarPluginError": "var_plugin.errors",
    "load_suite": "var_plugin.encoders.registry",
    "open_index": "var_plugin.api",
}

__all__ = [
    "AnomalyRetriever",
    "CameraClock",
    "Filter",
    "Index",
    "Moment",
    "Query",
    "RayEngine",
    "Receipt",
    "Span",
    "VarPluginError",
    "load_suite",
    "open_index",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
