from __future__ import annotations

import os
from pathlib import Path

import pytest

from var_plugin.config import settings
from var_plugin.media.cache import MediaCache, media_cache


def put(cache: MediaCache, video: str, name: str, size: int, last_used: float) -> Path:
    path = cache.video_folder(video) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (last_used, last_used))
    return path


@pytest.fixture
def cache(tmp_path: Path) -> MediaCache:
    return MediaCache(tmp_path / "cache", 1000)


def test_least_recently_used_files_are_deleted(cache: MediaCache) -> None:
    files = [put(cache, f"video-{number % 2}", f"{number}.jpg", 300, number) for number in range(3)]
    cache.add(files[2])
    assert all(file.exists() for file in files)
    assert cache.use(files[0])
    newest = put(cache, "video-0", "clip.mp4", 300, 3)
    cache.add(newest)
    assert [file.exists() for file in [*files, newest]] == [True, False, True, True]
    assert not cache.use(files[1])


def test_many_files_do_not_exceed_the_quota(cache: MediaCache) -> None:
    for number in range(200):
        cache.add(put(cache, "video", f"{number}.jpg", 30, number))
        assert sum(file.stat().st_size for file in cache.folder.glob("*/*")) <= 1000


def test_files_of_other_processes_count(cache: MediaCache, tmp_path: Path) -> None:
    other = MediaCache(tmp_path / "cache", 1000)
    for number in range(100):
        writer = (cache, other)[number % 2]
        writer.add(put(writer, "video", f"{number}.jpg", 30, number))
    # Each process may miss files that others wrote since it last measured the folder.
    assert sum(file.stat().st_size for file in cache.folder.glob("*/*")) <= 1250


def test_newest_file_is_kept_even_above_the_quota(cache: MediaCache) -> None:
    small = put(cache, "video", "small.jpg", 10, 1)
    large = put(cache, "video", "large.mp4", 5000, 2)
    cache.add(large)
    assert large.exists()
    assert not small.exists()
    cache.add(put(cache, "video", "next.jpg", 10, 3))
    assert not large.exists()


def test_abandoned_files_are_deleted_and_files_being_written_are_kept(cache: MediaCache) -> None:
    abandoned = put(cache, "video", ".1234.clip.mp4", 10, 1)
    temporary = put(cache, "video", ".5678.clip.mp4", 10, 4_000_000_000)
    cache.add(put(cache, "video", "1.jpg", 10, 2))
    assert not abandoned.exists()
    assert temporary.exists()


def test_files_outside_the_cache_are_not_deleted(cache: MediaCache, tmp_path: Path) -> None:
    outside = tmp_path / "outside" / "film.mp4"
    outside.parent.mkdir()
    outside.write_bytes(bytes(5000))
    cache.folder.mkdir()
    (cache.folder / "linked").symlink_to(outside.parent)
    (cache.folder / "note.txt").write_text("text")
    cache.add(put(cache, "video", "1.jpg", 1000, 1))
    cache.add(put(cache, "video", "2.jpg", 1000, 2))
    assert outside.exists()
    assert (cache.folder / "note.txt").exists()


def test_all_writers_share_one_cache(small_cache: Path) -> None:
    assert media_cache(settings()) is media_cache(settings())
    assert media_cache(settings()).folder == small_cache
