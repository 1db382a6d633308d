"""Download free sound effects from Debian packages: explosions, screams, animals, engines, places, speech, music.

They have no labels; the teacher's scores are their targets. The download needs Debian or a derivative.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from var_plugin.errors import MissingDependencyError

_SOUND_FILE = re.compile(r"\.(wav|ogg|flac|mp3)$", re.IGNORECASE)
_ARCHIVE = (".pk3", ".wz", ".zip")
"""Extensions of zip files that games use."""


@dataclass(frozen=True)
class Package:
    """A Debian package, the licence of its sounds, and a pattern of the paths to take."""

    name: str
    licence: str
    pattern: str


PACKAGES = (
    Package("0ad-data", "CC-BY-SA-3.0", r"audio/(ambient|attack|resource|actor|voice/greek)/"),
    Package("asterisk-core-sounds-en-wav", "CC-BY-SA-3.0", r"/en_US_f_Allison/(?!silence)"),
    Package("asterisk-moh-opsound-wav", "CC-BY-SA-3.0", r"/moh/"),
    Package("berusky2-data", "GPL-2+", r"/sound/"),
    Package("boswars-data", "GPL-2+", r"/(units|sounds?)/"),
    Package("colobot-common-sounds", "GPL-3+", r"/sounds/"),
    Package("crrcsim-data", "GPL-2", r"/sounds/"),
    Package("cube2-data", "CC-BY-3.0, CC-BY-SA-4.0, public domain", r"/sounds/"),
    Package("endless-sky-data", "CC-BY-SA-3.0, public domain", r"/sounds/"),
    Package("flare-game", "CC-BY-SA-3.0+", r"/(soundfx|music)/"),
    Package("flightgear-data-base", "GPL-2+", r"/Sounds?/"),
    Package("frozen-bubble-data", "GPL-2", r"/snd/"),
    Package("hedgewars-data", "GFDL-1.3", r"/Sounds/([^/]+|voices/Default/[^/]+)$"),
    Package("lincity-ng-data", "GPL-2+", r"/sounds/"),
    Package("lugaru-data", "CC-BY-SA-3.0", r"/Sounds/"),
    Package("marsshooter-data", "CC-BY-3.0, public domain", r"/audio/(?!music)"),
    Package("megaglest-data", "CC-BY-SA-3.0", r"/sounds/"),
    Package("micropolis-data", "GPL-3+", r"/sounds/"),
    Package("minetest-data", "CC-BY-SA-3.0, CC-BY-3.0", r"/sounds/"),
    Package("naev-data", "GPL-2+, GPL-3, GPL-3+, CC-BY-3.0, CC-BY-SA-3.0, public domain", r"/snd/"),
    Package("nexuiz-data", "GPL-2+", r"^sound/(?!announcer)"),
    Package("openarena-data", "GPL-2+", r"sound/(?!voices)"),
    Package("planetblupi-common", "GPL-3+", r"/sound/en/"),
    Package("redeclipse-data", "CC-BY-SA-3.0+, CC-BY-3.0, CC0", r"/sounds/(?!announcer)"),
    Package("scorched3d-data", "GPL-2+", r"/(wav|sounds?)/"),
    Package("scratch", "CC-BY-SA-3.0", r"/Media/Sounds/"),
    Package("searchandrescue-data", "GPL-2", r"/sounds/"),
    Package("simutrans-pak64", "Artistic-1.0", r"/sound/"),
    Package("sonic-pi-samples", "CC0", r"/samples/"),
    Package("supertux-data", "GPL-2+, GPL-3+", r"/(music|sounds)/"),
    Package(
        "supertuxkart-data",
        "GPL-2+, GPL-3+, CC-BY-3.0, CC-BY-SA-3.0, CC-BY-SA-4.0, CC0, zlib, public domain",
        r"\.ogg$",
    ),
    Package("torcs-data", "GPL-2+", r"/data/(sound|music)/|/cars/"),
    Package("trigger-rally-data", "GPL-2+, CC0", r"^sounds/(?!codriver)"),
    Package("tuxfootball", "GPL-2+", r"/sound"),
    Package("tuxpaint-stamps-default", "GPL-2", r"/stamps/(animals|vehicles|household|hobbies)/(?!.*_desc)"),
    Package("ufoai-sound", "GPL-2+, CC-BY-3.0, CC-BY-SA-3.0, public domain", r"sound/"),
    Package("unknown-horizons", "CC-BY-SA-3.0", r"/audio/(?!voice/(?!en))"),
    Package("warmux-data", "GPL-2+", r"/(music|sound)/"),
    Package("warzone2100-data", "GPL-2+", r"audio/sfx/"),
    Package("wesnoth-1.16-data", "GPL-2+", r"/sounds/"),
    Package("widelands-data", "GPL-2+", r"/sound"),
    Package("xmoto-data", "GPL-2+", r"/Musics/"),
)


def fetch(folder: Path) -> None:
    """Extract the audio files of every package into `folder/<package>`; existing folders are not changed.

    Raises:
        MissingDependencyError: apt-get or dpkg-deb is not installed.
        subprocess.CalledProcessError: apt-get or dpkg-deb failed; the messages are on stderr.
    """
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise MissingDependencyError(
            "the sound effects cannot be downloaded",
            why="they come from Debian packages, and apt-get or dpkg-deb is not installed",
            fix="run this once on Debian and copy the cache folder",
        )
    for package in PACKAGES:
        if not (folder / package.name).exists():
            _fetch(package, folder)


def _fetch(package: Package, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        subprocess.run(["apt-get", "download", "-q", package.name], cwd=scratch, check=True)  # noqa: S603, S607
        (archive,) = Path(scratch).glob("*.deb")
        tree = Path(scratch) / "data.tar"
        with tree.open("wb") as out:
            subprocess.run(["dpkg-deb", "--fsys-tarfile", archive], stdout=out, check=True)  # noqa: S603, S607
        files = Path(scratch) / package.name
        files.mkdir()
        for path, content in _files(tree):
            if _SOUND_FILE.search(path) and re.search(package.pattern, path):
                # Flat, sanitized names: an archive's paths must not decide where files are written.
                (files / re.sub(r"[^\w.-]+", "_", path)[-120:].lstrip("._")).write_bytes(content.read())
        files.rename(folder / package.name)


def _files(tree: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the regular files of a package and of the archives inside it."""
    with tarfile.open(tree) as package:
        for member in package:
            content = package.extractfile(member) if member.isfile() else None
            if content is None:
                continue
            if not member.name.endswith(_ARCHIVE):
                yield member.name, content
                continue
            with zipfile.ZipFile(content) as archive:
                for name in archive.namelist():
                    with archive.open(name) as inner:
                        yield name, inner
