from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from tests.encoders.backbones.published import convert_random, random_weights, save_published, sha256_of
from var_plugin.cli import app
from var_plugin.config import settings
from var_plugin.encoders.convert import PUBLISHED, WEIGHTS, convert, load_network
from var_plugin.errors import InvalidInputError, MediaNotFoundError, MissingWeightsError


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model folder of the settings."""
    monkeypatch.setenv("VAR_PLUGIN_MODEL_DIR", str(tmp_path / "models"))
    settings.cache_clear()
    yield tmp_path / "models"
    settings.cache_clear()


@pytest.mark.parametrize("name", ["i3d-rgb", "i3d-flow", "vggish-pca"])
def test_a_converted_checkpoint_has_the_published_weights(models: Path, tmp_path: Path, name: str) -> None:
    assert convert_random(name, models, tmp_path) == models / name
    assert [path.name for path in (models / name).iterdir()] == [WEIGHTS]
    network = load_network(name, settings())
    assert not network.training
    state, expected = network.state_dict(), random_weights(name)
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], expected[key].float()) for key in state)


def test_batch_counters_are_omitted(models: Path, tmp_path: Path) -> None:
    path = tmp_path / "saved_again.pt"
    counters = {"Mixed_3b.b0.bn.num_batches_tracked": torch.tensor(3)}
    torch.save(random_weights("i3d-rgb") | counters, path)
    convert("i3d-rgb", path, settings().model_dir, sha256=sha256_of(path))
    assert load_network("i3d-rgb", settings()).state_dict().keys() == random_weights("i3d-rgb").keys()


@pytest.mark.parametrize("name", ["i3d-rgb", "i3d-flow"])
def test_a_pickle_without_a_trusted_sha256_is_not_read(models: Path, tmp_path: Path, name: str) -> None:
    path = save_published(name, tmp_path)
    with pytest.raises(MissingWeightsError, match=f"its sha256 is {sha256_of(path)}.*--sha256"):
        convert(name, path, settings().model_dir)
    with pytest.raises(MissingWeightsError, match="not trusted"):
        convert(name, path, settings().model_dir, sha256="0" * 64)
    assert not models.exists()


class CodeInPickle:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("/tmp/var-plugin-was-here"),)  # noqa: S108


def test_code_in_a_trusted_pickle_is_not_run(models: Path, tmp_path: Path) -> None:
    path = tmp_path / "rgb_imagenet.pt"
    torch.save({"logits.conv3d.bias": CodeInPickle()}, path)
    with pytest.raises(MissingWeightsError, match="not a checkpoint that contains weights only"):
        convert("i3d-rgb", path, settings().model_dir, sha256=sha256_of(path))


def test_weights_of_another_network_are_refused(models: Path, tmp_path: Path) -> None:
    """Key and shape mismatches would leave layers at random, without an error."""
    path = save_published("i3d-flow", tmp_path)
    with pytest.raises(MissingWeightsError, match=r"1 tensors differ, for example Conv3d_1a_7x7.*\(64, 2, 7, 7, 7\)"):
        convert("i3d-rgb", path, settings().model_dir, sha256=sha256_of(path))
    wrapped = tmp_path / "wrapped.pt"
    torch.save({f"module.{key}": value for key, value in random_weights("i3d-rgb").items()}, wrapped)
    with pytest.raises(MissingWeightsError, match="574 tensors differ"):
        convert("i3d-rgb", wrapped, settings().model_dir, sha256=sha256_of(wrapped))


@pytest.mark.parametrize("change", ["missing", "more", "shape"])
def test_converted_weights_are_checked_on_loading(models: Path, tmp_path: Path, change: str) -> None:
    path = convert_random("vggish-pca", models, tmp_path) / WEIGHTS
    tensors = load_file(path)
    if change == "missing":
        del tensors["pca_means"]
    elif change == "more":
        tensors["more"] = torch.zeros(1)
    else:
        tensors["pca_means"] = torch.zeros(127)
    save_file(tensors, path)
    with pytest.raises(MissingWeightsError, match="1 tensors differ"):
        load_network("vggish-pca", settings())


def test_the_command_converts_a_checkpoint(models: Path, tmp_path: Path) -> None:
    path = save_published("vggish-pca", tmp_path)
    run = CliRunner().invoke(app, ["convert", "vggish-pca", str(path), "--sha256", sha256_of(path).upper()])
    assert run.exit_code == 0 and run.stdout.strip() == str(models / "vggish-pca")
    assert (models / "vggish-pca" / WEIGHTS).is_file()


@pytest.mark.parametrize("name", PUBLISHED)
def test_missing_weights_name_the_command_that_creates_them(models: Path, name: str) -> None:
    with pytest.raises(MissingWeightsError, match=f"run: var-plugin convert {name} {PUBLISHED[name].file}"):
        load_network(name, settings())


def test_invalid_arguments_are_refused(models: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="choose from i3d-rgb"):
        convert("resnet", tmp_path, settings().model_dir)
    with pytest.raises(MediaNotFoundError, match="torchvggish"):
        convert("vggish", tmp_path / "nothing.pth", settings().model_dir)
