from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.films import Film, textured
from tests.retrievers.test_anomalies import segment, store
from var_plugin.api import Index
from var_plugin.errors import InvalidInputError
from var_plugin.retrievers import report


def test_hostile_names_and_sentences_are_text_in_a_report(index: Index, film: Film, tmp_path: Path) -> None:
    names = ["<img src=x onerror=alert(1)>", "${sections} $title", "a&b\"'>", "\u202egpm.4pm"]
    for seed, name in enumerate(names):
        path = film(f"{name}.mp4", paint=lambda time, seed=seed: textured(seed))
        assert index.add(path, camera=name).ok
    index.add_example("alarm", "</p><script>alert(1)</script>$title")
    written = index.report(tmp_path / "report.html", min_score=0)
    assert (written.moments, written.cameras, written.without_thumbnail) == (4, 4, 0)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    elements = "!doctype|html|head|meta|title|style|body|h1|h2|h3|h4|b|p|section|div|article|img|svg|rect|polyline"
    assert set(re.findall(r"<([^\s/>]+)", page)) <= set(elements.split("|"))
    assert re.findall(r"<img (?!src=\"data:image/jpeg;base64,[\w+/=]*\" alt=\"\">)", page) == []
    assert "${sections} $title" in page
    assert "\u202e" not in page


def test_a_report_contains_its_images_even_if_the_cache_is_full(
    small_cache: Path, index: Index, film: Film, tmp_path: Path
) -> None:
    index.add([film(f"{seed}.mp4", paint=lambda time, seed=seed: textured(seed)) for seed in range(3)])
    assert index.report(tmp_path / "report.html", min_score=0).without_thumbnail == 0
    assert len(list(small_cache.rglob("*.jpg"))) == 1
    assert (tmp_path / "report.html").read_text().count("data:image/jpeg") == 3


def test_a_report_says_if_not_all_moments_were_considered(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "_MAX_MOMENTS", 2)
    for number in range(3):
        store(index, f"v{number}", [segment(0, 0.9)], hour=number)
    index.report(tmp_path / "report.html")
    assert "Only the 2 strongest moments were considered" in (tmp_path / "report.html").read_text()
    monkeypatch.setattr(report, "_MAX_MOMENTS", 4)
    index.report(tmp_path / "report.html")
    assert "considered" not in (tmp_path / "report.html").read_text()


def test_a_failed_report_leaves_nothing_and_replaces_nothing(index: Index, film: Film, tmp_path: Path) -> None:
    store(index, "v", [segment(0, 0.9)])
    folder = tmp_path / "folder.html"
    folder.mkdir()
    for out in (folder, folder / f"{'x' * 255}.html", Path("/proc/report.html")):
        with pytest.raises(InvalidInputError, match="cannot write"):
            index.report(out)
    assert list(folder.iterdir()) == []
    footage = film("a.mp4")
    content = footage.read_bytes()
    with pytest.raises(InvalidInputError, match="is not the name of an HTML file"):
        index.report(footage)
    assert footage.read_bytes() == content


@pytest.mark.parametrize("year", [2, 9899])
def test_a_report_has_days_at_the_ends_of_the_calendar(index: Index, tmp_path: Path, year: int) -> None:
    store(index, "v", [segment(0, 0.9)], at=datetime(year, 1, 1, tzinfo=UTC))
    assert index.report(tmp_path / "report.html").days == 1
