"""ALAN, the Anomaly-Led Alignment Network of Wu et al. (IEEE TIP 33, 2024), as a transformers model.

Importing this package registers the model type "alan" with the Auto classes of transformers.
"""

from __future__ import annotations

from transformers import AutoConfig, AutoModel

from var_plugin.encoders.alan.configuration import AlanConfig
from var_plugin.encoders.alan.modeling import AlanModel, AlanOutput
from var_plugin.encoders.alan.phrases import PhraseFinder, Phrases
from var_plugin.encoders.alan.processing import AlanProcessor

__all__ = ["AlanConfig", "AlanModel", "AlanOutput", "AlanProcessor", "PhraseFinder", "Phrases"]

AutoConfig.register(AlanConfig.model_type, AlanConfig, exist_ok=True)
AutoModel.register(AlanConfig, AlanModel, exist_ok=True)
