"""Read the recordings that the `sound` space is trained on: ESC-10, UrbanSound8K and sound effects."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from recipes.lite.sound_effect_names import label_from_name
from var_plugin.errors import MediaNotFoundError

Part = Literal["train", "validation", "test"]

ESC10_CLASSES = (
    "dog", "rain", "sea waves", "crying baby", "clock tick",
    "sneeze", "helicopter", "chainsaw", "rooster", "crackling fire",
)  # fmt: skip
"""Classes in the order of the folders `001 - …` to `010 - …`."""

URBANSOUND8K_CLASSES = (
    "air conditioner", "car horn", "children playing", "dog", "drilling",
    "engine idling", "gun shot", "jackhammer", "siren", "street music",
)  # fmt: skip
"""Classes in the order of the class numbers in file names. The dogs of both collections are one class."""


@dataclass(frozen=True)
class FoldSet:
    """Folds of both collections that are held out together as the test part."""

    esc10: tuple[str, ...]
    urbansound8k: str


FOLDS = {
    1: FoldSet(("1", "2"), "fold1"),
    2: FoldSet(("3", "4"), "fold2"),
    3: FoldSet(("5",), "fold3"),
}
"""The held-out folds by id. Every fold is held out once."""
LAST_FOLD = 3
"""The recipe was chosen without these folds, except for one hyperparameter (see the model card)."""

_SOURCES_PER_VALIDATION = 6
"""One in this many sources of every class of the other folds is for validation."""


@dataclass(frozen=True)
class Recording:
    """An audio file.

    `source` names the original recording that the file was cut from. For a sound effect that is labelled by its file
    name (collection "named") it is the package. `label` is None for all other effects and for what a fold holds out.
    """

    path: Path
    collection: Literal["esc10", "urbansound8k", "named", "effects", "left out"]
    source: str
    label: str | None
    part: Part


def read_recordings(data: Path, effects: Path | None = None, *, fold_id: int = LAST_FOLD) -> list[Recording]:
    """List the recordings of `data/audio` and the audio files of the folder `effects`, if it is given.

    Effects belong to the training part. The folds of `fold_id` are the test part. The parts of one collection never
    share a source. Five sources of dogs are in both collections.

    Raises:
        MediaNotFoundError: the collections are not there.
    """
    recordings = [
        *_with_validation(_esc10(data / "audio" / "esc10", FOLDS[fold_id].esc10)),
        *_with_validation(_urbansound8k(data / "audio" / "urbansound8k", FOLDS[fold_id].urbansound8k)),
    ]
    if {recording.collection for recording in recordings} != {"esc10", "urbansound8k"}:
        raise MediaNotFoundError(
            f"the audio collections are not in {data}",
            why="it has no audio/esc10 or no audio/urbansound8k",
            fix="name the folder that contains audio/",
        )
    if effects:
        files = sorted(path for path in effects.rglob("*") if path.is_file())
        recordings += map(_effect, files)
    return recordings


def select(
    recordings: Sequence[Recording], *, part: Part | None = None, collection: str | None = None
) -> list[Recording]:
    """Return the recordings of a part, of a collection, or of a part of a collection."""
    return [
        recording
        for recording in recordings
        if part in (None, recording.part) and collection in (None, recording.collection)
    ]


def _effect(path: Path) -> Recording:
    label = label_from_name(path)
    if label is None:
        return Recording(path, "effects", path.name, None, "train")
    return Recording(path, "named", path.parent.name, label, "train")


def _esc10(folder: Path, test: Sequence[str]) -> list[Recording]:
    """Read ESC-10, whose file names are `fold-source-take.ogg`."""
    recordings = []
    for path in sorted(folder.glob("*/*.ogg")):
        fold, source, _ = path.stem.split("-")
        label = ESC10_CLASSES[int(path.parent.name[:3]) - 1]
        recordings.append(Recording(path, "esc10", source, label, "test" if fold in test else "train"))
    return recordings


def _urbansound8k(folder: Path, test: str) -> list[Recording]:
    """Read UrbanSound8K, whose file names are `source-class-occurrence-slice.opus`."""
    recordings = []
    for path in sorted(folder.glob("*/*.opus")):
        source, label = path.stem.split("-")[:2]
        part: Part = "test" if path.parent.name == test else "train"
        recordings.append(Recording(path, "urbansound8k", source, URBANSOUND8K_CLASSES[int(label)], part))
    return recordings


def _with_validation(recordings: Sequence[Recording]) -> list[Recording]:
    """Move some sources of every class from training to validation."""
    sources: dict[str | None, set[str]] = defaultdict(set)
    for recording in recordings:
        if recording.part == "train":
            sources[recording.label].add(recording.source)
    validation = {source for of_class in sources.values() for source in sorted(of_class)[::_SOURCES_PER_VALIDATION]}
    return [
        replace(recording, part="validation")
        if recording.part == "train" and recording.source in validation
        else recording
        for recording in recordings
    ]
