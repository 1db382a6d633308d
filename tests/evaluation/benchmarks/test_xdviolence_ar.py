from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from var_plugin.errors import InvalidInputError, MediaNotFoundError
from var_plugin.evaluation.benchmarks.pairs import read_streams
from var_plugin.evaluation.benchmarks.xdviolence_ar import xdviolence_ar

VIOLENT = "Bad.Boys.1995__#00-26-51_00-27-53_label_B2-0-0"
SHORT_CODE = "v=AbCdEfG__#1_label_G"
NORMAL = "Fast.Five.2011__#0-02-00_0-02-30_label_A"


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """Write the official list with its authors' paths, and folders with five crops and one audio file per video."""
    names = [VIOLENT, SHORT_CODE, NORMAL]
    lines = [f"/media/author/vggish-features/train/{name}__vggish.npy" for name in names[:2]]
    lines.append(rf"D:\vggish-features\train\{names[2]}__vggish.npy")
    (tmp_path / "audio.list").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for stream, clips in (("RGB", 12), ("Flow", 11)):
        (tmp_path / stream).mkdir()
        for name in names:
            for crop in range(5):
                np.save(tmp_path / stream / f"{name}__{crop}.npy", np.full((clips, 1024), crop, dtype=np.float32))
    (tmp_path / "vggish").mkdir()
    for name in names:
        np.save(tmp_path / "vggish" / f"{name}__vggish.npy", np.ones((12, 128), dtype=np.float64))
    return tmp_path


def test_pairs_follow_the_list_with_any_paths(release: Path) -> None:
    pairs = xdviolence_ar(release, rgb=release / "RGB", flow=release / "Flow", audio=release / "vggish", split="train")
    assert [(pair.video_id, pair.anomalous) for pair in pairs] == [
        (VIOLENT, True),
        (SHORT_CODE, True),
        (NORMAL, False),
    ]
    streams = read_streams(pairs[0])
    assert streams.motion_clips is not None
    assert streams.audio_clips is not None
    assert streams.object_clips.shape == streams.motion_clips.shape == (11, 1024)
    assert streams.audio_clips.shape == (11, 128)
    assert streams.audio_clips.dtype == np.float32


def test_missing_files_are_counted(release: Path) -> None:
    for path in (release / "vggish").iterdir():
        path.unlink()
    with pytest.raises(MediaNotFoundError, match="3 of 3 feature files"):
        xdviolence_ar(release, rgb=release / "RGB", flow=None, audio=release / "vggish", split="train")
    with pytest.raises(MediaNotFoundError, match=r"audio_test\.list"):
        xdviolence_ar(release, rgb=release / "RGB", flow=None, audio=release / "vggish", split="test")


def test_a_list_of_images_is_refused(release: Path) -> None:
    (release / "audio.list").write_text(f"/somewhere/{NORMAL}__0.npy\n", encoding="utf-8")
    with pytest.raises(InvalidInputError, match="audio"):
        xdviolence_ar(release, rgb=release / "RGB", flow=None, audio=release / "vggish", split="train")
