from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from openpyxl import Workbook
from transformers import BertConfig, BertModel, BertTokenizer

from var_plugin.evaluation.benchmarks.load import BenchmarkFiles
from var_plugin.evaluation.benchmarks.pairs import Pair
from var_plugin.evaluation.benchmarks.synthetic import SyntheticParameters, generate_benchmark
from var_plugin.training.synthetic_benchmark import VOCABULARY


@pytest.fixture(scope="session")
def pairs() -> list[Pair]:
    return generate_benchmark(SyntheticParameters(train_videos=48, test_videos=2, length=(20, 30)), seed=3).train.pairs


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write a small untrained BERT in the format of the Hugging Face Hub."""
    folder = tmp_path_factory.mktemp("bert")
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    BertTokenizer(vocab={word: index for index, word in enumerate(VOCABULARY)}).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def ucf_files(tmp_path: Path, pairs: list[Pair]) -> BenchmarkFiles:
    """Write a small UCFCrime-AR: workbooks with the released columns, centre crops of RGB and Flow."""
    for split, split_pairs in (("train", pairs[:24]), ("test", pairs[24:36])):
        workbook = Workbook()
        workbook.active.append(["Video Name", "Chinese Text", "English Text"])
        for pair in split_pairs:
            category = "Fighting" if pair.anomalous else "Normal_Videos_Anomaly"
            workbook.active.append([f"{category}/{pair.video_id}_x264.mp4\n", "…", pair.caption])
        workbook.save(tmp_path / f"ucf_crime_{split}.xlsx")
    for pair in pairs[:36]:
        for stream, clips in (("rgb", pair.object_clips), ("flow", pair.motion_clips)):
            (tmp_path / stream).mkdir(exist_ok=True)
            np.save(tmp_path / stream / f"{pair.video_id}_x264__0.npy", clips)
    return BenchmarkFiles("ucfcrime-ar", tmp_path, tmp_path / "rgb", tmp_path / "flow")


@pytest.fixture
def xd_files(tmp_path: Path, pairs: list[Pair]) -> BenchmarkFiles:
    """Write a small XDViolence-AR: lists, centre crops of RGB, VGGish features, no Flow."""
    names = [f"film__#{pair.video_id}_label_{'B1-0-0' if pair.anomalous else 'A'}" for pair in pairs[:36]]
    (tmp_path / "audio.list").write_text("".join(f"/x/{name}__vggish.npy\n" for name in names[:24]), encoding="utf-8")
    (tmp_path / "audio_test.list").write_text(
        "".join(f"/x/{name}__vggish.npy\n" for name in names[24:]), encoding="utf-8"
    )
    for name, pair in zip(names, pairs, strict=False):
        for suffix, clips in (("rgb/{}__0", pair.object_clips), ("audio/{}__vggish", pair.motion_clips)):
            path = tmp_path / (suffix.format(name) + ".npy")
            path.parent.mkdir(exist_ok=True)
            np.save(path, clips)
    return BenchmarkFiles("xdviolence-ar", tmp_path, tmp_path / "rgb", audio=tmp_path / "audio")
