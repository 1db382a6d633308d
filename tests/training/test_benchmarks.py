from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from var_plugin.config import ModelOptions
from var_plugin.encoders.alan import AlanConfig, AlanModel
from var_plugin.errors import InvalidInputError, MediaNotFoundError, MissingWeightsError
from var_plugin.evaluation.benchmarks.load import BenchmarkFiles, load_pairs
from var_plugin.evaluation.evaluate import OURS, benchmark_rows, evaluate_model
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
    train_benchmark(ucf_files, out, options=ModelOptions(), settings=SETTINGS, text_backbone=tiny_bert, overrides=SMALL)
    config = AlanModel.from_pretrained(out).config
    assert (config.object_dim, config.motion_dim, config.query_modality) == (32, 32, "text")
    assert config.text_config.hidden_dropout_prob == 0.3
    result = evaluate_model(out, ucf_files, options=ModelOptions(), resamples=50)
    assert result.intervals is not None
    table = markdown(benchmark_rows("ucfcrime-ar", result))
    assert f"| {OURS} | measured |" in table
    with pytest.raises(InvalidInputError, match="Flow"):
        evaluate_model(out, replace(ucf_files, flow=None), options=ModelOptions())


def test_rgb_alone_trains_a_model_with_one_stream(ucf_files: BenchmarkFiles, tiny_bert: str, tmp_path: Path) -> None:
    rgb_only = replace(ucf_files, flow=None)
    out = tmp_path / "model"
    train_benchmark(
        rgb_only,
        out,
        options=ModelOptions(),
        settings=SETTINGS,
        text_backbone=tiny_bert,
        overrides=SMALL | {"mpm_loss_weight": 0.0},
    )
    assert AlanModel.from_pretrained(out).config.motion_dim is None
    assert 0 <= evaluate_model(out, rgb_only, options=ModelOptions(), merge_equal=True, resamples=0).recall_sum <= 600


def test_xdviolence_ar_trains_and_evaluates(
    xd_files: BenchmarkFiles, ucf_files: BenchmarkFiles, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    train_benchmark(xd_files, out, options=ModelOptions(), settings=SETTINGS, overrides=SMALL)
    config = AlanModel.from_pretrained(out).config
    assert (config.query_modality, config.audio_dim, config.motion_dim) == ("audio", 32, None)
    # The audio features are the motion stream of the same video. The result is not checked.
    assert 0 <= evaluate_model(out, xd_files, options=ModelOptions(), resamples=0).recall_sum <= 600
    with pytest.raises(InvalidInputError, match="audio queries"):
        evaluate_model(out, ucf_files, options=ModelOptions())


def test_missing_files_are_reported(xd_files: BenchmarkFiles, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="VGGish"):
        load_pairs(replace(xd_files, audio=None), "test")
    with pytest.raises(MediaNotFoundError, match="nowhere"):
        load_pairs(replace(xd_files, rgb=tmp_path / "nowhere"), "test")
    with pytest.raises(MissingWeightsError, match="var-plugin train xdviolence-ar"):
        evaluate_model(tmp_path, xd_files, options=ModelOptions())


def test_row_without_a_model_is_untested() -> None:
    rows = benchmark_rows("xdviolence-ar", None)
    assert [row.status for row in rows[-2:]] == ["computed", "untested"]
    assert rows[-1].result is None
    assert "var-plugin evaluate xdviolence-ar" in rows[-1].note


@pytest.mark.parametrize(("name", "modality"), [("ucfcrime-ar", "text"), ("xdviolence-ar", "audio")])
def test_every_ablation_of_the_paper_has_its_own_configuration(name: str, modality: str) -> None:
    rows = switches(modality)  # type: ignore[arg-type]
    assert set(rows) == set(ABLATIONS[name])  # type: ignore[index]
    configs = [AlanConfig(query_modality=modality, **overrides).to_json_string() for overrides in rows.values()]  # type: ignore[arg-type]
    assert len(set(configs)) == len(configs)
    fixed = json.loads(configs[list(rows).index("sampling-fixed-double")])
    assert (fixed["num_fixed_clips"], fixed["num_anomaly_clips"]) == (100, 0)


def test_ablation_table_marks_rows_without_a_result() -> None:
    table = ablation_table("ucfcrime-ar", {})
    assert "| full | 9.0 44.8 7.3 46.9 | untested |" in table
