"""Towers on one's own captioned videos: what can be learned is learned, what cannot changes nothing."""

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
from var_plugin.evaluation.captions import Captioned
from var_plugin.evaluation.evaluate_suite import CHANCE, measure
from var_plugin.training.finetune import RefineSettings, detector_area, encode, held_out_points, refine
from var_plugin.training.finetune_data import collate, divide, make_items
from var_plugin.training.finetune_run import write

SETTINGS = RefineSettings(epochs=20, batch_size=16, learning_rate=3e-2)
OTHER_WORDS = {"red": "green", "green": "blue", "blue": "red"}


def videos(count: int = 30, length: int = 20, seed: int = 0) -> tuple[list[str], dict[Path, ClipFeatures]]:
    """Videos of one colour each, as an encoder sees them."""
    random = np.random.default_rng(seed)
    shown = [list(OTHER_WORDS)[number % 3] for number in range(count)]
    clips = {
        Path(f"{number}.mp4"): ClipFeatures(
            times=np.arange(length) / 2,
            vectors=l2_normalize(np.array(NAMES[color]) + 0.2 * random.random((length, 3))),
            usable=np.ones(length, bool),
            end=length / 2,
        )
        for number, color in enumerate(shown)
    }
    return shown, clips


def described(wording: dict[str, str]) -> tuple[list[Captioned], dict[Path, ClipFeatures]]:
    shown, clips = videos()
    return [Captioned(video, wording[color]) for video, color in zip(clips, shown, strict=True)], clips


def test_words_that_mean_something_else_here_are_learned() -> None:
    examples, clips = described(OTHER_WORDS)
    result = refine(color_suite(), examples, clips, SETTINGS)
    assert result.towers_kept
    assert result.start < 450, "every word means another colour at first"
    assert result.best > 550, "and then the right one"
    assert result.detector_area is None


def test_spans_are_learned_as_the_index_finds_them() -> None:
    examples, clips = described(OTHER_WORDS)
    spans = [replace(one, span=(2.0, 6.0)) for one in examples]
    result = refine(color_suite(), spans, clips, SETTINGS)
    assert result.best > 550 > 450 > result.start


def test_where_nothing_can_be_better_nothing_changes(tmp_path: Path) -> None:
    examples, clips = described({color: color for color in OTHER_WORDS})
    result = refine(color_suite(), examples, clips, RefineSettings(epochs=2, batch_size=16))
    assert result.start == pytest.approx(600)
    assert (result.model, result.towers_kept, result.epoch) == (None, False, 0)
    write(color_suite(), result, examples, clips, SETTINGS, tmp_path / "mine")
    suite = open_folder(tmp_path / "mine", lambda name: color_suite())
    assert not (tmp_path / "mine/alan").exists()
    np.testing.assert_array_equal(suite.encode("text", ["red"]), color_suite().encode("text", ["red"]))


def test_the_detector_learns_from_labels_of_whole_videos() -> None:
    shown, clips = videos(count=60, length=24)
    random = np.random.default_rng(1)
    examples = []
    for number, (video, color) in enumerate(zip(clips, shown, strict=True)):
        anomalous = number % 2 == 0
        if anomalous:
            first = random.integers(0, 20)
            vectors = clips[video].vectors.copy()
            vectors[first : first + 4] = l2_normalize(np.ones((4, 3)))
            clips[video] = replace(clips[video], vectors=vectors)
        examples.append(Captioned(video, color, anomalous=anomalous))
    result = refine(color_suite(), examples, clips, replace(SETTINGS, epochs=30))
    assert result.detector_area is not None
    assert result.detector_area > 0.9
    assert result.model is not None


def test_the_start_is_what_the_suite_finds_without_towers() -> None:
    examples, clips = described(OTHER_WORDS)
    suite = color_suite()
    items = make_items(suite, examples, clips, most=1000)
    everything = list(range(len(examples)))
    start = held_out_points(items.own, items, everything).mean()
    _, zero_shot = measure(suite, examples, lambda one: clips, resamples=0)
    # `measure` is strict, a query has one right video; here equal captions count as one.
    assert zero_shot.videos is not None
    assert zero_shot.videos.recall_sum <= start + 1e-6
    from var_plugin.encoders.alan.residual import ResidualAlanConfig, ResidualAlanModel

    config = ResidualAlanConfig(hidden_size=3, motion_dim=None, use_text_adapter=True, num_attention_heads=1)
    untrained, scores = encode(ResidualAlanModel(config).eval(), items, everything)
    torch.testing.assert_close(untrained, items.own, atol=FLOAT32, rtol=0)
    assert detector_area(scores, items, everything) is None, "nobody said what is abnormal"


def test_what_shows_the_same_is_no_negative() -> None:
    _, clips = videos(count=4)
    first, second = list(clips)[:2]
    examples = [
        Captioned(first, "a red car", (0.0, 4.0)),
        Captioned(first, "a car drives", (1.0, 4.0)),
        Captioned(first, "it is gone", (6.0, 9.0)),
        Captioned(second, "A red  car"),
        Captioned(second, "the whole film"),
    ]
    suite = color_suite()
    suite.encode = lambda modality, items, space: np.eye(3, dtype=np.float32)[np.zeros(len(items), int)]  # type: ignore[method-assign]
    items = make_items(suite, examples, clips, most=1000)
    assert items.related(range(5)).tolist() == [
        [True, True, False, True, False],
        [True, True, False, False, False],
        [False, False, True, False, False],
        [True, False, False, True, True],
        [False, False, False, True, True],
    ]
    batch = collate(items, [0, 3])
    assert batch.mask.sum(1).tolist() == [8, 20]
    assert batch.timed.tolist() == [True, False]


def test_videos_are_divided_with_all_their_captions() -> None:
    _, clips = videos(count=10)
    examples = [
        Captioned(video, f"{number}", anomalous=place % 2 == 0)
        for place, video in enumerate(clips)
        for number in range(3)
    ]
    chosen, left = divide(examples, 0.2, seed=0)
    assert sorted(chosen + left) == list(range(30))
    assert {examples[row].video for row in chosen}.isdisjoint(examples[row].video for row in left)
    assert {examples[row].anomalous for row in left} == {True, False}
    assert divide(examples, 0.2, seed=0) == (chosen, left) != divide(examples, 0.2, seed=1)
    with pytest.raises(InvalidInputError, match="3 videos are too few"):
        divide(examples[:9], 0.2, seed=0)


def test_chance_is_what_random_scores_reach() -> None:
    examples, clips = described(OTHER_WORDS)
    chance = next(
        line for line in measure(color_suite(), examples, lambda one: clips, resamples=0) if line.method == CHANCE
    )
    assert chance.videos is not None
    assert chance.videos.query_to_video.recall == pytest.approx((100 / 30, 500 / 30, 1000 / 30))
    assert chance.videos.query_to_video.median_rank == pytest.approx(15.5)
