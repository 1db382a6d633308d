from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.colors import DESCRIPTION, build, color_suite
from tests.films import Film, plain
from tests.ingest.test_add import scene
from var_plugin.config import ModelOptions
from var_plugin.encoders import registry as suites
from var_plugin.encoders.base import Vectors, l2_normalize
from var_plugin.encoders.suite import Suite
from var_plugin.errors import (
    EmptyMediaError,
    InvalidInputError,
    MediaNotFoundError,
    TooManyPixelsError,
    UnknownSuiteError,
    UnreadableMediaError,
    UnsupportedModalityError,
)
from var_plugin.types import Span

SUITE = color_suite()


def test_spaces_list_their_modalities() -> None:
    space = SUITE.spaces["scene"]
    assert (space.dim, space.metric) == (3, "IP")
    assert space.modalities == {"text", "image", "video"}


def test_the_fingerprint_follows_the_spaces() -> None:
    assert color_suite("a").fingerprint == color_suite("a").fingerprint != color_suite("b").fingerprint


def test_images_may_be_paths_pil_images_or_arrays(tmp_path: Path) -> None:
    array = plain(255, 0, 0)
    Image.fromarray(array).save(tmp_path / "red.png")
    vectors = SUITE.encode("image", [tmp_path / "red.png", str(tmp_path / "red.png"), Image.fromarray(array), array])
    assert vectors.dtype == np.float32
    assert vectors == pytest.approx(np.tile(SUITE.encode("text", ["red"]), (4, 1)), abs=1e-4)


def test_images_are_rotated_by_their_exif_orientation(tmp_path: Path) -> None:
    """Phones store the rotation in EXIF. Transparency is not a colour."""
    from var_plugin.media.image_input import load_image

    half = np.zeros((40, 40, 3), np.uint8)
    half[:, 20:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to view: right becomes bottom
    Image.fromarray(half).save(tmp_path / "turned.jpg", exif=exif)
    image = load_image(tmp_path / "turned.jpg", (8, 8))
    assert image[:3].mean() < 10 < 245 < image[5:].mean()


def test_a_span_is_embedded_like_a_cut_video(film: Film) -> None:
    path = film(seconds=16, fps=5, paint=scene("red", "blue"))
    whole, red, blue = SUITE.encode("video", [path, Span(path, 0, 7.9), Span(path, 8.1, 15)])
    assert red @ SUITE.encode("text", ["red"])[0] > 0.99
    assert blue @ SUITE.encode("text", ["blue"])[0] > 0.99
    assert red @ whole == pytest.approx(blue @ whole, abs=0.02)


def test_no_items_give_no_vectors() -> None:
    assert SUITE.encode("text", []).shape == (0, 3)


def test_unsupported_queries_are_refused(film: Film, tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no image")
    cases = [
        ("audio", ["a.wav"], {}, UnsupportedModalityError),
        ("text", ["red"], {"space": "sound"}, UnsupportedModalityError),
        ("text", "red", {}, InvalidInputError),
        ("text", [" "], {}, InvalidInputError),
        ("text", [3], {}, InvalidInputError),
        ("text", ["red", "half an emoji \ud83d"], {}, InvalidInputError),
        ("text", ["not UTF-8 \udce4"], {}, InvalidInputError),
        ("text", ["nothing known"], {}, Exception),
        ("image", [np.zeros((4, 4), np.uint8)], {}, InvalidInputError),
        ("image", [np.zeros((4, 4, 3))], {}, InvalidInputError),
        ("image", [tmp_path / "gone.png"], {}, MediaNotFoundError),
        ("image", [tmp_path / "empty.png"], {}, EmptyMediaError),
        ("image", [tmp_path / "text.png"], {}, UnreadableMediaError),
        ("video", [plain(1, 2, 3)], {}, InvalidInputError),
        ("video", [Span(film(), 100, 101)], {}, InvalidInputError),
    ]
    for modality, items, options, expected in cases:
        with pytest.raises(expected):
            SUITE.encode(modality, items, **options)


def test_an_image_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    with pytest.raises(TooManyPixelsError, match="20000 x 20000 pixels"):
        SUITE.encode("image", [tmp_path / "bomb.png"])


def test_anomaly_scores_have_times(film: Film) -> None:
    path = film(seconds=90, fps=4, paint=lambda time: scene("red")(0) if not 40 < time < 50 else scene("blue")(0))
    scores = SUITE.anomaly(path)
    assert scores[0].start == 0.0
    assert all(before.end == after.start for before, after in pairwise(scores))
    assert scores[-1].end == pytest.approx(90, abs=0.1)
    assert all((score.score > 0.5) == (40 < score.start < 50) for score in scores)


class Directions:
    """A random direction per text."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        return l2_normalize(np.stack([np.random.default_rng(list(text.encode())).normal(size=3) for text in texts]))


def test_sentences_are_matched_with_segments_of_the_given_length(film: Film) -> None:
    path = film(seconds=16, fps=4, paint=scene("red", "blue"))
    encoders = replace(build()["scene"], text=Directions(), uncounted_kinds=frozenset())
    suite = Suite(DESCRIPTION, {"scene": encoders})
    one = suite.anomaly(path, segment_seconds=16)
    assert all(clip.events == pytest.approx(one[0].events) for clip in one)
    two = suite.anomaly(path, segment_seconds=8)
    assert two[0].events != pytest.approx(two[-1].events)
    assert two == suite.anomaly(path), "segments are as long as those of an index with default settings"


def test_a_suite_has_the_cache_folder_and_the_frame_rate_of_its_options(tmp_path: Path) -> None:
    suite = suites.load_suite("lite", ModelOptions(cache=tmp_path, fps=4))
    assert (suite.cache, suite.fps) == (tmp_path, 4)


def test_vectors_of_captions_are_stored_in_the_cache_folder_of_the_suite(tmp_path: Path) -> None:
    Suite(DESCRIPTION, build(), cache=tmp_path).caption_memory("scene")
    assert [file.parent for file in tmp_path.rglob("*.npy")] == [tmp_path / "captions"]


def test_suites_are_listed_and_loaded_by_name() -> None:
    assert "lite" in suites.descriptions()
    with pytest.raises(UnknownSuiteError, match="the suites are lite"):
        suites.load_suite("heavy")


def test_other_packages_can_add_suites(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    entry = EntryPoint("colors", "tests.colors:DESCRIPTION", "var_plugin.suites")
    monkeypatch.setattr(suites, "entry_points", lambda group: [entry] if group == "var_plugin.suites" else [])
    assert suites.descriptions()["colors"] is DESCRIPTION
    assert suites.load_suite("colors").encode("text", ["red"]).shape == (1, 3)
