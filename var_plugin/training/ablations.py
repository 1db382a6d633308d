"""The switches of the paper's Tables IV to X, and the runs that fill such a table."""

from __future__ import annotations

from typing import Any

from var_plugin.encoders.alan.configuration import QueryModality

FULL = "full"

ALPHAS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def switches(modality: QueryModality, clips: int = 50) -> dict[str, dict[str, Any]]:
    """Name of each row to the `AlanConfig` fields that differ from the full model.

    Args:
        modality: Phrase modeling (Table VI) exists for text queries only.
        clips: N of both samplings in the full model; Tables IV and V compare it with twice as many fixed ones.
    """
    rows: dict[str, dict[str, Any]] = {
        FULL: {},
        "sampling-fixed": {"num_anomaly_clips": 0},
        "sampling-anomaly": {"num_fixed_clips": 0},
        "sampling-fixed-double": {"num_anomaly_clips": 0, "num_fixed_clips": 2 * clips},
    }
    if modality == "text":
        rows |= {
            "phrases-none": {"mpm_loss_weight": 0.0},
            "phrases-random-words": {"masked_unit": "random_word"},
            "phrases-words": {"masked_unit": "content_word"},
        }
    return rows | {f"alpha-{alpha}": {"alignment_alpha": alpha} for alpha in ALPHAS}
