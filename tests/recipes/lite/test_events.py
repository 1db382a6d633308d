"""Training the event heads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recipes.lite import event_data, events
from recipes.lite.event_data import NORMAL, Items, accident_label, fall_label, make_grey, read_items
from recipes.lite.event_words import WORDS
from recipes.lite.events import HEADS, MAX_FALSE_ALARMS, calibrate, cross_validate, fit, save, select, weigh
from var_plugin.config import settings
from var_plugin.encoders.lite.events import EventHeads
from var_plugin.encoders.lite.image_text import LiteImageEncoder
from var_plugin.encoders.weights import LITE
from var_plugin.errors import MediaNotFoundError


@pytest.fixture(scope="module")
def items() -> Items:
    """Return fires of ten cameras, whose first feature is high, and ordinary images of two collections."""
    random = np.random.default_rng(0)
    rows = [
        (collection, label, f"{collection}/{source}", colour)
        for collection, labels in (("fire_cctv", ("fire", NORMAL)), ("flickr8k", (NORMAL,)))
        for source in range(10)
        for label in labels
        for colour in ("colour", "grey")
        for _ in range(12)
    ]
    columns = np.array(rows)
    features = random.normal(size=(len(rows), 8)).astype(np.float32)
    features[:, 0] += 4 * (columns[:, 1] == "fire")
    return Items(*columns.T, features)


def test_grey_flames_do_not_train_the_head_of_fires(items: Items) -> None:
    task = select(items, HEADS["fire"])
    assert not (task.positive & (items.colours == "grey")).any()
    assert (task.near & (items.colours == "grey")).any()
    assert set(items.collections[task.far]) == {"flickr8k"}


def test_positives_weigh_as_much_as_negatives(items: Items) -> None:
    task = select(items, HEADS["fire"])
    weights = weigh(items, task)
    assert weights[task.positive].sum() == pytest.approx(2)
    assert weights[task.near].sum() == pytest.approx(1)
    assert weights[task.far].sum() == pytest.approx(1)
    assert (weights[~task.used] == 0).all()


def test_cross_validation_separates_what_can_be_separated(items: Items) -> None:
    task = select(items, HEADS["fire"])
    logits = cross_validate(items, task)
    assert logits[task.positive].min() > logits[task.near].mean()


def test_cross_validation_does_not_learn_sources(items: Items) -> None:
    """A feature that names the source separates nothing on other sources."""
    task = select(items, HEADS["fire"])
    features = np.zeros_like(items.features)
    features[np.arange(len(items)), np.unique(items.sources, return_inverse=True)[1] % 8] = 1
    logits = cross_validate(Items(items.collections, items.labels, items.sources, items.colours, features), task)
    own = task.positive | task.near
    assert abs(logits[task.positive].mean() - logits[task.near].mean()) < 0.1
    assert np.ptp(logits[own]) < 4


def test_threshold_limits_the_false_alarms(items: Items) -> None:
    task = select(items, HEADS["fire"])
    logits = cross_validate(items, task)
    slope, offset = calibrate(items, task, HEADS["fire"], logits)
    weights = weigh(items, task)
    negative = task.near | task.far
    alarms = weights[negative & (slope * logits + offset > 0)].sum() / weights[negative].sum()
    assert slope > 0
    assert alarms <= MAX_FALSE_ALARMS


def test_threshold_of_a_gate_keeps_the_positives(items: Items) -> None:
    head = events.Head({"fire_cctv": ("fire",)}, min_recall=0.9)
    task = select(items, head)
    logits = cross_validate(items, task)
    slope, offset = calibrate(items, task, head, logits)
    assert np.mean(slope * logits[task.positive] + offset >= 0) == pytest.approx(0.9, abs=0.02)


def test_saved_heads_are_read_by_the_suite(items: Items, tmp_path: Path) -> None:
    line = fit(items, select(items, HEADS["fire"]), np.ones(len(items), bool)).calibrated(2, 1)
    words = np.random.default_rng(0).normal(size=(len(WORDS), 384)), np.arange(len(WORDS), dtype=float)
    save({"fire": line}, words, tmp_path)
    heads = EventHeads(tmp_path)
    assert heads.searched_kinds == tuple(WORDS)
    about_smoke = heads.described_events(10 * words[0][1:2].astype(np.float32))
    assert about_smoke.argmax() == list(WORDS).index("smoke")
    maps = items.features[:5, :4, None, None]  # mean and maximum of a map of one value are that value
    expected = line(np.hstack([items.features[:5, :4]] * 2))
    assert heads.kinds == ("fire",)
    np.testing.assert_allclose(heads.logits(maps)[:, 0], expected, atol=0.02)


def test_frames_of_an_accident_have_the_label_of_most_of_their_time() -> None:
    label = accident_label("000000111111")
    assert [label(0, 0.5), label(0.5, 1), label(1, 1.5), label(0.5, 1.5)] == [NORMAL, NORMAL, "accident", "accident"]


def test_frames_of_a_fall_have_the_label_of_the_note() -> None:
    label = fall_label("Falling (BW)[2.5 to 8]; Standing[0 to 2.5]")
    assert [label(0, 2), label(2, 3), label(8, 9)] == [NORMAL, "fall", NORMAL]


def test_grey_images_have_equal_channels() -> None:
    image = np.random.default_rng(0).integers(0, 255, (4, 5, 3), np.uint8)
    grey = make_grey(image)
    assert grey.shape == image.shape
    assert (grey == grey[:, :, :1]).all()


def test_a_missing_collection_is_named(tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError, match="accident_cctv"):
        read_items(tmp_path, LiteImageEncoder(LITE, settings().cache), tmp_path / "features.npz")
    assert event_data.FPS == 2
