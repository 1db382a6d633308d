from __future__ import annotations

from pathlib import Path

import pytest

from var_plugin import doctor


def test_the_development_set_is_sound() -> None:
    assert [finding for finding in doctor.diagnose() if finding.problem] == []


def test_a_package_that_does_not_import_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A torchaudio that refuses to load, as PyPI's does beside a torch of another CUDA."""
    (tmp_path / "torchaudio").mkdir()
    (tmp_path / "torchaudio/__init__.py").write_text("raise RuntimeError('compiled with different CUDA versions')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    finding = doctor.run(next(check for check in doctor.checks() if check.package == "torchaudio"))
    assert finding.problem == "RuntimeError: compiled with different CUDA versions"
    assert finding.fix.startswith('pip install --force-reinstall "torch>=2.11,<2.15" "torchaudio>=2.11,<2.12"')


def test_the_cpu_build_is_mended_from_its_own_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda package: "2.13.0+cpu" if package == "torch" else "")
    (torch,) = [check for check in doctor.checks() if check.package == "torchaudio"]
    assert "https://download.pytorch.org/whl/cpu" in torch.fix


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda package: "")
    findings = doctor.diagnose()
    assert all(finding.problem == "not installed" for finding in findings)
    assert "gradio" not in {finding.package for finding in findings}, "optional packages may be absent"


def test_a_library_that_imports_but_cannot_decode_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As PyAV 19 was, which dropped an argument of `open`."""
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
    assert decodes.fix.startswith('pip install --force-reinstall "av>=15,<20"')
