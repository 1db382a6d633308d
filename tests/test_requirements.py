"""The locked packages in `requirements/`, and the script that installs them."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FOLDER = Path(__file__).parents[1] / "requirements"
LOCKS = ("dev", "demo", "server")
PROJECT: dict[str, Any] = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("install", FOLDER / "install.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def pins(script: ModuleType, name: str) -> dict[str, str]:
    """Read the version of each package in a lock, by canonical name."""
    matches = (re.match(r"([\w.-]+)==(\S+)", entry) for entry in script.entries((FOLDER / f"{name}.txt").read_text()))
    return {str(canonicalize_name(match[1])): match[2] for match in matches if match}


def requirements(extra: str) -> list[Requirement]:
    """Return the dependencies of the package with an extra, and with the extras that it names."""
    texts = PROJECT["dependencies"] + PROJECT["optional-dependencies"][extra]
    parsed = [Requirement(text) for text in texts]
    nested = [other for one in parsed if one.name == PROJECT["name"] for other in sorted(one.extras)]
    return [one for one in parsed if one.name != PROJECT["name"]] + [r for other in nested for r in requirements(other)]


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_a_version_and_digests(script: ModuleType, name: str) -> None:
    entries = script.entries((FOLDER / f"{name}.txt").read_text())
    assert len(entries) > 80
    for entry in entries:
        first, *digests = entry.replace("\\\n", "\n").splitlines()
        assert re.match(r"[\w.-]+==\S+", first)
        assert digests and all(re.fullmatch(r"\s*--hash=sha256:[0-9a-f]{64}\s*", line) for line in digests)


@pytest.mark.parametrize("name", LOCKS)
def test_locked_versions_are_those_of_the_project(script: ModuleType, name: str) -> None:
    """After a change of the dependencies, `make lock` must be run."""
    locked = pins(script, name)
    assert locked.items() <= pins(script, "dev").items(), "one version of a package in all files"
    for requirement in requirements(name):
        if not requirement.marker or requirement.marker.evaluate(dict(default_environment())):
            assert requirement.specifier.contains(locked[str(canonicalize_name(requirement.name))]), str(requirement)


def test_other_builds_of_pytorch_replace_its_locked_packages(script: ModuleType, tmp_path: Path) -> None:
    torch, others = script.locked_steps("demo", "https://example.org/cpu", tmp_path / "locked.txt")
    assert [word.split("==")[0] for word in torch.arguments if "==" in word] == ["torch", "torchaudio"]
    remaining = (tmp_path / "locked.txt").read_text()
    assert not re.search(r"^(torch|torchaudio|triton|nvidia-\S+|cuda-\S+)==", remaining, re.MULTILINE)
    assert "--require-hashes" in others.arguments and "\nnumpy==" in remaining


def test_progress_shows_packages_and_gigabytes(script: ModuleType) -> None:
    step = script.Step("packages", (), packages=120)
    step.read("Collecting numpy==2.4.6 (from -r locked.txt (line 7))\n")
    assert step.state == "package 1 of 120, 0.0 GB downloaded"
    step.read("Collecting torch==2.14.1\n")
    step.read("  Downloading torch-2.14.1-cp311-cp311-manylinux_2_28_x86_64.whl (899.5 MB)\n")
    assert step.state == "package 2 of 120, 0.0 GB downloaded, now torch-2.14.1 of 899.5 MB"
    step.read("Collecting typer==0.29.2\n")
    assert step.state == "package 3 of 120, 0.9 GB downloaded"


def test_no_test_or_example_uses_the_chroma_server() -> None:
    """It runs untrusted code before authentication (CVE-2026-45829), and no release has the fix."""
    files = [path for name in ("tests", "examples", "benchmarks") for path in (FOLDER.parent / name).rglob("*.py")]
    server = re.compile(r"HttpClient\(|chromadb\.(app|server)|\bchroma\W+run\b")
    assert [path for path in files if server.search(path.read_text()) and path != Path(__file__)] == []


WHEEL = "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
BACKEND = f"""
import zipfile

def build_editable(folder, settings=None, metadata=None):
    with zipfile.ZipFile(folder + "/thing-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: thing\\nVersion: 1.0\\n")
        wheel.writestr("thing-1.0.dist-info/WHEEL", "{WHEEL}")
        wheel.writestr("thing-1.0.dist-info/RECORD", "")
    return "thing-1.0-py3-none-any.whl"
"""


def test_a_package_with_another_digest_is_not_installed(tmp_path: Path) -> None:
    folder = tmp_path / "project" / "requirements"
    folder.mkdir(parents=True)
    shutil.copy(FOLDER / "install.py", folder)
    (tmp_path / "project/backend.py").write_text(BACKEND)
    (tmp_path / "project/pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    wheel = tmp_path / "small-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("small.py", "")
        archive.writestr("small-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: small\nVersion: 1.0\n")
        archive.writestr("small-1.0.dist-info/WHEEL", WHEEL.replace("\\n", "\n"))
        archive.writestr("small-1.0.dist-info/RECORD", "")

    def install(digest: str) -> subprocess.CompletedProcess[str]:
        (folder / "demo.txt").write_text(f"# by hand\nsmall==1.0 \\\n    --hash=sha256:{digest}\n")
        command = [sys.executable, str(folder / "install.py"), "demo", "--venv", str(tmp_path / "venv")]
        environment = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    other = install("0" * 64)
    assert other.returncode == 1
    assert "DO NOT MATCH THE HASHES" in other.stderr
    assert other.stderr.endswith(f"The full output of pip is in {tmp_path / 'venv/install.log'}\n")
    right = install(hashlib.sha256(wheel.read_bytes()).hexdigest())
    assert right.returncode == 0, right.stderr
    # On a slow machine, each step also prints its state every 30 seconds.
    first, second = (line for line in right.stdout.splitlines() if ": done" in line)
    assert first.startswith("[1/2] packages: done") and second.startswith("[2/2] var-plugin: done")
    assert "small-1.0" in "".join(path.name for path in (tmp_path / "venv").rglob("small-1.0*"))
