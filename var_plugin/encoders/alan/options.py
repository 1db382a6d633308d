"""Settings that ALAN and its residual form share, with choices and limits. This module does not import transformers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from var_plugin.errors import InvalidInputError

QueryModality = Literal["text", "audio"]
SelectionNormalizer = Literal["softmax", "linear"]
FixedSampling = Literal["random", "uniform"]
AnomalySampling = Literal["systematic", "random"]
PositionSource = Literal["time", "slot"]
PositionEmbeddingKind = Literal["sinusoidal", "learned"]
DetectorPadding = Literal["same", "causal"]
DetectorSource = Literal["raw", "projected"]
DetectorFusion = Literal["concat", "sum"]
StreamWeightsSource = Literal["gated", "ungated"]
MaskedUnit = Literal["phrase", "content_word", "random_word"]
VerbPattern = Literal["extended", "plain"]
PromptStreams = Literal["both", "split"]
PassReduction = Literal["mean", "sum"]
MarginReduction = Literal["mean", "batch"]


@dataclass(init=False)
class SamplingOptions:
    """Settings of the clip sampling; see `AlanConfig`."""

    num_fixed_clips: int = 50
    num_anomaly_clips: int = 50
    selection_temperature: float = 0.7
    selection_normalizer: SelectionNormalizer = "softmax"
    fixed_sampling_in_training: FixedSampling = "random"
    anomaly_sampling_in_evaluation: AnomalySampling = "systematic"
    sort_anomaly_clips: bool = True


@dataclass(init=False)
class DetectorOptions:
    """Settings of the anomaly detector; see `AlanConfig`."""

    detector_channels: tuple[int, int] = (128, 32)
    detector_kernel_size: int = 7
    detector_dropout: float = 0.6
    detector_padding: DetectorPadding = "same"


_CHOICES: dict[str, Any] = {
    "query_modality": QueryModality,
    "selection_normalizer": SelectionNormalizer,
    "fixed_sampling_in_training": FixedSampling,
    "anomaly_sampling_in_evaluation": AnomalySampling,
    "position_source": PositionSource,
    "position_embedding": PositionEmbeddingKind,
    "detector_padding": DetectorPadding,
    "detector_source": DetectorSource,
    "detector_fusion": DetectorFusion,
    "stream_weights_source": StreamWeightsSource,
    "masked_unit": MaskedUnit,
    "verb_pattern": VerbPattern,
    "prompt_streams": PromptStreams,
    "mpm_reduction": PassReduction,
    "margin_reduction": MarginReduction,
}
_POSITIVE = (
    "object_dim", "audio_dim", "hidden_size", "num_attention_heads", "intermediate_size", "selection_temperature",
    "num_position_bins", "detector_kernel_size", "topk_divisor",
)  # fmt: skip
_FRACTIONS = ("dropout", "detector_dropout", "alignment_alpha")
_NOT_NEGATIVE = ("num_fixed_clips", "num_anomaly_clips", "margin", "topk_loss_weight", "mpm_loss_weight")


def check_options(config: object) -> None:
    """Check the fields of an `AlanConfig` or a `ResidualAlanConfig`.

    Raises:
        InvalidInputError: a value is out of range, or two values contradict each other.
    """
    values: dict[str, Any] = vars(config)
    for name, value in values.items():
        if name in _CHOICES:
            choices = get_args(_CHOICES[name])
            require(value in choices, name, config, f"one of {', '.join(choices)}")
        require(name not in _POSITIVE or value > 0, name, config, "more than 0")
        require(name not in _FRACTIONS or 0 <= value <= 1, name, config, "from 0 to 1")
        require(name not in _NOT_NEGATIVE or value >= 0, name, config, "0 or more")
    motion_dim, clips = values["motion_dim"], values["num_fixed_clips"] + values["num_anomaly_clips"]
    require(motion_dim is None or motion_dim > 0, "motion_dim", config, "more than 0, or None")
    require(clips > 0, "num_anomaly_clips", config, "more than 0 when num_fixed_clips is 0")
    require(values["detector_kernel_size"] % 2 == 1, "detector_kernel_size", config, "odd")
    is_divisible = values["hidden_size"] % values["num_attention_heads"] == 0
    require(is_divisible, "hidden_size", config, "a multiple of num_attention_heads")


def require(is_valid: bool, name: str, config: object, requirement: str) -> None:
    """Raise `InvalidInputError` for a field of a configuration unless its value is valid."""
    if not is_valid:
        raise InvalidInputError(
            f"{type(config).__name__}.{name} has the value {getattr(config, name)!r}",
            why=f"it must be {requirement}",
            fix=f"pass another {name}",
        )
