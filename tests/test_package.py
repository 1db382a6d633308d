"""The package as it is installed: names, weight of the import, wheel and sdist, links at the top of the repository."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import var_plugin
from tests.films import Film
from var_plugin import errors

ROOT = Path(__file__).parents[1]
LINKS = ("encoders", "retrievers", "app")


def python(*words: str, **more: object) -> str:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True, **more).stdout


def test_importing_the_package_loads_no_heavy_library() -> None:
    heavy = "{'torch', 'transformers', 'gradio', 'pymilvus', 'langchain_core', 'av', 'numpy', 'pydantic'}"
    assert python("-c", f"import sys, var_plugin; print({heavy} & set(sys.modules))") == "set()\n"


def test_the_sandbox_starts_without_pydantic() -> None:
    """It validates nothing, and pydantic takes half of its start."""
    script = "import sys, var_plugin.media.sandbox.worker; print({'pydantic', 'torch', 'pymilvus'} & set(sys.modules))"
    assert python("-c", script) == "set()\n"


def test_indexing_and_searching_with_lite_needs_no_extra_and_no_transformers(film: Film, tmp_path: Path) -> None:
    """SciPy and scikit-learn belong to extras. Only the sentences of the caption memory are embedded with transformers,
    once per machine.
    """
    suite = var_plugin.load_suite("lite")
    for space in suite.spaces:
        suite.caption_memory(space)
    path = film(seconds=2, fps=5, tone=440.0)
    script = (
        "import sys, var_plugin\n"
        f"with var_plugin.open_index({str(tmp_path / 'index.db')!r}, suite='lite') as index:\n"
        f"    assert index.add({str(path)!r}).ok and index.search('a red car')\n"
        "print(sorted({'transformers', 'torch', 'scipy', 'sklearn'} & set(sys.modules)))"
    )
    assert python("-c", script) == "['torch']\n"


def test_every_public_name_exists() -> None:
    assert set(var_plugin.__all__) <= set(dir(var_plugin))
    for name in var_plugin.__all__:
        assert getattr(var_plugin, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = var_plugin.nothing


def test_an_error_is_one_line() -> None:
    error = errors.StoreError("it broke.", why="a\n  long\nstory.", fix="mend it")
    assert str(error) == "it broke: a long story; mend it"


@pytest.mark.parametrize("link", LINKS)
def test_links_point_into_the_package(link: str) -> None:
    """The links only help readers. A checkout without them must work."""
    path = ROOT / link
    if path.is_symlink():
        assert path.readlink() == Path("var_plugin") / link
    else:
        assert not path.exists()


def repository_files() -> list[str]:
    """Return the files under version control, or all files of an unpacked sdist."""
    if not (ROOT / ".git").exists():
        return [str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if "__pycache__" not in path.parts]
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return list(filter(None, files.split("\0")))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, and the wheel that is built from it, of a checkout whose links are gone."""
    folder = tmp_path_factory.mktemp("built")
    for name in repository_files():
        if name not in LINKS and (ROOT / name).is_file():
            target = folder / "checkout" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    python("-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), str(folder / "checkout"))
    return folder / "dist"


def test_wheel_and_sdist_hold_the_package_and_no_links(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"var_plugin/py.typed", "var_plugin/encoders/lite/weights/scene.safetensors"} <= names
    assert {name.split("/")[0] for name in names} == {"var_plugin", wheel.name.rsplit("-py3", 1)[0] + ".dist-info"}
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        top = {name.split("/")[1] for name in archive.getnames() if "/" in name}
    assert {"var_plugin", "tests", "pyproject.toml", "LICENSE", "README.md"} <= top
    assert not top & set(LINKS)


def test_the_sdist_holds_the_files_that_its_tests_read(built: Path, tmp_path: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    missing = [
        name for name in repository_files() if not Path(name).name.startswith(".") and not (unpacked / name).exists()
    ]
    assert [name for name in missing if name not in LINKS] == []
    own = {**os.environ, "PYTHONPATH": str(unpacked)}
    readers = ("tests/test_deploy.py", "tests/test_docs.py", "tests/test_readme.py", "tests/app/test_space.py")
    words = ("-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", *readers)
    assert "tests collected" in python(*words, cwd=unpacked, env=own)


def test_the_wheel_works_outside_the_checkout(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    python("-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path / "site"), str(wheel))
    script = "import var_plugin as vp; print(vp.__file__); print(vp.load_suite('lite').encode('text', ['a dog']).shape)"
    home, shape = python(
        "-c", script, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    ).splitlines()
    assert home == str(tmp_path / "site" / "var_plugin" / "__init__.py")
    assert shape.startswith("(1, ")


def test_the_linter_sees_every_file() -> None:
    """Excluding the links at the top of the repository must not exclude the packages of the same names."""
    checked = set(python("-m", "ruff", "check", "--show-files", str(ROOT)).splitlines())
    files = {str(file) for folder in ("var_plugin", "tests") for file in (ROOT / folder).rglob("*.py")}
    assert files <= checked
    assert not any(ROOT / link in Path(file).parents for link in LINKS for file in checked)
