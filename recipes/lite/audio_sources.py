"""The recordings that the `sound` space learns from: ESC-10, UrbanSound8K and sound effects, some of them labelled."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from recipes.lite.sound_effect_names import label_of
from var_plugin.errors import MediaNotFoundError

Part = Literal["train", "validation", "test"]

ESC10_CLASSES = (
    "dog", "rain", "sea waves", "crying baby", "clock tick",
    "sneeze", "helicopter", "chainsaw", "rooster", "crackling fire",
)  # fmt: skip
"""In the order of the folders `001 - …` to `010 - …`."""

URBANSOUND8K_CLASSES = (
    "air conditioner", "car horn", "children playing", "dog", "drilling",
    "engine idling", "gun shot", "jackhammer", "siren", "street music",
)  # fmt: skip
"""In the order of the class numbers in the file names. Both collections' dogs are one class."""


@dataclass(frozen=True)
class Round:
    """Folds of both collections that are left out together, as the test part."""

    esc10: tuple[str, ...]
    urbansound8k: str


ROUNDS = {
    1: Round(("1", "2"), "fold1"),
    2: Round(("3", "4"), "fold2"),
    3: Round(("5",), "fold3"),
}
"""Every fold is held out once."""
LAST_ROUND = 3
"""Every choice but one was made without its folds (the sound card says which)."""

_VALIDATION_SHARE = 6
"""One in so many sources of every class of the other folds is for validation."""


@dataclass(frozen=True)
class Recording:
    """A sound file.

    `source` names the original recording that it was cut from; of an effect that its name gives a label ("named"), the
    package. `label` is None for all other effects, and for what a fold leaves out.
    """

    path: Path
    collection: Literal["esc10", "urbansound8k", "named", "effects", "left out"]
    source: str
    label: str | None
    part: Part


def read_recordings(data: Path, effects: Path | None = None, *, round_number: int = LAST_ROUND) -> list[Recording]:
    """List the recordings of `data/audio` and, for training, all sound files of the folder `effects`.

    The folds that the round leaves out are the test part. Parts of one collection never share a source; five sources of
    dogs are in both collections.

    Raises:
        MediaNotFoundError: the collections are not there.
    """
    found = [
        *_with_validation(_esc10(data / "audio" / "esc10", ROUNDS[round_number].esc10)),
        *_with_validation(_urbansound8k(data / "audio" / "urbansound8k", ROUNDS[round_number].urbansound8k)),
    ]
    if {recording.collection for recording in found} != {"esc10", "urbansound8k"}:
        raise MediaNotFoundError(
            f"the sound collections are not in {data}",
            why="audio/esc10 and audio/urbansound8k are expected there",
            fix="name the folder that holds audio/",
        )
    if effects:
        files = sorted(path for path in effects.rglob("*") if path.is_file())
        found += map(_effect, files)
    return found


def select(
    recordings: Sequence[Recording], *, part: Part | None = None, collection: str | None = None
) -> list[Recording]:
    """Return the recordings of a part, or of a collection, or of a part of a collection."""
    return [
        recording
        for recording in recordings
        if part in (None, recording.part) and collection in (None, recording.collection)
    ]


def _effect(path: Path) -> Recording:
    label = label_of(path)
    if label is None:
        return Recording(path, "effects", path.name, None, "train")
    return Recording(path, "named", path.parent.name, label, "train")


def _esc10(folder: Path, test: Sequence[str]) -> list[Recording]:
    """File names are `fold-source-take.ogg`."""
    found = []
    for path in sorted(folder.glob("*/*.ogg")):
        fold, source, _ = path.stem.split("-")
        label = ESC10_CLASSES[int(path.parent.name[:3]) - 1]
        found.append(Recording(path, "esc10", source, label, "test" if fold in test else "train"))
    return found


def _urbansound8k(folder: Path, test: str) -> list[Recording]:
    """File names are `source-class-occurrence-slice.opus`."""
    found = []
    for path in sorted(folder.glob("*/*.opus")):
        source, label = path.stem.split("-")[:2]
        part: Part = "test" if path.parent.name == test else "train"
        found.append(Recording(path, "urbansound8k", source, URBANSOUND8K_CLASSES[int(label)], part))
    return found


def _with_validation(recordings: Sequence[Recording]) -> list[Recording]:
    """Move some sources of every class from training to validation."""
    sources: dict[str | None, set[str]] = defaultdict(set)
    for recording in recordings:
        if recording.part == "train":
            sources[recording.label].add(recording.source)
    chosen = {source for found in sources.values() for source in sorted(found)[::_VALIDATION_SHARE]}
    return [
        replace(recording, part="validation") if recording.part == "train" and recording.source in chosen else recording
        for recording in recordings
    ]
