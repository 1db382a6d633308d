"""Fine-tuning on captioned videos: learnable data improves a suite, other data leaves it unchanged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.colors import NAMES, color_suite
from tests.tolerances import FLOAT32
from var_plugin.encoders.base import l2_normalize
from var_plugin.encoders.clip_features import ClipFeatures
from var_plugin.encoders.custom import open_folder
from var_plugin.errors import InvalidInputError
from var_plugin.evaluation.captions import CaptionedVideo
from var_plugin.evaluation.evaluate_suite import CHANCE, evaluate_suite
from var_plugin.training.finetune import FinetuneSettings, detector_auc, encode_videos, finetune, validation_points
from var_plugin.training.finetune_data import collate, encode_examples, split_videos
from var_plugin.training.finetune_run import save_suite

SETTINGS = FinetuneSettings(epochs=20, batch_size=16, learning_rate=3e-2)
OTHER_WORDS = {"red": "green", "green": "blue", "blue": "red"}


def videos(count: int = 30, length: int = 20, seed: int = 0) -> tuple[list[str], dict[Path, ClipFeatures]]:
    """Return the colour and the clip features of videos that show one colour each."""
    random = np.random.default_rng(seed)
    colors = [list(OTHER_WORDS)[number % 3] for number in range(count)]
    clips = {
        Path(f"{number}.mp4"): ClipFeatures(
            times=np.arange(length) / 2,
            vectors=l2_normalize(np.array(NAMES[color]) + 0.2 * random.random((length, 3))),
            usable=np.ones(length, bool),
            end=length / 2,
        )
        for number, color in enumerate(colors)
    }
    return colors, clips


def captioned_videos(wording: dict[str, str]) -> tuple[list[CaptionedVideo], dict[Path, ClipFeatures]]:
    colors, clips = videos()
    return [CaptionedVideo(video, wording[color]) for video, color in zip(clips, colors, strict=True)], clips


def test_other_word_meanings_are_learned() -> None:
    examples, clips = captioned_videos(OTHER_WORDS)
    result = finetune(color_suite(), examples, clips, SETTINGS)
    assert result.is_accepted
    assert result.baseline_sum_r < 450, "before training every word means another colour"
    assert result.best_sum_r > 550
    assert result.detector_auc is None


def test_spans_are_learned_by_the_text_adapter() -> None:
    examples, clips = captioned_videos(OTHER_WORDS)
    spans = [replace(example, span=(2.0, 6.0)) for example in examples]
    result = finetune(color_suite(), spans, clips, SETTINGS)
    assert result.best_sum_r > 550 > 450 > result.baseline_sum_r


def test_suite_without_room_for_improvement_is_unchanged(tmp_path: Path) -> None:
    examples, clips = captioned_videos({color: color for color in OTHER_WORDS})
    result = finetune(color_suite(), examples, clips, FinetuneSettings(epochs=2, batch_size=16))
    assert result.baseline_sum_r == pytest.approx(600)
    assert (result.model, result.is_accepted, result.best_epoch) == (None, False, 0)
    save_suite(color_suite(), result, examples, clips, SETTINGS, tmp_path / "mine")
    suite = open_folder(tmp_path / "mine", lambda name: color_suite())
    assert not (tmp_path / "mine/alan").exists()
    np.testing.assert_array_equal(suite.encode("text", ["red"]), color_suite().encode("text", ["red"]))


def test_detector_learns_from_video_labels() -> None:
    colors, clips = videos(count=60, length=24)
    random = np.random.default_rng(1)
    examples = []
    for number, (video, color) in enumerate(zip(clips, colors, strict=True)):
        anomalous = number % 2 == 0
        if anomalous:
            first = random.integers(0, 20)
            vectors = clips[video].vectors.copy()
            vectors[first : first + 4] = l2_normalize(np.ones((4, 3)))
            clips[video] = replace(clips[video], vectors=vectors)
        examples.append(CaptionedVideo(video, color, anomalous=anomalous))
    result = finetune(color_suite(), examples, clips, replace(SETTINGS, epochs=30))
    assert result.detector_auc is not None
    assert result.detector_auc > 0.9
    assert result.model is not None


def test_baseline_is_the_result_of_the_suite_without_towers() -> None:
    examples, clips = captioned_videos(OTHER_WORDS)
    suite = color_suite()
    data = encode_examples(suite, examples, clips, max_clips=1000)
    rows = list(range(len(examples)))
    baseline = validation_points(data.baseline, data, rows).mean()
    _, zero_shot = evaluate_suite(suite, examples, lambda candidate: clips, resamples=0)
    # In `evaluate_suite` a query has one relevant video. Here equal captions are all relevant.
    assert zero_shot.videos is not None
    assert zero_shot.videos.recall_sum <= baseline + 1e-6
    from var_plugin.encoders.alan.residual import ResidualAlanConfig, ResidualAlanModel

    config = ResidualAlanConfig(hidden_size=3, motion_dim=None, use_text_adapter=True, num_attention_heads=1)
    untrained, scores = encode_videos(ResidualAlanModel(config).eval(), data, rows)
    torch.testing.assert_close(untrained, data.baseline, atol=FLOAT32, rtol=0)
    assert detector_auc(scores, data, rows) is None, "no video is labelled"


def test_related_examples_are_not_negatives() -> None:
    _, clips = videos(count=4)
    first, second = list(clips)[:2]
    examples = [
        CaptionedVideo(first, "a red car", (0.0, 4.0)),
        CaptionedVideo(first, "a car drives", (1.0, 4.0)),
        CaptionedVideo(first, "it is gone", (6.0, 9.0)),
        CaptionedVideo(second, "A red  car"),
        CaptionedVideo(second, "the whole video"),
    ]
    suite = color_suite()
    suite.encode = lambda modality, items, space: np.eye(3, dtype=np.float32)[np.zeros(len(items), int)]  # type: ignore[method-assign]
    data = encode_examples(suite, examples, clips, max_clips=1000)
    assert data.related(range(5)).tolist() == [
        [True, True, False, True, False],
        [True, True, False, False, False],
        [False, False, True, False, False],
        [True, False, False, True, True],
        [False, False, False, True, True],
    ]
    batch = collate(data, [0, 3])
    assert batch.mask.sum(1).tolist() == [8, 20]
    assert batch.is_span.tolist() == [True, False]


def test_videos_are_split_with_all_their_captions() -> None:
    _, clips = videos(count=10)
    examples = [
        CaptionedVideo(video, f"{number}", anomalous=index % 2 == 0)
        for index, video in enumerate(clips)
        for number in range(3)
    ]
    training, validation = split_videos(examples, 0.2, seed=0)
    assert sorted(training + validation) == list(range(30))
    assert {examples[row].video for row in training}.isdisjoint(examples[row].video for row in validation)
    assert {examples[row].anomalous for row in validation} == {True, False}
    assert split_videos(examples, 0.2, seed=0) == (training, validation) != split_videos(examples, 0.2, seed=1)
    with pytest.raises(InvalidInputError, match="3 videos are too few"):
        split_videos(examples[:9], 0.2, seed=0)


def test_chance_row_is_the_expectation_of_random_scores() -> None:
    examples, clips = captioned_videos(OTHER_WORDS)
    chance = next(
        line
        for line in evaluate_suite(color_suite(), examples, lambda candidate: clips, resamples=0)
        if line.method == CHANCE
    )
    assert chance.videos is not None
    assert chance.videos.query_to_video.recall == pytest.approx((100 / 30, 500 / 30, 1000 / 30))
    assert chance.videos.query_to_video.median_rank == pytest.approx(15.5)
