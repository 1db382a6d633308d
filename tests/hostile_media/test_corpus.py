from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from tests.hostile_media.corpus import Case, build
from var_plugin.api import Index
from var_plugin.errors import DecoderCrashedError, PlaylistError, VarPluginError
from var_plugin.media.sandbox import client as sandbox

MAX_SECONDS = 20.0


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    return build(tmp_path_factory.mktemp("corpus"))


def outcome(path: Path) -> int | VarPluginError:
    """Return the number of frames with motion images, or the error."""
    try:
        return sum(frame.motion is not None for frame in sandbox.Frames(path, size=(32, 32), motion=32))
    except VarPluginError as error:
        return error


def test_each_file_gives_its_frames_or_its_own_error(corpus: list[Case]) -> None:
    failures = []
    for case in corpus:
        started = time.monotonic()
        result = outcome(case.path)
        fits = result in (case.frames or ()) if isinstance(result, int) else isinstance(result, case.errors)
        explained = isinstance(result, int) or (result.fix and str(case.path) in str(result))
        if not fits or not explained or time.monotonic() - started > MAX_SECONDS:
            failures.append((case.path.name, result))
    assert not failures
    guide = (Path(__file__).parents[2] / "docs/media.md").read_text()
    assert f"decodes a corpus of {len(corpus)} damaged and unusual files" in guide
    playlists = sum(PlaylistError in case.errors for case in corpus)
    assert f"{playlists} playlists" in guide


def test_no_corpus_file_crashes_the_decoder(corpus: list[Case]) -> None:
    """The sandbox tolerates crashes, but the corpus should cause none."""
    for case in corpus:
        try:
            sandbox.probe(case.path)
            for _ in sandbox.decode_audio(case.path):
                pass
        except DecoderCrashedError:
            raise
        except VarPluginError:
            continue


def test_index_holds_exactly_the_readable_files(corpus: list[Case], index: Index) -> None:
    receipt = index.add([case.path for case in corpus])
    assert len(receipt.videos) == len(corpus)
    assert receipt.exit_code != 0
    for case, line in zip(corpus, receipt.videos, strict=True):
        if line.status == "failed":
            assert case.errors, case.path.name
            assert line.exit_code > 1, f"{case.path.name}: {line.reason}"
        else:
            assert case.frames, case.path.name
            assert line.verified == line.planned
            assert line.planned["scene"] >= 2 or line.status == "unchanged"
    readable = {line.video_id for line in receipt.videos if line.status != "failed"}
    assert {video.video_id for video in index.videos()} == readable


def test_playlist_opens_no_connection(tmp_path: Path) -> None:
    """A playlist with an address on this machine is not followed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.5)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/film.ts"
        for name, text in (
            ("a.mp4", f"#EXTM3U\n#EXTINF:9,\n{address}\n"),
            ("b.mkv", f"ffconcat version 1.0\nfile {address}\n"),
        ):
            path = tmp_path / name
            path.write_text(text)
            with pytest.raises(PlaylistError):
                list(sandbox.Frames(path))
        with pytest.raises(TimeoutError):
            server.accept()
