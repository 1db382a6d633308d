"""Measure the speed of each backbone on one core: frames, texts and audio windows per second.

    python benchmarks/backbones.py [--only NAME ...] [--threads N] [--compare]

The networks have their published sizes and random weights, because the speed does not depend on the weights. The
preparation of a frame is included, its decoding is not. Texts have 13 words and are encoded one at a time (a query) and
in batches of 32. `lite` is the baseline. The paper's I3D and VGGish are listed below: the networks only, since I3D's
preparation is the optical flow of every frame, which has its own row. With --compare, these networks and the image
towers of the CLIP-like models are also run with torch.compile and ONNX Runtime, alternating with the plain network; the
table shows the ratio of the medians.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    ClapConfig,
    ClapFeatureExtractor,
    CLIPConfig,
    CLIPImageProcessor,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessor,
    VideoMAEImageProcessor,
    XCLIPConfig,
)

from var_plugin.config import settings
from var_plugin.encoders.backbones import clap, clip, xclip
from var_plugin.encoders.backbones.i3d import I3d, OpticalFlow
from var_plugin.encoders.backbones.vggish import VGGish
from var_plugin.encoders.base import ClipFeatureExtractor, TextEncoder
from var_plugin.encoders.hub import Checkpoint
from var_plugin.encoders.registry import load_suite
from var_plugin.encoders.suite import SpaceEncoders
from var_plugin.media.decoded import Frame

RUNS = 5
MAX_SECONDS = 30.0  # CPU seconds per figure; slow models get fewer runs
FRAMES = 4  # per batch; a CPU gains little from more
TEXTS = 32
SENTENCE = "a man in a red jacket smashes the window of a shop"
_TURN = count()
"""Makes each sentence different, because encoders may cache texts."""

B32 = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
L14 = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
_ENDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
CLIP_TEXT = _ENDS | {
    "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 8,
}  # fmt: skip
_OVER_TIME = {
    "num_frames": 8, "mit_hidden_size": 512, "mit_intermediate_size": 2048, "mit_num_hidden_layers": 1,
    "mit_num_attention_heads": 8,
}  # fmt: skip
CLIP_TEXT_L = _ENDS | B32


@dataclass(frozen=True)
class Published:
    """A model by its published shape: the configuration and the processor of images or audio."""

    config: Any
    preparation: Any


def published() -> dict[str, Published]:
    """Return the models by name."""
    square = {"height": 224, "width": 224}
    images = CLIPImageProcessor(size={"shortest_edge": 224}, crop_size=square)
    return {
        "CLIP ViT-B/32, 224": Published(
            CLIPConfig(text_config=CLIP_TEXT, vision_config=B32 | {"patch_size": 32}, projection_dim=512), images
        ),
        "CLIP ViT-L/14, 224": Published(
            CLIPConfig(text_config=CLIP_TEXT_L, vision_config=L14 | {"patch_size": 14}, projection_dim=768), images
        ),
        "X-CLIP B/32, 224, 8 frames": Published(
            XCLIPConfig(text_config=CLIP_TEXT, vision_config=B32 | {"patch_size": 32} | _OVER_TIME, projection_dim=512),
            VideoMAEImageProcessor(size={"shortest_edge": 224}, crop_size=square),
        ),
        "SigLIP 2 base/16, 224": Published(
            SiglipConfig(
                text_config=B32 | {"vocab_size": 256_000, "projection_size": 768},
                vision_config=B32 | {"patch_size": 16, "image_size": 224},
            ),
            SiglipImageProcessor(size=square),
        ),
        "CLAP HTSAT-base": Published(
            ClapConfig(
                text_config=B32 | {"vocab_size": 50_265, "max_position_embeddings": 514},
                audio_config={"patch_embeds_hidden_size": 128, "depths": [2, 2, 12, 2], "hidden_size": 1024},
                projection_dim=512,
            ),
            ClapFeatureExtractor(truncation="rand_trunc", padding="repeatpad"),
        ),
    }


class RandomCheckpoint(Checkpoint):
    """A checkpoint with random weights that are never written to disk."""

    def __init__(self, folder: Path, model: Published) -> None:
        super().__init__(str(folder), options=settings())
        object.__setattr__(self, "shape", model)
        model.config.save_pretrained(folder)
        model.preparation.save_pretrained(folder)
        self.tokenizer().save_pretrained(folder)

    folder = property(lambda self: Path(self.name))  # type: ignore[assignment]
    fingerprint = "random"  # type: ignore[assignment]

    def model(self, kind: str = "AutoModel") -> Any:
        """Create the network."""
        import transformers

        torch.manual_seed(0)
        return getattr(transformers, kind).from_config(self.shape.config).eval()  # type: ignore[attr-defined]

    def tokenizer(self) -> Any:
        """Return a tokenizer that splits words; its time is negligible beside the network."""
        vocabulary = {word: number for number, word in enumerate(["<pad>", "<s>", "</s>", "<unk>"])}
        vocabulary |= {word: len(vocabulary) + number for number, word in enumerate(sorted(set(SENTENCE.split())))}
        words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))  # noqa: S106
        words.pre_tokenizer = pre_tokenizers.Whitespace()
        words.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
        )
        return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", unk_token="<unk>")  # noqa: S106


def seconds(work: Callable[[], object]) -> float:
    """Return the median CPU seconds of `work`, after one warm-up run."""
    total = timed(work)
    times: list[float] = []
    while not times or (len(times) < RUNS and total < MAX_SECONDS):
        times.append(timed(work))
        total += times[-1]
    return median(times)


def timed(work: Callable[[], object]) -> float:
    """Return the CPU seconds of one run, summed over all threads."""
    started = time.process_time()
    work()
    return time.process_time() - started


def per_second(encode: Callable[[Sequence[Any]], object], items: Sequence[Any]) -> float:
    """Return the number of items of a batch that are encoded per second."""
    return len(items) / seconds(lambda: encode(items))


def rows(only: Sequence[str], folder: Path, compare: bool) -> Iterator[str]:
    """Measure and yield the lines of a table."""
    yield "| backbone | parameters | frames/s | texts/s | one text | audio windows/s |"
    yield "|---|---|---|---|---|---|"
    lite = load_suite("lite").encoders
    if is_selected("lite", only):
        yield row("lite, images and motion", "", lite["scene"])
        yield row("lite, audio", "", lite["sound"])
    for name, model in published().items():
        if not is_selected(name, only):
            continue
        place = folder / str(len(name))
        place.mkdir(exist_ok=True)
        checkpoint = RandomCheckpoint(place, model)
        space = {"clap": clap.sound_space, "xclip": xclip.scene_space}.get(model.config.model_type, clip.scene_space)
        encoders = space(checkpoint)
        network = encoders.text._network.model  # type: ignore[union-attr]
        millions = sum(weights.numel() for weights in network.parameters()) / 1e6
        yield row(name, f"{millions:.0f} M", encoders)
        if compare and encoders.image and not encoders.video:
            yield from comparison(ImageTower(network), torch.rand(FRAMES, 3, 224, 224))
    for name, network, inputs, frames in paper():
        if is_selected(name, only):
            network.eval().requires_grad_(False)
            millions = sum(weights.numel() for weights in network.parameters()) / 1e6
            rate = f"{(frames or len(inputs)) / seconds(partial(network, inputs)):.1f}"
            yield f"| {name} | {millions:.0f} M | {rate if frames else '–'} | – | – | {'–' if frames else rate} |"
            if compare:
                yield from comparison(network, inputs)
    if is_selected("TV-L1 flow of 224x224", only):
        images = list(np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), np.uint8))
        flow = OpticalFlow("tvl1")
        yield f"| TV-L1 flow of 224x224 | | {2 / seconds(lambda: flow(images)):.1f} | – | – | – |"


def paper() -> Iterator[tuple[str, torch.nn.Module, torch.Tensor, int]]:
    """Yield the paper's networks with an input and its number of frames, 0 for audio windows."""
    torch.manual_seed(0)
    yield "I3D RGB, clips of 16", I3d(3), torch.rand(1, 3, 16, 224, 224), 16
    yield "I3D Flow, clips of 16", I3d(2), torch.rand(1, 2, 16, 224, 224), 16
    yield "VGGish, windows of 0.96 s", VGGish(), torch.rand(8, 96, 64), 0


def is_selected(name: str, only: Sequence[str]) -> bool:
    """Return whether a name contains one of the parts in `only`, or `only` is empty."""
    return not only or any(part.lower() in name.lower() for part in only)


def row(name: str, parameters: str, encoders: SpaceEncoders) -> str:
    """Measure one backbone and return its row."""
    random = np.random.default_rng(0)
    cells = [name, parameters, "–", *texts(encoders.text), "–"]
    if encoders.image:
        frames = list(random.integers(0, 256, (FRAMES, *encoders.image.size, 3), np.uint8))
        cells[2] = f"{per_second(encoders.image.encode, frames):.1f}"
        if encoders.video:
            cells[2] = f"{per_second(encoders.video.extractor.encode, moving(encoders.video.extractor, random)):.1f}"
    if encoders.audio:
        windows = random.standard_normal((4, encoders.audio.window)).astype(np.float32) / 10
        cells[5] = f"{per_second(encoders.audio.encode, windows):.1f}"
    return "| " + " | ".join(cells) + " |"


def texts(encoder: TextEncoder | None) -> list[str]:
    """Return the texts per second in a batch, and the time of a single text."""
    if encoder is None:
        return ["–", "–"]

    def some(number: int) -> list[str]:
        return [f"{SENTENCE} {next(_TURN)}" for _ in range(number)]

    together = TEXTS / seconds(lambda: encoder.encode(some(TEXTS)))
    return [f"{together:.0f}", f"{1000 * seconds(lambda: encoder.encode(some(1))):.0f} ms"]


def moving(extractor: ClipFeatureExtractor, random: np.random.Generator) -> list[Frame]:
    """Return frames as the extractor expects them, with motion images if it uses them."""

    def noise(height: int, width: int) -> np.ndarray:
        return random.integers(0, 256, (height, width, 3), np.uint8)

    return [
        Frame(
            number / 2,
            noise(*extractor.size),
            motion=noise(extractor.motion_size, extractor.motion_size) if extractor.motion_size else None,
        )
        for number in range(max(FRAMES, extractor.frames_per_clip))
    ]


class ImageTower(torch.nn.Module):
    """The image tower as a module: from pixels to the vector."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Encode (n, 3, 224, 224)."""
        return self.network.get_image_features(pixel_values=pixel_values).pooler_output


def comparison(network: torch.nn.Module, inputs: torch.Tensor) -> Iterator[str]:
    """Run a network plainly, compiled and with ONNX Runtime, alternately."""
    network.eval()
    ways: dict[str, Callable[[], Any]] = {"plain": lambda: network(inputs)}
    compiled = torch.compile(network)
    ways["torch.compile"] = lambda: compiled(inputs)
    ways["ONNX Runtime"] = onnx_runner(network, inputs)
    with torch.inference_mode():
        reference = ways["plain"]()
        for name, way in ways.items():
            output = torch.as_tensor(np.asarray(way()))
            error = float((output - reference).abs().max() / reference.abs().max())
            if error > 1e-3:
                raise SystemExit(f"{name} differs from the plain network by {error}")
        times = {name: [] for name in ways}
        for _ in range(RUNS):
            for name, way in ways.items():
                times[name].append(timed(way))
    plain = median(times["plain"])
    for name in list(ways)[1:]:
        yield f"| … {name} | | {plain / median(times[name]):.2f} × plain | | | |"


def onnx_runner(network: torch.nn.Module, inputs: torch.Tensor) -> Callable[[], Any]:
    """Export a network to ONNX and return a function that runs it."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.onnx"
        torch.onnx.export(network, (inputs,), file, input_names=["inputs"], dynamo=False, opset_version=17)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"inputs": inputs.numpy()})[0]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], help="measure only names that contain one of these")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compare", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        for line in rows(arguments.only, Path(folder), arguments.compare):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
