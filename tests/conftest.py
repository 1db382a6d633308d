"""Shared fixtures: an isolated home, generated videos, an index with the suite of colours."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings as hypothesis_settings

from tests.colors import color_suite, install_colors
from tests.films import Film
from var_plugin.api import Index, open_index
from var_plugin.demo.run import DemoReport, run_demo

ROOT = Path(__file__).parents[1]

# A shell that starts the tests in the background has SIGINT ignored in them and in every process that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Machines are shared and slow at times; no test depends on the wall clock.
hypothesis_settings.register_profile("default", deadline=None)
hypothesis_settings.load_profile("default")


# The files that take longest, in the order in which they start. `--dist loadfile` gives whole files to workers, so a
# long file that starts last leaves the other workers without work. The demo is first, because other files wait for it.
LONGEST = (
    "test_end_to_end.py",
    "browser/test_clicks.py",
    "browser/test_asking.py",
    "media/sandbox/test_client.py",
    "watch/test_watcher.py",
    "test_network.py",
    "test_config.py",
    "recipes/lite/test_lite_scene.py",
    "test_readme.py",
    "recipes/lite/test_lite_audio.py",
    "recipes/lite/test_audio_weights.py",
    "test_doctor.py",
    "index/test_processes.py",
    "encoders/test_alan_i3d.py",
    "crash/test_faults.py",
    "test_package.py",
    "app/test_space.py",
    "browser/test_footage.py",
    "browser/test_demo.py",
    "hostile_media/test_fuzz.py",
    "hostile_media/test_corpus.py",
    "recipes/lite/test_audio_cross_validation.py",
    "recipes/lite/test_lite_alan.py",
    "test_cli.py",
    "watch/test_rtsp.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first."""
    order = {ROOT / "tests" / name: place for place, name in enumerate(LONGEST)}
    assert all(path.is_file() for path in order), "a file of LONGEST was renamed"
    items.sort(key=lambda item: order.get(item.path, len(order)))


@pytest.fixture(scope="session", autouse=True)
def isolated_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Isolate tests from the caches and the default index of the user. Converted weights are shared."""
    from var_plugin.config import settings

    home = tmp_path_factory.mktemp("home")
    before = dict(os.environ)
    os.environ["VAR_PLUGIN_INDEX"] = str(home / "index.db")
    os.environ["VAR_PLUGIN_CACHE"] = str(home / "cache")
    os.environ["VAR_PLUGIN_DATA"] = str(home / "data")
    settings.cache_clear()
    yield home
    os.environ.clear()
    os.environ.update(before)
    settings.cache_clear()


@pytest.fixture
def small_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of thumbnails and clips, with room for no more than the newest file."""
    from var_plugin.config import settings

    monkeypatch.setenv("VAR_PLUGIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VAR_PLUGIN_CACHE_BYTES", "1")
    settings.cache_clear()
    yield tmp_path / "cache" / "thumbnails"
    monkeypatch.undo()
    settings.cache_clear()


@pytest.fixture
def film(tmp_path: Path) -> Film:
    """Writes videos to the folder of the test."""
    return Film(tmp_path)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    """An empty index on Milvus Lite with the suite of colours."""
    with open_index(tmp_path / "index.db", suite=color_suite()) as opened:
        yield opened


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DemoReport]:
    """The whole demo with the real `lite` suite: a folder of this process alone, and what came out.

    It takes a minute and more, so of several workers of pytest-xdist one runs it and the others copy what it made.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, receipt_file = shared / "demo-made", shared / "demo-made.json"
    with FileLock(shared / "demo-made.lock"):
        if not receipt_file.exists():
            receipt_file.write_text(run_demo(folder, log=print).model_dump_json())
    own = tmp_path_factory.mktemp("demo")
    shutil.copytree(folder, own, dirs_exist_ok=True)
    return own, DemoReport.model_validate_json(receipt_file.read_text())


@pytest.fixture
def installed_colors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Install the suite of colours as a package would, for this process and those it starts; its name."""
    site = install_colors(tmp_path / "site")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(site)]))
    return "colors"
