from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from var_plugin.encoders.alan import AlanConfig, AlanModel
from var_plugin.errors import InvalidInputError, MediaNotFoundError, MissingWeightsError
from var_plugin.evaluation.benchmarks.load import BenchmarkFiles, load_pairs
from var_plugin.evaluation.evaluate import OURS, benchmark_rows, measure_model
from var_plugin.evaluation.paper_results import ABLATIONS
from var_plugin.evaluation.report import markdown
from var_plugin.training.ablations import ablation_table, switches
from var_plugin.training.config import TrainingSettings
from var_plugin.training.train import train_benchmark

SETTINGS = TrainingSettings(epochs=1, batch_size=8, validation_share=0.25, progress=False)

SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "num_fixed_clips": 3,
    "num_anomaly_clips": 3,
    "detector_channels": (8, 4),
}


def test_ucfcrime_ar_trains_and_evaluates(ucf_files: BenchmarkFiles, tiny_bert: str, tmp_path: Path) -> None:
    out = tmp_path / "model"
    train_benchmark(ucf_files, out, settings=SETTINGS, text_backbone=tiny_bert, choices=SMALL)
    config = AlanModel.from_pretrained(out).config
    assert (config.object_dim, config.motion_dim, config.query_modality) == (32, 32, "text")
    assert config.text_config.hidden_dropout_prob == 0.3
    measured = measure_model(out, ucf_files, resamples=50)
    assert measured.intervals is not None
    table = markdown(benchmark_rows("ucfcrime-ar", measured))
    assert f"| {OURS} | measured |" in table
    with pytest.raises(InvalidInputError, match="Flow"):
        measure_model(out, replace(ucf_files, flow=None))


def test_rgb_alone_makes_a_model_with_one_stream(ucf_files: BenchmarkFiles, tiny_bert: str, tmp_path: Path) -> None:
    rgb_only = replace(ucf_files, flow=None)
    out = tmp_path / "model"
    train_benchmark(rgb_only, out, settings=SETTINGS, text_backbone=tiny_bert, choices=SMALL | {"mpm_loss_weight": 0.0})
    assert AlanModel.from_pretrained(out).config.motion_dim is None
    assert 0 <= measure_model(out, rgb_only, merge_equal=True, resamples=0).recall_sum <= 600


def test_xdviolence_ar_trains_and_evaluates(
    xd_files: BenchmarkFiles, ucf_files: BenchmarkFiles, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    train_benchmark(xd_files, out, settings=SETTINGS, choices=SMALL)
    config = AlanModel.from_pretrained(out).config
    assert (config.query_modality, config.audio_dim, config.motion_dim) == ("audio", 32, None)
    # The sound of this small set is the motion stream of the same video: something can be learned, nothing is promised.
    assert 0 <= measure_model(out, xd_files, resamples=0).recall_sum <= 600
    with pytest.raises(InvalidInputError, match="audio queries"):
        measure_model(out, ucf_files)


def test_what_is_missing_is_said(xd_files: BenchmarkFiles, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="VGGish"):
        load_pairs(replace(xd_files, audio=None), "test")
    with pytest.raises(MediaNotFoundError, match="nowhere"):
        load_pairs(replace(xd_files, rgb=tmp_path / "nowhere"), "test")
    with pytest.raises(MissingWeightsError, match="var-plugin train xdviolence-ar"):
        measure_model(tmp_path, xd_files)


def test_without_a_model_our_row_stays_untested() -> None:
    rows = benchmark_rows("xdviolence-ar", None)
    assert [row.status for row in rows[-2:]] == ["computed", "untested"]
    assert rows[-1].result is None
    assert "var-plugin evaluate xdviolence-ar" in rows[-1].note


@pytest.mark.parametrize(("name", "modality"), [("ucfcrime-ar", "text"), ("xdviolence-ar", "audio")])
def test_every_switch_of_the_paper_makes_a_configuration_of_its_own(name: str, modality: str) -> None:
    rows = switches(modality)  # type: ignore[arg-type]
    assert set(rows) == set(ABLATIONS[name])  # type: ignore[index]
    configs = [AlanConfig(query_modality=modality, **choices).to_json_string() for choices in rows.values()]  # type: ignore[arg-type]
    assert len(set(configs)) == len(configs)
    fixed = json.loads(configs[list(rows).index("sampling-fixed-double")])
    assert (fixed["num_fixed_clips"], fixed["num_anomaly_clips"]) == (100, 0)


def test_the_ablation_table_says_what_was_not_run() -> None:
    table = ablation_table("ucfcrime-ar", {})
    assert "| full | 9.0 44.8 7.3 46.9 | untested |" in table
