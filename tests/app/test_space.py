"""The folder of the Hugging Face Space, started as a subprocess."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace
from importlib.metadata import distribution
from pathlib import Path

import httpx
from packaging.requirements import Requirement

from var_plugin.api import Index, open_index
from var_plugin.app.serve import running_page
from var_plugin.app.space import space_options
from var_plugin.demo.footage import script_hash
from var_plugin.demo.run import DemoReport
from var_plugin.demo.script import CAMERAS

ROOT = Path(__file__).parents[2]
SPACE = ROOT / "examples" / "huggingface_space"


def test_the_folder_is_a_valid_space() -> None:
    assert len((SPACE / "app.py").read_text().splitlines()) <= 30
    front = re.match(r"---\n(.*?)\n---\n", (SPACE / "README.md").read_text(), re.S)
    assert front
    settings = dict(line.split(": ", 1) for line in front[1].splitlines())
    assert settings["sdk"] == "gradio"
    assert (SPACE / settings["app_file"]).is_file()
    assert distribution("gradio").version == settings["sdk_version"]
    assert tuple(map(int, settings["python_version"].strip('"').split("."))) >= (3, 11)
    assert len(settings["short_description"]) <= 60


def test_its_requirements_match_the_installed_versions() -> None:
    lines = [line for line in (SPACE / "requirements.txt").read_text().splitlines() if not line.startswith("--")]
    requirements = [Requirement(line) for line in lines]
    for requirement in requirements:
        installed = distribution(requirement.name)
        assert installed.version in requirement.specifier
        assert requirement.extras <= set(installed.metadata.get_all("Provides-Extra") or ())


def test_the_space_starts_and_serves_the_page(demo: tuple[Path, DemoReport], tmp_path: Path) -> None:
    """Run the Space in a copy of its folder. Footage and index exist already, to save time."""
    copied = tmp_path / "space"
    shutil.copytree(SPACE, copied)
    footage = tmp_path / "var-plugin" / "footage"
    footage.mkdir(parents=True)
    for file in (*demo[0].glob("*.mp4"), demo[0] / "manifest.json"):
        shutil.copy(file, footage)
    shutil.copytree(demo[0] / "index.db", footage.parent / "index.db")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VAR_PLUGIN_")}
    environment |= {"TMPDIR": str(tmp_path), "GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1"}
    environment["PYTHONPATH"] = str(ROOT)
    running = subprocess.Popen([sys.executable, "app.py"], cwd=copied, env=environment)
    try:
        address = f"http://127.0.0.1:{port}"
        assert _answers(address, running), "the page does not come up"
        assert "Find the moment" in httpx.get(f"{address}/config").text
        assert httpx.get(f"{address}/gradio_api/info").json()["named_endpoints"] == {}
        assert '"vp-add"' not in httpx.get(f"{address}/config").text, "visitors cannot add footage"
    finally:
        running.terminate()
        running.wait()
    with open_index(tmp_path / "var-plugin" / "index.db") as index:
        assert {Path(video.uri).parent for video in index.videos()} == {footage}, (
            "the index has the footage of its folder"
        )


def test_a_space_without_demo_videos_exits_with_the_reasons(tmp_path: Path) -> None:
    """The manifest matches, but no file is a valid video."""
    copied = tmp_path / "space"
    shutil.copytree(SPACE, copied)
    footage = tmp_path / "var-plugin" / "footage"
    footage.mkdir(parents=True)
    (footage / "manifest.json").write_text(json.dumps({"script": script_hash(CAMERAS)}))
    for camera in CAMERAS:
        (footage / f"{camera.name}.mp4").write_bytes(b"no video")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VAR_PLUGIN_")}
    environment |= {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "app.py"], cwd=copied, env=environment, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "no demo video could be indexed" in ended.stderr
    assert ended.stdout.count("failed: ") == len(CAMERAS)
    assert "Traceback" not in ended.stderr


def test_the_page_of_a_space_lists_failed_videos(two_cameras: Index) -> None:
    options = space_options(["north.mp4: cannot <read> it"], 4, {"SPACE_HOST": "ours-find.hf.space"})
    assert (options.read_only, options.open_to_all, options.allowed_hosts) == (True, True, ("ours-find.hf.space",))
    with running_page(two_cameras, replace(options, host="127.0.0.1", port=None)) as address:
        page = httpx.get(f"{address}config", headers={"Host": "ours-find.hf.space"}).json()
    notices = [part for part in page["components"] if part["props"].get("elem_id") == "vp-notice"]
    assert "1 of 4 demo videos could not be indexed: north.mp4: cannot &lt;read&gt; it" in str(notices)


def _answers(address: str, running: subprocess.Popen[bytes], seconds: float = 400) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until and running.poll() is None:
        try:
            return httpx.get(address).status_code == 200
        except httpx.TransportError:
            time.sleep(1)
    return False
