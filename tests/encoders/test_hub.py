"""A model with its own code is refused before the code can run."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import var_plugin
from tests.encoders.backbones.tiny import save_clip
from var_plugin.config import settings
from var_plugin.encoders.hub import Checkpoint
from var_plugin.encoders.registry import load_suite
from var_plugin.errors import InvalidInputError
from var_plugin.retrievers.rerank import load_reranker

PACKAGE = Path(var_plugin.__file__).parent
CODE = "import pathlib\npathlib.Path(__file__).with_name('was_run').touch()\nclass Model: pass\nclass Config: pass\n"


def write(folder: Path, file: str, content: object) -> Path:
    """Write a model folder whose file names the classes of `own.py`."""
    folder.mkdir(parents=True)
    (folder / "own.py").write_text(CODE)
    save_file({"x": np.zeros(1, np.float32)}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "clip"}))
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_text(json.dumps(content))
    return folder


AUTO_MAP = {"auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model", "AutoTokenizer": "own.Model"}}
BRINGS_CODE = {
    "unknown kind": ("config.json", {"model_type": "own", **AUTO_MAP}),
    "known kind": ("config.json", {"model_type": "clip", **AUTO_MAP}),
    "tokenizer": ("tokenizer_config.json", AUTO_MAP),
    "processor": ("preprocessor_config.json", AUTO_MAP),
    "part of the model": ("0_Transformer/config.json", {"model_type": "own", **AUTO_MAP}),
    "module": ("modules.json", [{"idx": 0, "name": "0", "path": "", "type": "own.Model"}]),
    "module of another package": ("modules.json", [{"idx": 0, "name": "0", "path": "", "type": "os.path.Model"}]),
}


@pytest.mark.parametrize("brings", BRINGS_CODE)
@pytest.mark.parametrize("suite", ["clip", "siglip2", "xclip", "pe-av", "sentence-transformers"])
def test_a_model_with_code_is_refused(tmp_path: Path, suite: str, brings: str) -> None:
    folder = write(tmp_path / "model", *BRINGS_CODE[brings])
    with pytest.raises(InvalidInputError, match="brings code of its own"):
        load_suite(f"{suite}:{folder}").encode("text", ["hello"])
    assert not (folder / "was_run").exists()


def test_a_reranker_with_code_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", "processor_config.json", AUTO_MAP)
    with pytest.raises(InvalidInputError, match="brings code of its own"):
        load_reranker(str(folder)).score("a car", [np.zeros((8, 8, 3), np.uint8)], fps=1.0)


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000, b""])
def test_an_invalid_configuration_is_a_model_error(tmp_path: Path, content: bytes) -> None:
    folder = save_clip(tmp_path / "model")
    (folder / "config.json").write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"config\.json as JSON"):
        load_suite(f"clip:{folder}")


@pytest.mark.parametrize("content", [{"model_type": "unheard-of"}, {}, {"model_type": ["clip"]}, []])
def test_a_model_of_an_unknown_kind_is_refused(tmp_path: Path, content: object) -> None:
    folder = save_clip(tmp_path / "model")
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(InvalidInputError, match="cannot read the configuration"):
        _ = Checkpoint(str(folder)).config


LOADERS = {"SentenceTransformer", "pipeline"}
OWN_CLASSES = {"AlanConfig", "AlanModel", "AlanProcessor", "ResidualAlanModel"}
"""They run no code of a model: the loaders of transformers that they call are checked here as well."""


def test_every_loader_refuses_code_from_a_model() -> None:
    """Without `trust_remote_code`, transformers would ask on the terminal."""
    calls = [
        (path.name, call)
        for path in PACKAGE.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
    ]
    loading = [(name, call) for name, call in calls if _loads(call.func)]
    assert len(loading) >= 8
    for name, call in loading:
        refusal = {keyword.arg: keyword.value for keyword in call.keywords}.get("trust_remote_code")
        assert isinstance(refusal, ast.Constant), f"{name}:{call.lineno}"
        assert refusal.value is False, f"{name}:{call.lineno}"


def _loads(function: ast.expr) -> bool:
    if isinstance(function, ast.Name):
        return function.id in LOADERS
    if not isinstance(function, ast.Attribute):
        return False
    owner = function.value.id if isinstance(function.value, ast.Name) else ""
    if function.attr == "from_config":
        return owner.startswith("Auto")
    return function.attr == "from_pretrained" and owner not in OWN_CLASSES


@pytest.mark.parametrize(
    ("file", "content"),
    [("model.safetensors", b"damaged"), ("tokenizer.json", b"{}"), ("preprocessor_config.json", None)],
)
def test_damaged_and_missing_files_are_model_errors(tmp_path: Path, file: str, content: bytes | None) -> None:
    folder = save_clip(tmp_path / "model")
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    checkpoint = Checkpoint(str(folder), options=settings())
    with pytest.raises(InvalidInputError, match="cannot load the model in"):
        _ = checkpoint.tokenizer(), checkpoint.processor("AutoImageProcessor"), checkpoint.model()


def test_a_damaged_model_of_sentence_transformers_is_a_model_error(tmp_path: Path) -> None:
    (save_clip(tmp_path / "model") / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(InvalidInputError, match="cannot load the model in"):
        load_suite(f"sentence-transformers:{tmp_path / 'model'}")
