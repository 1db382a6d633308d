"""Read CCTV fights (Aktı, Tataroğlu and Ekenel 2019, MIT): short clips of fights and of ordinary life from cameras."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from var_plugin.errors import MediaNotFoundError

_FOLDERS = {"fight": True, "noFight": False}


@dataclass(frozen=True)
class FightClip:
    """A clip, whether it shows a fight, and the video or data set that it was cut from, its source."""

    path: Path
    fight: bool
    source: str


def read_cctv_fights(folder: Path) -> list[FightClip]:
    """Read the clips in `fight/` and `noFight/` and their sources in `videos.txt`, in order of name.

    `videos.txt` lists the clips below the address of their video. The last lines name two data sets and a range of
    clips each. A clip that is not listed is a source of its own.

    Raises:
        MediaNotFoundError: the folder has no `videos.txt`.
    """
    table = folder / "videos.txt"
    if not table.is_file():
        raise MediaNotFoundError(
            f"no {table}", why="the folder does not contain cctv_fights", fix="see recipes/lite/README.md"
        )
    sources = _sources(table.read_text())
    return [
        FightClip(path, fight, sources.get(path.stem, path.stem))
        for name, fight in _FOLDERS.items()
        for path in sorted((folder / name).glob("*.mp4"))
    ]


def _sources(table: str) -> dict[str, str]:
    sources: dict[str, str] = {}
    video = ""
    for line in table.splitlines():
        if line.startswith("http"):
            video = line.strip()
        elif clip := re.match(r"(n?o?fi\d+):", line):
            sources[clip[1]] = video
        elif span := re.match(r"nofi(\d+) - nofi(\d+) : (.+)", line):
            for number in range(int(span[1]), int(span[2]) + 1):
                sources.setdefault(f"nofi{number:03}", span[3].strip())
    return sources
