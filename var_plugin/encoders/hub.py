"""Pretrained models from a local folder or from the Hugging Face Hub.

Only safetensors are loaded. Code of a repository is never run, and a model that needs such code is rejected. A name is
resolved as a folder, then below the folder of models, then on the Hub. The Hub uses its local cache
first; `HF_HUB_OFFLINE=1` disables network access.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from var_plugin.config import ModelOptions
from var_plugin.errors import InvalidInputError, MissingWeightsError, os_error_message

if TYPE_CHECKING:
    import torch

# Prefix of training checkpoints, which are not part of the final model.
_TRAINING_STATE = "checkpoint-"
# File that peft saves with an adapter, and the part of a weight name that marks adapter weights.
_ADAPTER, _LORA = "adapter_config.json", "lora_"
# Where a model names custom classes: a configuration key of transformers, a file of sentence-transformers.
_CONFIGURATIONS, _CODE_KEY = "*config*.json", "auto_map"
_MODULES_FILE, _MODULES_PACKAGE = "modules.json", "sentence_transformers."


@dataclass(frozen=True)
class Layout:
    """The files of a model that affect its vectors, as patterns. Pickles and code are excluded."""

    files: tuple[str, ...]
    weights: str
    """A file that must exist."""
    saved_by: str
    """The function that saves these files."""
    excluded: tuple[str, ...] = ()
    """Files that match, but belong to another library."""

    def find(self, folder: Path) -> list[Path]:
        """Return the files below a folder, sorted."""
        paths = {path for pattern in self.files for path in folder.rglob(pattern)}
        return sorted(path for path in paths if not any(path.match(pattern) for pattern in self.excluded))


LayoutName = Literal["transformers", "open_clip"]
# A repository may hold a model in both layouts.
_LAYOUTS: dict[LayoutName, Layout] = {
    "transformers": Layout(
        ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"),
        weights="*.safetensors",
        saved_by="save_pretrained",
        excluded=("open_clip*",),
    ),
    "open_clip": Layout(
        (
            "open_clip_config.json", "open_clip_model.safetensors", "tokenizer*.json", "special_tokens_map.json",
            "added_tokens.json", "vocab.*", "merges.txt", "*.model",
        ),
        weights="open_clip_model.safetensors",
        saved_by="save_for_hf of open_clip",
    ),
}  # fmt: skip


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long, or a folder of another user
        return False


@dataclass(frozen=True)
class Checkpoint:
    """A pretrained model: `organisation/name`, `organisation/name@revision` or a folder."""

    name: str
    install_hint: str = ""
    """Fix shown if a model that is not on the Hub is missing. MODELS is replaced by the folder of models."""
    options: ModelOptions = field(default_factory=ModelOptions, repr=False, compare=False)
    """Folder of models, device and dtype."""
    layout: LayoutName = "transformers"
    """Which files of the folder belong to the model."""

    @cached_property
    def folder(self) -> Path:
        """Folder with the files of the model. It is downloaded from the Hub if it is not found locally.

        Raises:
            MissingWeightsError: the model is not found, has no safetensors, or has an adapter that would be ignored.
            InvalidInputError: the model needs its own code, or a configuration is not JSON.
        """
        repository, _, revision = self.name.partition("@")
        places = [Path(self.name), self.options.model_dir / repository]
        folder = next(filter(_is_folder, places), None)
        if folder is None and self.install_hint:
            raise MissingWeightsError(
                f"the model '{self.name}' is missing",
                why=f"it is neither a local folder nor a model in {self.options.model_dir}",
                fix=self.install_hint.replace("MODELS", str(self.options.model_dir)),
            )
        layout = _LAYOUTS[self.layout]
        folder = folder or _fetched(repository, revision or "main", layout)
        if not any(folder.rglob(layout.weights)):
            raise MissingWeightsError(
                f"{folder} contains no {layout.weights.removeprefix('*.')} file",
                why="other formats can run code while they are loaded",
                fix=f"save the model with {layout.saved_by}, or choose another revision: NAME@REVISION",
            )
        if any(folder.rglob(_ADAPTER)):
            raise _adapter(folder, _ADAPTER)
        _check_code(folder)
        return folder

    @property
    def pinned(self) -> str:
        """Name with the commit on the Hub, or the absolute path of a local folder.

        Raises:
            MissingWeightsError: as `folder`.
        """
        # Layout of the Hub's cache: models--organisation--name/snapshots/commit.
        if _is_folder(Path(self.name)):
            return str(Path(self.name).absolute())
        if self.folder.parent.name != "snapshots":
            return self.name
        return f"{self.name.partition('@')[0]}@{self.folder.name}"

    @cached_property
    def fingerprint(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 over all files that affect the vectors."""
        digest = hashlib.sha256()
        for path in _LAYOUTS[self.layout].find(self.folder):
            inside = path.relative_to(self.folder)
            if inside.parts[0].startswith(_TRAINING_STATE):
                continue
            digest.update(str(inside).encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()[:16]

    @cached_property
    def config(self) -> Any:
        """The model's configuration object of transformers.

        Raises:
            MissingWeightsError: as `folder`.
            InvalidInputError: transformers does not support the model.
        """
        from transformers import AutoConfig

        try:
            return AutoConfig.from_pretrained(self.folder, local_files_only=True, trust_remote_code=False)
        except (KeyError, OSError, TypeError, ValueError) as error:
            raise InvalidInputError(
                f"cannot read the configuration of {self.folder}",
                why=str(error).partition("\n")[0],
                fix="choose a model that the installed transformers supports",
            ) from error

    def model(self, kind: str = "AutoModel") -> Any:
        """Load the network for inference, on the device and in the dtype of the options. Raises as `load`.

        The whole network is loaded with AutoModel, so unused weights are an error. Networks of other classes may come
        with further heads.
        """
        import torch

        network = self.load(kind, exact=kind == "AutoModel", dtype=getattr(torch, self.options.dtype))
        return network.eval().to(device(self.options))

    def load(self, kind: str = "AutoModel", *, without: str | None = None, exact: bool = False, **options: Any) -> Any:
        """Load the network on the CPU, without changes.

        Args:
            kind: name of the transformers auto class.
            without: name of an unused submodule whose weights may be missing.
            exact: reject weights in the files that the network does not use.
            options: passed to `from_pretrained`, including fields of the configuration.

        Raises:
            InvalidInputError: the auto class does not support the model.
            MissingWeightsError: weights are missing and would be initialised at random, or the files contain adapter
                weights or, with `exact`, other weights that would be ignored.
        """
        import transformers

        auto_class = getattr(transformers, kind)
        if type(self.config) not in auto_class._model_mapping:
            raise InvalidInputError(
                f"the model {self.name} cannot be loaded",
                why=f"transformers has no {kind} for its type '{self.config.model_type}'",
                fix="choose another model",
            )
        with without_progress_bar(), unreadable_files_refused(self.folder):
            model, report = auto_class.from_pretrained(
                self.folder,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
                **options,
            )
        lacking = sorted(report["missing_keys"]) + sorted(map(str, report["mismatched_keys"]))
        lacking = [key for key in lacking if without is None or not key.startswith(f"{without}.")]
        if lacking:
            raise _random_weights(self.folder, f"{len(lacking)} weights of its network, among them {lacking[0]}")
        adapted = sorted(key for key in report["unexpected_keys"] if _LORA in key)
        if adapted:
            raise _adapter(self.folder, adapted[0])
        unused = sorted(report["unexpected_keys"])
        if exact and unused:
            raise MissingWeightsError(
                f"{self.folder} holds {len(unused)} weights that the network does not use, among them {unused[0]}",
                why="the vectors would not be those of the model",
                fix="save the model with save_pretrained of the class that transformers has for it",
            )
        return model

    def read_json(self, name: str) -> Any:
        """Read a JSON file of the model.

        Raises:
            MissingWeightsError: as `folder`.
            InvalidInputError: the file is missing or is not JSON.
        """
        return _json(self.folder / name)

    def processor(self, kind: str) -> Any:
        """Load the tokenizer or a processor.

        Args:
            kind: name of the transformers auto class, such as AutoTokenizer.

        Raises:
            InvalidInputError: files are missing or damaged, or the model has no such processor.
        """
        import transformers

        with unreadable_files_refused(self.folder):
            return getattr(transformers, kind).from_pretrained(
                self.folder, local_files_only=True, trust_remote_code=False
            )

    def tokenizer(self) -> Any:
        """Load the tokenizer. Raises as `processor`."""
        return self.processor("AutoTokenizer")


_LOADING_ERRORS = (AssertionError, AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError)


@contextmanager
def unreadable_files_refused(folder: Path) -> Iterator[None]:
    """Convert the errors of libraries that load a model inside the block.

    Raises:
        InvalidInputError: files are missing or damaged, or the library does not support them.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (SafetensorError, *_LOADING_ERRORS) as error:
        raise InvalidInputError(
            f"cannot load the model in {folder}",
            why=str(error).partition("\n")[0] or type(error).__name__,
            fix="fetch the model again, or choose a model that the installed libraries support",
        ) from error


@contextmanager
def without_progress_bar() -> Iterator[None]:
    """Disable the progress bar of transformers while weights are read from a disk."""
    from transformers.utils import logging

    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()


@contextmanager
def refusing_random_weights(folder: Path) -> Iterator[None]:
    """Raise on missing weights inside the block, for libraries that load networks with transformers internally.

    transformers reports missing weights only in its log, so this context manager reads the log.

    Raises:
        MissingWeightsError: weights of a loaded network are missing.
    """
    reports: list[str] = []
    watcher = logging.Handler(logging.WARNING)
    watcher.emit = lambda record: reports.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("transformers.modeling_utils")
    level = logger.level
    if not logger.isEnabledFor(logging.WARNING):  # an explicit level makes transformers log its sharding as well
        logger.setLevel(logging.WARNING)
    logger.addHandler(watcher)
    try:
        yield
    finally:
        logger.removeHandler(watcher)
        logger.setLevel(level)
    if any("MISSING" in report for report in reports):
        raise _random_weights(folder, "weights of its network")


def _check_code(folder: Path) -> None:
    """Raise InvalidInputError if a configuration names custom classes.

    All calls of transformers and sentence-transformers also pass `trust_remote_code=False`. However,
    sentence-transformers before version 6 imports such classes from local folders regardless.
    """
    for path in sorted(folder.rglob(_CONFIGURATIONS)):
        configuration = _json(path)
        if isinstance(configuration, dict) and _CODE_KEY in configuration:
            raise _code(folder, f"{path.relative_to(folder)} has an {_CODE_KEY}")
    for path in sorted(folder.rglob(_MODULES_FILE)):
        modules = _json(path)
        for module in modules if isinstance(modules, list) else []:
            name = module.get("type") if isinstance(module, dict) else None
            if not str(name).startswith(_MODULES_PACKAGE):
                raise _code(folder, f"{path.relative_to(folder)} names the class {name}")


def _json(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"cannot read {path} as JSON", why=os_error_message(error), fix="fetch the model again"
        ) from error


def _code(folder: Path, where: str) -> InvalidInputError:
    return InvalidInputError(
        f"the model {folder} brings code of its own",
        why=f"{where}, and code from a model is not run",
        fix="choose a model that transformers or sentence-transformers supports by itself",
    )


def _random_weights(folder: Path, lacking: str) -> MissingWeightsError:
    return MissingWeightsError(
        f"{folder} lacks {lacking}",
        why="they would be random numbers",
        fix="save the whole model with save_pretrained",
    )


def _adapter(folder: Path, what: str) -> MissingWeightsError:
    return MissingWeightsError(
        f"{folder} holds an adapter ({what})",
        why="it would be left out, and the model would be what it was before its last training",
        fix="merge it into the model, by merge_and_unload() of peft, and save that with save_pretrained",
    )


def device(options: ModelOptions) -> torch.device:
    """Return the device for networks: the option `device`, otherwise the GPU if one is available, else the CPU."""
    import torch

    return torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))


def to_device(tensor: torch.Tensor, where: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Move a tensor to a device and convert its dtype.

    The copy to a GPU is asynchronous, from pinned memory. The dtype is converted on the GPU because it is faster there.
    """
    if where.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(where, non_blocking=True).to(dtype)


def _fetched(repository: str, revision: str, layout: Layout) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                repository,
                revision=revision,
                allow_patterns=list(layout.files),
                ignore_patterns=list(layout.excluded),
            )
        )
    except (OSError, ValueError) as error:  # base classes of the Hub's own errors
        raise MissingWeightsError(
            f"the model '{repository}' was not found locally or on the Hugging Face Hub",
            why=str(error).partition("\n")[0],
            fix=f"run: hf download {repository} --revision {revision}, or name a folder that holds it",
        ) from error
