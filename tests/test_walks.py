from __future__ import annotations

from tests.walks import walks


def test_adding_a_clip_and_searching_pass_few_modules() -> None:
    """A reader can follow both: the limits are those that the project sets itself."""
    counts = {name: len(modules) for name, modules in walks().items()}
    assert counts["add a clip of 16 s"] <= 35
    assert counts["search"] <= 25
