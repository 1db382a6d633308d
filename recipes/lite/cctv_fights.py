"""CCTV fights (Aktı, Tataroğlu and Ekenel 2019, MIT): short clips of fights and of ordinary life from real cameras."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from var_plugin.errors import MediaNotFoundError

_FOLDERS = {"fight": True, "noFight": False}


@dataclass(frozen=True)
class FightClip:
    """One clip, a fight or none, and the film or data set it was cut from: parts are divided by source."""

    path: Path
    fight: bool
    source: str


def read_cctv_fights(folder: Path) -> list[FightClip]:
    """Read the clips in `fight/` and `noFight/` and their sources in `videos.txt`, in order of name.

    `videos.txt` lists the clips below the address of their film; the last lines name two data sets and a range of clips
    each. A clip that it does not mention is a source of its own.

    Raises:
        MediaNotFoundError: the folder holds no `videos.txt`.
    """
    table = folder / "videos.txt"
    if not table.is_file():
        raise MediaNotFoundError(f"no {table}", why="cctv_fights is not there", fix="see recipes/lite/README.md")
    sources = _sources(table.read_text())
    return [
        FightClip(path, fight, sources.get(path.stem, path.stem))
        for name, fight in _FOLDERS.items()
        for path in sorted((folder / name).glob("*.mp4"))
    ]


def _sources(table: str) -> dict[str, str]:
    found: dict[str, str] = {}
    film = ""
    for line in table.splitlines():
        if line.startswith("http"):
            film = line.strip()
        elif clip := re.match(r"(n?o?fi\d+):", line):
            found[clip[1]] = film
        elif span := re.match(r"nofi(\d+) - nofi(\d+) : (.+)", line):
            for number in range(int(span[1]), int(span[2]) + 1):
                found.setdefault(f"nofi{number:03}", span[3].strip())
    return found
