"""Fuzzing: randomly changed backups are restored, and the outcomes are counted.

    python -m tests.hostile_backups.fuzz --inputs 10000 [--seed 1]

Files, lines, values and names are changed; in most inputs the manifest then lists the right SHA-256 of every file, so
that the change gets past it. An input ends in an error of the package or in an index that verifies; nothing outside the
target is touched.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.colors import color_suite
from var_plugin.api import open_index, restore_index
from var_plugin.encoders.base import l2_normalize
from var_plugin.errors import FingerprintMismatchError, VarPluginError
from var_plugin.index.catalog import Entry, Sighting
from var_plugin.types import Segment

STRANGE: tuple[Any, ...] = (
    None, True, -1, 0, 2**31, 2**63, 2**70, -(10**17), 1e308, float("nan"), float("inf"), "", "a", "\x00", "a\x1b[2Jb",
    "\ud800", "é" * 2_000, "../../outside", "/etc/passwd", "..", ".", "a/b", "@generations", "deleting", "pending", [],
    {}, [[]], {"a": {"b": [1]}}, "NaN", "x" * 70_000, [0.0, 1.0, 0.0], base64.b64encode(bytes(12)).decode(),
    base64.b64encode(np.full(3, np.nan, "<f4").tobytes()).decode(),
)  # fmt: skip
MANIFEST, VIDEOS, ROWS, EXAMPLES = "manifest.json", "videos.jsonl", "scene.jsonl", "examples.jsonl"


def make_backup(folder: Path) -> Path:
    """Write a backup of three videos with seven segments, and of two of the owner's examples."""
    with open_index(folder / "source.db", suite=color_suite()) as index:
        for number, count in enumerate((1, 2, 4)):
            segments = [Segment(start=8.0 * i, end=8.0 * i + 8, key=8.0 * i, anomaly=i / 8) for i in range(count)]
            vectors = l2_normalize(np.random.default_rng(number).normal(size=(count, 3)))
            entry = Entry(
                video_id=f"{number:032x}", state="pending", content=f"{number:064x}", duration=8.0 * count, rows={},
                sightings=(Sighting(path=f"/footage/{number}.mp4", camera="north", recorded_at=1_000),),
                metadata={"floor": number}, settings="s", added_at=number,
            )  # fmt: skip
            index._inner.write(entry, {"scene": (segments, vectors)})
        index._inner.owner_examples.add("normal", "a red wall", camera="north")
        index._inner.owner_examples.add(
            "alarm", "a moment", camera="north", moment="m", vector=np.array([1, 0, 0], np.float32), fingerprint="f"
        )
        index.backup(folder / "backup")
    return folder / "backup"


def damage(backup: Path, chance: Random) -> None:
    """Change a backup at one to three places."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        chance.choice((_bytes, _line, _value, _value, _value, _value, _name, _file))(backup, chance)
    if chance.random() < 0.9:
        _list_files(backup)


def _bytes(backup: Path, chance: Random) -> None:
    file = _some_file(backup, chance)
    content = bytearray(file.read_bytes()) or bytearray(b"x")
    place = chance.randrange(len(content))
    match chance.choice(("overwrite", "cut", "insert", "repeat")):
        case "overwrite":
            content[place] = chance.randrange(256)
        case "cut":
            del content[place:]
        case "insert":
            content[place:place] = chance.choice(
                (b"\x00", b"\xff\xfe", b"\n", b"[" * 50_000, b'"', b"{}\n", b"9" * 5_000)
            )
        case _:
            content[place:place] = content
    file.write_bytes(content)


def _line(backup: Path, chance: Random) -> None:
    file = backup / chance.choice((VIDEOS, ROWS, EXAMPLES))
    lines = file.read_bytes().splitlines(keepends=True) if file.is_file() else []
    if lines:
        place = chance.randrange(len(lines))
        match chance.choice(("remove", "repeat", "swap")):
            case "remove":
                del lines[place]
            case "repeat":
                lines.append(lines[place])
            case _:
                lines.append(lines.pop(place))
        file.write_bytes(b"".join(lines))


def _value(backup: Path, chance: Random) -> None:
    """Replace a value, remove or add a key, somewhere in a JSON document."""
    file = _some_file(backup, chance)
    lines = [file.read_bytes()] if file.name == MANIFEST else file.read_bytes().splitlines()
    if not lines:
        return
    place = chance.randrange(len(lines))
    try:
        document = json.loads(lines[place])
    except (ValueError, RecursionError):
        return
    holder: Any = document
    while isinstance(holder, dict | list) and holder:
        key = chance.choice(list(holder)) if isinstance(holder, dict) else chance.randrange(len(holder))
        if isinstance(holder[key], dict | list) and holder[key] and chance.random() < 0.7:
            holder = holder[key]
            continue
        match chance.choice(("replace", "replace", "replace", "remove", "add")):
            case "replace":
                holder[key] = chance.choice(STRANGE)
            case "remove":
                del holder[key]
            case _ if isinstance(holder, dict):
                holder[str(chance.choice(STRANGE))] = chance.choice(STRANGE)
            case _:
                holder.append(chance.choice(STRANGE))
        break
    lines[place] = json.dumps(document).encode()
    file.write_bytes(b"\n".join(lines) + b"\n")


def _name(backup: Path, chance: Random) -> None:
    """Rename a video or the space everywhere, so that the backup is consistent."""
    old, new = chance.choice((("scene", str(chance.choice(STRANGE))), (f"{1:032x}", str(chance.choice(STRANGE)))))
    if any(ord(letter) < 32 or 0xD800 <= ord(letter) < 0xE000 for letter in new):
        new = "outside"
    for file in backup.iterdir():
        if file.is_file() and not file.is_symlink():
            file.write_bytes(file.read_bytes().replace(f'"{old}"'.encode(), json.dumps(new).encode()))


def _file(backup: Path, chance: Random) -> None:
    file = _some_file(backup, chance)
    match chance.choice(("gone", "link", "fifo", "folder", "empty", "more", "newer")):
        case "gone":
            file.unlink()
        case "link":
            file.rename(backup.parent / "linked")
            file.symlink_to(backup.parent / "linked")
        case "fifo":
            file.unlink()
            os.mkfifo(file)
        case "folder":
            file.unlink()
            file.mkdir()
        case "empty":
            file.write_bytes(b"")
        case "more":
            (backup / "more.jsonl").write_bytes(b"{}\n")
        case _:
            file = backup / MANIFEST
            if file.is_file():
                file.write_bytes(file.read_bytes().replace(b'"format": 3', b'"format": 4'))


def _some_file(backup: Path, chance: Random) -> Path:
    files = [backup / name for name in (MANIFEST, VIDEOS, ROWS, ROWS, EXAMPLES)]
    plain = [file for file in files if file.is_file() and not file.is_symlink()]
    if not plain:
        (backup / ROWS).parent.mkdir(exist_ok=True)
        spare = backup / "spare.jsonl"
        spare.write_bytes(b"{}\n")
        return spare
    return chance.choice(plain)


def _list_files(backup: Path) -> None:
    """Write the current SHA-256 of the files to the manifest."""
    if not (backup / MANIFEST).is_file():  # a FIFO would block
        return
    try:
        manifest = json.loads((backup / MANIFEST).read_bytes())
        for name in manifest["files"]:
            file = backup / name
            if file.is_file() and not file.is_symlink():
                manifest["files"][name] = hashlib.sha256(file.read_bytes()).hexdigest()
        (backup / MANIFEST).write_text(json.dumps(manifest))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return


def outcome(backup: Path, target: Path) -> str:
    """Restore a backup. Return the name of the error it ended in, or "restored".

    Raises:
        AssertionError: the index does not verify, a failure left something, or something outside was touched.
            Errors of other types than the package's own propagate.
    """
    outside = target.parent / "outside"
    outside.write_text("precious")
    around = sorted(path.name for path in target.parent.iterdir() if path != backup)
    try:
        restore_index(backup, target)
    except VarPluginError as error:
        assert not target.exists(), "a failed restore left an index"
        assert sorted(path.name for path in target.parent.iterdir() if path != backup) == around, "it left something"
        result = type(error).__name__
    else:
        try:
            with open_index(target, suite=color_suite()) as index:
                assert index.verify().ok, "a restored index does not verify"
                index.search("red", k=9)
                index.rescore()
                assert index.verify().ok, "an index does not verify after rescoring"
            result = "restored"
        except FingerprintMismatchError:
            result = "restored as an index of another suite"
    assert outside.read_text() == "precious"
    return result


def fuzz(inputs: int, folder: Path, seed: int = 1) -> Counter[str]:
    """Restore `inputs` changed backups; return how often each outcome occurred."""
    original = make_backup(folder)
    counted: Counter[str] = Counter()
    for number in range(inputs):
        chance = Random(f"{seed}/{number}")
        world = folder / "world"
        world.mkdir()
        shutil.copytree(original, world / "backup")
        damage(world / "backup", chance)
        try:
            counted[outcome(world / "backup", world / "target.db")] += 1
        except BaseException as error:
            raise AssertionError(f"input {number} of seed {seed}") from error
        shutil.rmtree(world)
    return counted


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        counted = fuzz(arguments.inputs, Path(folder), arguments.seed)
    lines = [f"{counted.total()} inputs in {time.monotonic() - started:.0f} s; no other error, nothing outside touched"]
    lines += [f"{count:7}  {name}" for name, count in counted.most_common()]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
