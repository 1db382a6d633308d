"""The documentation site builds without a warning, and the files for GitHub follow its schemas."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*command: str) -> None:
    result = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    run("mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path))
    assert "var-plugin search" in (tmp_path / "reference" / "cli" / "index.html").read_text()
    assert "open_index" in (tmp_path / "reference" / "python" / "index.html").read_text()


@pytest.mark.parametrize(
    ("schema", "pattern"), [("github-workflows", "workflows/*.yml"), ("github-issue-forms", "ISSUE_TEMPLATE/[!c]*.yml")]
)
def test_files_for_github_follow_their_schema(schema: str, pattern: str) -> None:
    files = [str(file) for file in sorted((ROOT / ".github").glob(pattern))]
    assert files
    run("check_jsonschema", "--builtin-schema", f"vendor.{schema}", *files)
