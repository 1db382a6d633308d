"""Measure memory and speed of EmbeddingGemma 2 in its real shape, with random weights, on a CPU.

    python -m benchmarks.gemma2 [--dtype bfloat16] [--threads N]

A checkpoint of the published size is written to a temporary folder in bfloat16 (1.5 GB). Each modality runs in its own
process. The table shows its peak memory and the items per second of CPU time: texts of 13 words, images, clips of 8 s,
recordings of 8 s. Decoding is not included. `lite` is the baseline.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np

WORDS = "a man in a red jacket smashes the window of a shop"
SECONDS = 8
COUNTS: dict[str, int] = {"text": 8, "image": 2, "video": 1, "audio": 4}
"""Items per batch of each modality."""


def save_checkpoint(folder: Path) -> None:
    """Write a model of the published shape with random weights."""
    import torch
    from safetensors.torch import save_file
    from transformers import EmbeddingGemma2Config, EmbeddingGemma2Model

    from tests.encoders.backbones.tiny import save_gemma2

    save_gemma2(folder)  # for its tokenizer, processors and prompts
    tiny = json.loads((folder / "config.json").read_text())
    ids = {name: value for name, value in tiny.items() if name.endswith(("token_id", "token_index"))}
    towers = {f"{tower}_config": {"model_type": f"gemma4_{tower}"} for tower in ("vision", "audio")}
    config = EmbeddingGemma2Config(**ids, **towers)
    config.save_pretrained(folder)
    processor = json.loads((folder / "processor_config.json").read_text())
    for part in ("image_processor", "video_processor"):
        processor[part]["patch_size"] = config.vision_config.patch_size
    (folder / "processor_config.json").write_text(json.dumps(processor))
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    save_file(EmbeddingGemma2Model(config).state_dict(), folder / "model.safetensors", {"format": "pt"})


def measure(
    suite: str, modality: str, dtype: Literal["float32", "bfloat16"], threads: int
) -> tuple[float, float, float]:
    """Return the peak memory in MiB before and after the first batch, and the items per second of the second batch."""
    import torch

    from var_plugin.config import settings
    from var_plugin.encoders.registry import load_suite

    torch.set_num_threads(threads)
    encode, items = batch(load_suite(suite, settings().model_copy(update={"dtype": dtype})), modality)
    before = peak_memory()
    encode(items)
    started = time.process_time()
    encode(items)
    return before, peak_memory(), COUNTS[modality] / (time.process_time() - started)


def batch(suite: Any, modality: str) -> tuple[Callable[[Sequence[Any]], object], Sequence[Any]]:
    """Return the encoder of a modality, and `COUNTS` items of noise for it."""
    from var_plugin.media.decoded import SAMPLE_RATE, Frame

    random, count = np.random.default_rng(0), COUNTS[modality]
    scene, audio = suite.encoders["scene"], suite.encoders["sound"].audio

    def pixels(*size: int) -> Any:
        return random.integers(0, 256, (*size, 3), np.uint8)

    if modality == "text":
        return scene.text.encode, [f"{WORDS} {number}" for number in range(count)]
    if modality == "image":
        return scene.image.encode, [pixels(*scene.image.size) for _ in range(count)]
    if modality == "audio":
        windows = count * SECONDS * SAMPLE_RATE // audio.hop
        return audio.encode, random.normal(0, 0.1, (windows, audio.window)).astype(np.float32)
    extractor = scene.video_encoder.extractor
    side, rate = extractor.motion_size, extractor.fps or suite.fps
    return extractor.encode, [
        Frame(number / rate, pixels(*extractor.size), motion=pixels(side, side) if side else None)
        for number in range(round(count * SECONDS * rate))
    ]


def peak_memory() -> float:
    """Return the peak memory of the process in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    sys.stdout.write("| suite | modality | MiB before | MiB peak | items/s |\n|---|---|---|---|---|\n")

    def alone(function: Callable[..., Any], *values: Any) -> Any:
        with get_context("spawn").Pool(1) as pool:
            return pool.apply(function, values)

    with tempfile.TemporaryDirectory() as folder:
        alone(save_checkpoint, Path(folder))
        for suite in ("lite", f"gemma2:{folder}"):
            for modality in COUNTS:
                before, peak, rate = alone(measure, suite, modality, arguments.dtype, arguments.threads)
                name = suite.partition(":")[0]
                sys.stdout.write(f"| {name} | {modality} | {before:.0f} | {peak:.0f} | {rate:.3g} |\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
