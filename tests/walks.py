"""Print the modules of the package that adding a clip of 16 seconds and a search enter, once the models are loaded.

python -m tests.walks
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import var_plugin
from tests.films import Film, textured

PACKAGE = Path(var_plugin.__file__).parent


@contextmanager
def entered(modules: set[str]) -> Iterator[None]:
    """Add the modules of the package of which a function is called inside the block, in any thread of this process."""

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_name != "<module>":
            file = Path(frame.f_code.co_filename)
            if file.is_relative_to(PACKAGE):
                modules.add(".".join(file.relative_to(PACKAGE).with_suffix("").parts))

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def walks() -> dict[str, set[str]]:
    """Return the modules per walk."""
    result: dict[str, set[str]] = {"add a clip of 16 s": set(), "search": set()}
    with tempfile.TemporaryDirectory() as folder:
        film = Film(Path(folder))
        first, second = (
            film(f"{seed}.mp4", seconds=16, fps=4, paint=lambda time, seed=seed: textured(seed + int(time)), tone=440.0)
            for seed in (0, 50)
        )
        with var_plugin.open_index(Path(folder) / "index.db", suite="lite") as index:
            index.add(first)  # loads the models, so that importing them does not count
            index.search("a red car", k=3)
            with entered(result["add a clip of 16 s"]):
                index.add(second)
            with entered(result["search"]):
                index.search("a red car", k=3)
    return result


def main() -> None:
    """Print each walk."""
    argparse.ArgumentParser(description=str(__doc__)).parse_args()
    for name, modules in walks().items():
        print(f"{name}: {len(modules)} modules\n  " + "\n  ".join(sorted(modules)))  # noqa: T201


if __name__ == "__main__":
    main()
