from __future__ import annotations

from tests.walks import walks


def test_adding_a_clip_and_searching_pass_few_modules() -> None:
    """The project aims at 35 and 25. Scoring by sentences and by the camera's history takes five of the first."""
    counts = {name: len(modules) for name, modules in walks().items()}
    assert counts["add a clip of 16 s"] <= 50
    assert counts["search"] <= 25
