from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from openpyxl import Workbook

from tests.data import data_folder
from var_plugin.errors import InvalidInputError, MediaNotFoundError, UnreadableMediaError
from var_plugin.evaluation.benchmarks.pairs import Pair, read_streams
from var_plugin.evaluation.benchmarks.ucfcrime_ar import read_captions, ucfcrime_ar

TEST_ROWS = [
    ("Abuse/Abuse028_x264.mp4\n", "女人打狗。", "A woman  hits a dog."),
    ("Testing_Normal_Videos_Anomaly/Normal_Videos_003_x264.mp4", "人们走路。", "People walk."),
]


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """Write the released files: captions, and ten crops of I3D features in one folder per class."""
    workbook = Workbook()
    sheet = workbook.active
    sheet.title = "Sheet1"
    sheet.append(["Video Name", "Chinese Text", "English Text", None, None])
    for row in TEST_ROWS:
        sheet.append(row)
    workbook.save(tmp_path / "ucf_crime_test.xlsx")
    for stream, clips in (("RGB", 20), ("Flow", 19)):
        for video, _, _ in TEST_ROWS:
            category, name = video.strip().removesuffix(".mp4").split("/")
            folder = tmp_path / stream / "Test" / category
            folder.mkdir(parents=True)
            for crop in range(10):
                np.save(folder / f"{name}__{crop}.npy", np.full((clips, 1024), crop, dtype=np.float32))
    return tmp_path


def test_pairs_join_captions_and_the_centre_crop(release: Path) -> None:
    abuse, normal = ucfcrime_ar(release, rgb=release / "RGB", flow=release / "Flow", split="test")
    assert (abuse.video_id, abuse.anomalous, abuse.caption) == ("Abuse028_x264", True, "A woman hits a dog.")
    assert (normal.video_id, normal.anomalous) == ("Normal_Videos_003_x264", False)
    streams = read_streams(abuse)
    assert streams.motion_clips is not None
    assert streams.object_clips.shape == streams.motion_clips.shape == (19, 1024), "RGB is cut to the shorter Flow"
    assert not streams.object_clips.any(), "crop 0 is the centre"


def test_flow_features_are_optional(release: Path) -> None:
    pair = ucfcrime_ar(release, rgb=release / "RGB", flow=None, split="test")[0]
    streams = read_streams(pair)
    assert streams.motion_clips is None
    assert streams.object_clips.shape == (20, 1024)


def test_missing_features_are_counted_and_named(release: Path) -> None:
    with pytest.raises(MediaNotFoundError, match="feature folder"):
        ucfcrime_ar(release, rgb=release / "RGB", flow=release / "Motion", split="test")
    (release / "RGB/Test/Abuse/Abuse028_x264__0.npy").unlink()
    with pytest.raises(MediaNotFoundError, match=r"1 of 2 feature files.*Abuse028_x264__0\.npy"):
        ucfcrime_ar(release, rgb=release / "RGB", flow=None, split="test")
    with pytest.raises(MediaNotFoundError, match=r"ucf_crime_train\.xlsx"):
        ucfcrime_ar(release, rgb=release / "RGB", flow=None, split="train")


def test_another_workbook_is_refused(tmp_path: Path) -> None:
    workbook = Workbook()
    workbook.active.append(["video", "caption"])
    workbook.save(tmp_path / "ucf_crime_train.xlsx")
    with pytest.raises(InvalidInputError, match="columns"):
        read_captions(tmp_path, "train")


def test_broken_features_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "crops.npy", np.zeros((20, 10, 1024), dtype=np.float32))
    np.save(tmp_path / "nan.npy", np.full((4, 8), np.nan, dtype=np.float32))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "nan.npy").read_bytes()[:90])
    for name in ("crops", "nan", "cut"):
        with pytest.raises(UnreadableMediaError, match=name):
            read_streams(Pair("video", anomalous=False, object_clips=tmp_path / f"{name}.npy"))
    with pytest.raises(InvalidInputError, match="20 and 10 clips"):
        read_streams(Pair("video", False, np.zeros((20, 4), dtype=np.float32), np.zeros((10, 4), dtype=np.float32)))


@pytest.mark.parametrize(("split", "rows", "anomalous"), [("train", 1610, 810), ("test", 290, 140)])
def test_the_published_release_is_read(split: str, rows: int, anomalous: int) -> None:
    captions = read_captions(data_folder("ucfcrime_ar"), split)  # type: ignore[arg-type]
    assert len(captions) == len({caption.name for caption in captions}) == rows
    assert sum(caption.anomalous for caption in captions) == anomalous
    assert all(caption.name.endswith("_x264") and caption.english for caption in captions)
    assert captions[0].category == "Abuse"
