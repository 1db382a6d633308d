"""Videos to embed."""

from __future__ import annotations

import pytest

from tests.films import Film, plain


@pytest.fixture
def clips(film: Film) -> list[str]:
    """A red, a green and a blue video."""
    paints = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
    return [
        str(film(f"{name}.mp4", seconds=1, paint=lambda _, color=color: plain(*color)))
        for name, color in paints.items()
    ]
