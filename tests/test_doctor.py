from __future__ import annotations

import re
from pathlib import Path

import pytest

from var_plugin import doctor


def test_the_development_set_is_sound() -> None:
    assert [finding for finding in doctor.diagnose() if finding.problem] == []


def test_a_package_that_does_not_import_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A torchaudio that does not load, as PyPI's with a torch build for another CUDA version."""
    (tmp_path / "torchaudio").mkdir()
    (tmp_path / "torchaudio/__init__.py").write_text("raise RuntimeError('compiled with different CUDA versions')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    finding = doctor.run(next(check for check in doctor.checks() if check.package == "torchaudio"))
    assert finding.problem == "RuntimeError: compiled with different CUDA versions"
    assert re.fullmatch(r'pip install "torch.*<2.15.*" "torchaudio.*<2.12.*".* --force-reinstall', finding.fix)


def test_the_fix_of_the_cpu_build_uses_its_own_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda package: "2.13.0+cpu" if package == "torch" else "")
    (torch,) = [check for check in doctor.checks() if check.package == "torchaudio"]
    assert "https://download.pytorch.org/whl/cpu" in torch.fix


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda package: "")
    findings = doctor.diagnose()
    assert all(finding.problem == "not installed" for finding in findings)
    assert "gradio" not in {finding.package for finding in findings}, "optional packages may be absent"


def test_a_version_outside_the_tested_range_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        doctor, "requires", lambda name: ["av<20,>=15", "urllib3>=2.7", 'gradio<7,>=6.16; extra == "app"']
    )
    versions = {"av": "20.0.1", "urllib3": "2.6.3", "gradio": "6.16.0"}
    monkeypatch.setattr(doctor, "_version", lambda package: versions.get(package, ""))
    (newer,) = {doctor.run(check) for check in doctor.checks() if check.package == "av"}
    assert (newer.problem, newer.fix) == ("the tested versions are <20,>=15", 'pip install "av<20,>=15"')
    older = doctor.check_version("urllib3")
    assert older and older.fix == 'pip install "urllib3>=2.7"'
    assert doctor.check_version("gradio") is None
    assert doctor.check_version("not-required") is None


def test_a_library_that_imports_but_cannot_decode_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For example PyAV 19, which removed an argument of `open`."""
    (tmp_path / "sitecustomize.py").write_text("""
import av
real = av.open
def open_without_reading(file, mode="r", **options):
    if mode == "r":
        raise TypeError("open() got an unexpected keyword argument")
    return real(file, mode, **options)
av.open = open_without_reading
""")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    imports, decodes = [doctor.run(check) for check in doctor.checks() if check.package == "av"]
    assert imports.problem == ""
    assert decodes.problem == "TypeError: open() got an unexpected keyword argument"
    assert re.match(r'pip install "av.*>=15.*" --force-reinstall', decodes.fix)
