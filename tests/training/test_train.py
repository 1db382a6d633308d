from __future__ import annotations

import json
import os
import random
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from var_plugin.encoders.alan import AlanModel, AlanProcessor
from var_plugin.errors import InvalidInputError
from var_plugin.evaluation.alan_scoring import score_pairs
from var_plugin.evaluation.benchmarks.pairs import Pair
from var_plugin.evaluation.metrics import retrieval
from var_plugin.training.config import TrainingSettings
from var_plugin.training.train import SETTINGS_FILE, TrainingResult, hold_out, last_complete_checkpoint

SCRIPT = Path(__file__).with_name("small_training.py")
SMALL = runpy.run_path(str(SCRIPT))
SETTINGS: TrainingSettings = SMALL["SETTINGS"]
STEPS_PER_EPOCH: int = SMALL["STEPS_PER_EPOCH"]
run: Callable[..., TrainingResult] = SMALL["run"]


def run_in_subprocess(
    folder: Path, *arguments: str, launcher: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, *launcher, str(SCRIPT), str(folder), *arguments],
        env=os.environ | {"PYTHONPATH": str(root), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def log(folder: Path) -> list[dict[str, Any]]:
    checkpoint = last_complete_checkpoint(folder)
    assert checkpoint is not None
    history: list[dict[str, Any]] = json.loads((checkpoint / "trainer_state.json").read_text())["log_history"]
    return history


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    return run(tmp_path_factory.mktemp("finished"))


def test_folder_holds_the_best_epoch_on_held_out_pairs(finished: TrainingResult, pairs: list[Pair]) -> None:
    model = AlanModel.from_pretrained(finished.folder)
    processor = AlanProcessor.from_pretrained(finished.folder)
    _, validation = hold_out(pairs, SETTINGS.validation_share, SETTINGS.seed)
    recall_sum = retrieval(score_pairs(model, processor, validation).scores).recall_sum
    epochs = [entry["eval_SumR"] for entry in log(finished.folder) if "eval_SumR" in entry]
    assert len(epochs) == SETTINGS.epochs
    assert recall_sum == pytest.approx(max(epochs)) == pytest.approx(finished.validation_recall_sum)


def test_learning_rate_decays_once_per_epoch(finished: TrainingResult) -> None:
    rates = [entry["learning_rate"] for entry in log(finished.folder) if "learning_rate" in entry]
    expected = [1e-3 * 0.95**epoch for epoch in range(SETTINGS.epochs) for _ in range(STEPS_PER_EPOCH)]
    assert rates == pytest.approx(expected)


def test_killed_training_resumes_with_the_same_losses(finished: TrainingResult, tmp_path: Path) -> None:
    step = random.randrange(STEPS_PER_EPOCH + 1, SETTINGS.epochs * STEPS_PER_EPOCH)
    folder = tmp_path / "killed"
    assert run_in_subprocess(folder, str(step)).returncode == -signal.SIGKILL
    assert len([entry for entry in log(folder) if "loss" in entry]) == step // STEPS_PER_EPOCH * STEPS_PER_EPOCH
    resumed = run(folder)
    whole = [entry["loss"] for entry in log(finished.folder) if "loss" in entry]
    assert len(whole) == SETTINGS.epochs * STEPS_PER_EPOCH
    assert [entry["loss"] for entry in log(folder) if "loss" in entry] == pytest.approx(whole, rel=1e-5), step
    assert resumed.validation_recall_sum == finished.validation_recall_sum


def test_finished_training_is_not_repeated(finished: TrainingResult) -> None:
    assert run(finished.folder) == finished
    with pytest.raises(InvalidInputError, match="other settings"):
        run(finished.folder, replace(SETTINGS, epochs=4))
    settings_file = finished.folder / SETTINGS_FILE
    content = settings_file.read_bytes()
    for damaged in (b"", b"\xff", b"[" * 100_000):
        settings_file.write_bytes(damaged)
        with pytest.raises(InvalidInputError, match=rf"cannot read .*{SETTINGS_FILE}"):
            run(finished.folder)
    settings_file.write_bytes(content)


def test_partial_checkpoint_is_skipped(tmp_path: Path) -> None:
    for step, state in ((5, "{}"), (10, '{"log_his'), (15, None)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if state is not None:
            (tmp_path / f"checkpoint-{step}/trainer_state.json").write_text(state)
    (tmp_path / "checkpoint-best").mkdir()
    assert last_complete_checkpoint(tmp_path) == tmp_path / "checkpoint-5"
    assert last_complete_checkpoint(tmp_path / "nowhere") is None


def test_accumulation_halves_the_updates_and_bf16_stays_finite(tmp_path: Path) -> None:
    run(tmp_path, replace(SETTINGS, epochs=1, batch_size=6, accumulation=2, precision="bf16"))
    losses = [entry["loss"] for entry in log(tmp_path) if "loss" in entry]
    assert len(losses) == 3, "36 pairs in batches of 6, two batches per update"
    assert all(0 < loss < 2 for loss in losses)


@pytest.mark.skipif(torch.cuda.is_available(), reason="fp16 works with CUDA")
def test_fp16_without_cuda_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="CUDA"):
        run(tmp_path, replace(SETTINGS, precision="fp16"))


def test_settings_out_of_range_are_rejected() -> None:
    for fields in ({"epochs": 0}, {"batch_size": 1}, {"validation_share": 1.0}, {"learning_rate": -1.0}):
        with pytest.raises(InvalidInputError):
            TrainingSettings(**fields)  # type: ignore[arg-type]


def test_validation_split_is_stratified_and_deterministic(pairs: list[Pair]) -> None:
    train, validation = hold_out(pairs, 0.25, seed=1)
    assert len(validation) == 12
    assert sum(pair.anomalous for pair in validation) == 6
    assert not {pair.video_id for pair in train} & {pair.video_id for pair in validation}
    assert [pair.video_id for pair in validation] == [pair.video_id for pair in hold_out(pairs, 0.25, seed=1)[1]]


@pytest.mark.slow
def test_two_processes_share_the_batches(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    process = run_in_subprocess(folder, launcher=("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"))
    assert process.returncode == 0, process.stderr
    losses = [entry["loss"] for entry in log(folder) if "loss" in entry]
    assert len(losses) == SETTINGS.epochs * 3, "36 pairs in batches of 8 on each of two processes"
    assert AlanModel.from_pretrained(folder).config.hidden_size == 16
