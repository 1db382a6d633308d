"""Training of the lite ALAN on synthetic features with known structure."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from recipes.lite import lite_alan
from recipes.lite.alan_detector import DetectorRecipe
from recipes.lite.alan_examples import Examples, Samples
from recipes.lite.alan_motion import KINDS, Sentences, cross_fit_motion, fit_motion, fit_text_motion
from recipes.lite.cctv_fights import FightClip, read_cctv_fights
from recipes.lite.lite_alan import Recipe, calibrate, cross_validate, fit, fold_clips
from recipes.lite.long_video_eval import StreamMaker
from recipes.lite.rejection_eval import is_absent_from_streets, write_calibrator
from recipes.lite.score_calibration import threshold_for
from var_plugin.encoders.base import LogisticCalibrator, l2_normalize
from var_plugin.evaluation.match_trials import draw_trials, fit_calibrator, match_probabilities

_SOURCES, _DIM, _WIDTH = 12, 16, 5120


def samples(random: np.random.Generator, count: int, kind: str, source: int) -> Samples:
    """Return samples whose object features depend on the source and whose motion features depend on the kind."""
    objects = np.zeros((count, _DIM), np.float32)
    objects[:, source % _DIM] = 1
    motion = random.normal(0, 1, (count, _WIDTH)).astype(np.float32)
    motion[:, KINDS.index(kind) * 40 : KINDS.index(kind) * 40 + 40] += 4
    return Samples(l2_normalize(objects + random.normal(0, 0.1, objects.shape)), motion)


@pytest.fixture(scope="module")
def examples() -> Examples:
    random = np.random.default_rng(0)
    kinds = [(source, fight) for source in range(_SOURCES) for fight in (True, False)]
    return Examples(
        clips=tuple(FightClip(Path(f"{i}.mp4"), fight, str(source)) for i, (source, fight) in enumerate(kinds)),
        samples=tuple(samples(random, 6, "fight" if fight else "calm", source) for source, fight in kinds),
        still=samples(random, 8, "still", 0),
        camera=samples(random, 8, "camera", 1),
        cuts=samples(random, 30, "cut", 2),
        cut_between=random.integers(0, len(kinds), (30, 2)),
    )


@pytest.fixture(scope="module")
def sentences() -> Sentences:
    vectors = l2_normalize(np.random.default_rng(1).normal(size=(40, 384)))
    targets = np.zeros((40, len(KINDS)), np.float32)
    targets[:20, 0] = 1.4
    return Sentences(vectors, targets, np.ones(40, np.float32))


def test_motion_regression_generalizes_to_held_out_sources(examples: Examples) -> None:
    training = [i for i, clip in enumerate(examples.clips) if int(clip.source) < _SOURCES // 2]
    motion = fit_motion(examples, training)
    for index, clip in enumerate(examples.clips):
        if index not in training:
            logits = motion(examples.samples[index].motion).mean(axis=0)
            assert KINDS[logits.argmax()] == ("fight" if clip.fight else "calm")
    assert motion(examples.camera.motion).mean(axis=0).argmax() == KINDS.index("camera")


def test_cross_fitting_excludes_the_source_of_a_clip(examples: Examples) -> None:
    """Changing the motion of a clip changes its mapped motion linearly, so the map was not fitted to it."""
    indices = range(len(examples.clips))
    changed = list(examples.samples)
    changed[0] = Samples(changed[0].objects, -changed[0].motion)
    before, after = (
        cross_fit_motion(part, indices).samples[0].motion
        for part in (examples, Examples(**{**vars(examples), "samples": tuple(changed)}))
    )
    assert np.allclose(before + after, (before + after)[0], atol=0.05)


def test_text_motion_is_larger_for_sentences_about_motion(sentences: Sentences) -> None:
    motion = fit_text_motion(sentences)(sentences.vectors)
    assert motion[:20, 0].min() > motion[20:, 0].max()


def test_streams_have_one_contiguous_fight(examples: Examples) -> None:
    maker = StreamMaker(examples, range(len(examples.clips)), np.random.default_rng(3))
    for _ in range(10):
        stream = maker.stream(40, fight=True)
        edges = np.flatnonzero(np.diff(stream.fight.astype(int)))
        assert len(stream.samples) >= 80
        assert 1 <= stream.fight.sum() <= 15
        assert len(edges) <= 2
        assert not maker.stream(40, fight=False).fight.any()


def test_recipe_detects_fights_in_held_out_sources_and_is_calibrated(
    examples: Examples, sentences: Sentences, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lite_alan, "_FOLDS", 2)
    detector = DetectorRecipe(steps=30, streams=4, singles=8, seconds=(10, 30))
    held_out = cross_validate(examples, sentences, Recipe(detector=detector))
    highest = np.array([logits.max() for logits in held_out.logits])
    assert highest[held_out.fights].min() > highest[~held_out.fights].max()
    slope, offset = calibrate(held_out)
    assert slope > 0
    middle = np.mean([highest[held_out.fights].min(), highest[~held_out.fights].max()])
    assert 0.2 < 1 / (1 + np.exp(-(slope * middle + offset))) < 0.8


def test_detector_starts_from_the_motion_regression(examples: Examples, sentences: Sentences) -> None:
    recipe = Recipe(detector=DetectorRecipe(steps=2), shortcut=1.5)
    shortcut = fit(examples, range(len(examples.clips)), sentences, recipe).shortcut.weight.detach().squeeze(0)
    expected = {"fight": 1.5 * 2**0.5, "calm": -1.5 * 2**0.5}
    assert shortcut.tolist() == pytest.approx([expected.get(kind, 0.0) for kind in KINDS])


def test_match_probability_grows_with_the_score_and_falls_with_the_size() -> None:
    random = np.random.default_rng(0)
    gallery = l2_normalize(random.normal(size=(1000, 24)))
    queries = l2_normalize(gallery + 0.9 * random.normal(size=gallery.shape) / 24**0.5)[:200]
    scores = queries @ gallery.T * 24**0.5
    own, others = scores[np.arange(200), np.arange(200)], ~np.eye(200, 1000, dtype=bool)
    trials = [draw_trials("noise", own, scores, others, size) for size in (100, 300, 900)]
    calibrator = fit_calibrator(trials)
    assert calibrator(4.0, 100) > calibrator(2.0, 100)
    assert calibrator(3.0, 100) > calibrator(3.0, 100_000)
    threshold = threshold_for(trials, calibrator, miss_rate=0.2)
    missed = [(match_probabilities(calibrator, each.best_with_match, each.size) < threshold).mean() for each in trials]
    assert np.mean(missed) == pytest.approx(0.2, abs=0.005)
    false_alarms = (match_probabilities(calibrator, trials[0].others, 100) >= threshold).mean()
    assert false_alarms < 0.6  # chance: 0.8


def test_query_with_too_few_unrelated_candidates_is_left_out() -> None:
    scores = np.array([[0.1, 0.9, 0.3], [0.2, 0.4, 0.6]])
    trials = draw_trials("any", np.array([0.5, 0.7]), scores, np.array([[True, False, True], [False, False, True]]), 2)
    assert trials.own.tolist() == [0.5]
    assert trials.others.tolist() == [0.3]
    assert trials.best_with_match.tolist() == [0.5]


def test_calibrator_is_written_into_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "alan.json"
    file.write_text('{"dim": 231, "calibrators": {"text": {"slope": 9.0, "size": 9.0, "offset": 9.0}}}')
    write_calibrator(LogisticCalibrator(slope=1.5, size=0.25, offset=-2.0), file)
    configuration = json.loads(file.read_text())
    assert configuration == {"dim": 231, "calibrators": {"text": {"slope": 1.5, "size": 0.25, "offset": -2.0}}}


@pytest.mark.parametrize(
    ("caption", "absent"),
    [
        ("A dog runs through deep snow .", True),
        ("Two men on skis", True),
        ("Waves break at the beach", True),
        ("A woman in a skirt skips down the street", False),
        ("Several people stand in a shop", False),
    ],
)
def test_captions_of_landscapes_are_absent_from_streets(caption: str, absent: bool) -> None:
    assert is_absent_from_streets(caption) is absent


def test_every_clip_has_its_source(fights_folder: Path) -> None:
    clips = read_cctv_fights(fights_folder)
    by_name = {clip.path.stem: clip for clip in clips}
    assert len(clips) == len(by_name)
    assert by_name["fi001"].source == by_name["nofi003"].source
    assert by_name["nofi062"].source == "CamNet Dataset"
    assert by_name["nofi091"].source == "Synopsis dataset"


@pytest.fixture
def fights_folder(tmp_path: Path) -> Path:
    (tmp_path / "videos.txt").write_text(
        "https://example.org/a\nfi001: 0.1 - 0.2\nnofi003: 0.06.50 - 0.08.50\nhttps://example.org/b\nfi005: 1 - 2\n\n"
        "nofi062 - nofi076 : CamNet Dataset\nnofi076 - nofi091 : Synopsis dataset\n"
    )
    for name in ("fight/fi001", "fight/fi005", "noFight/nofi003", "noFight/nofi062", "noFight/nofi091"):
        (tmp_path / f"{name}.mp4").parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.mp4").touch()
    return tmp_path


def test_folded_clips_have_unit_norm(examples: Examples) -> None:
    from var_plugin.encoders.alan.residual import ResidualAlanConfig, ResidualAlanModel

    model = ResidualAlanModel(ResidualAlanConfig(hidden_size=_DIM, motion_dim=_WIDTH, motion_width=5)).eval()
    assert np.allclose(np.linalg.norm(fold_clips(model, examples.samples[0]), axis=1), 1, atol=1e-5)
