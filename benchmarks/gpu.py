"""Measure the pretrained suites on a GPU: speed, agreement of the vectors with the CPU, and indexing end to end.

    python benchmarks/gpu.py FILM [--copies 16] [--only NAME ...] [--where cuda]

Weights are random, of the published shapes, saved to folders and loaded like those of the hub. `prepared` is the whole
encoder on 16 frames (8 audio windows) as in indexing, including the transfers to and from the GPU. `alone` is the
network on a batch in GPU memory. Vectors of frames of FILM are compared with those of the CPU in float32: the minimum
cosine, and the share of the ten nearest frames that are the same. Then copies of FILM that differ in a few bytes are
indexed with CLIP ViT-B/32 and CLAP: in this process on the CPU and on the GPU, and with Ray, including its start and
the loading.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from backbones import RandomCheckpoint, is_selected, published
from ingest import decode, make_film

import var_plugin as vp
from var_plugin.config import settings
from var_plugin.encoders.audio_features import Windows
from var_plugin.encoders.backbones import clap, clip, xclip
from var_plugin.encoders.base import Vectors
from var_plugin.encoders.hub import Checkpoint, to_device
from var_plugin.encoders.registry import CLAP, descriptions
from var_plugin.encoders.suite import SpaceEncoders
from var_plugin.media.audio import read_audio
from var_plugin.media.decoded import Frame
from var_plugin.media.frames import FrameReader

RUNS = 20
COMPARED = 128
FEW = 8
"""Number of films for one process; Ray gets all of them."""
RUN = {"image": 16, "video": 16, "sound": 8}
BATCHES = (16, 64, 256)
TYPES = ("float32", "bfloat16", "float16")
NAMES = {
    "CLIP ViT-B/32, 224": str(descriptions()["clip"].default_model).partition("@")[0],
    "CLAP HTSAT-base": CLAP.partition("@")[0],
}
"""Folders of the models of the suite `clip`, as it looks for them. Other models may be in any folder."""


def save_models(folder: Path, only: list[str]) -> dict[str, Path]:
    """Save models with random weights and return their folders by name."""
    places = {}
    for name, model in published().items():
        if not is_selected(name, only):
            continue
        place = places[name] = folder / NAMES.get(name, name.split(",")[0].replace(" ", "-").replace("/", "-"))
        place.mkdir(parents=True)
        RandomCheckpoint(place, model).model().save_pretrained(place)
    return places


def configure(**values: str) -> None:
    """Set settings of the package by name."""
    os.environ |= {f"VAR_PLUGIN_{name.upper()}": value for name, value in values.items()}
    settings.cache_clear()


def encoders_of(place: Path) -> SpaceEncoders:
    """Load a model as a suite does."""
    checkpoint = Checkpoint(str(place), options=settings())
    kinds = {"clap": clap.sound_space, "xclip": xclip.scene_space}
    return kinds.get(checkpoint.config.model_type, clip.scene_space)(checkpoint)


def encoder(encoders: SpaceEncoders) -> tuple[str, Callable[[Any], Vectors], Any]:
    """Return the kind of input, the function that encodes it, and the network."""
    if encoders.video:
        return "video", encoders.video.extractor.encode, encoders.video.network.model  # type: ignore[attr-defined]
    if encoders.image:
        return "image", encoders.image.encode, encoders.image._network.model  # type: ignore[attr-defined]
    if encoders.audio is None:
        raise SystemExit("this model has no encoder for footage")
    return "sound", encoders.audio.encode, encoders.audio._network.model  # type: ignore[attr-defined]


def inputs(kind: str, encoders: SpaceEncoders, frames: list[Frame], sound: Any) -> Any:
    """Return the inputs of an encoder from the film."""
    if encoders.audio:
        window, hop = encoders.audio.window, encoders.audio.hop
        return np.stack([part for _, part in Windows([sound], window, hop)])
    return frames if kind == "video" else [frame.image for frame in frames]


def seconds(work: Callable[[], object], runs: int = RUNS) -> float:
    """Return the median wall time, including the GPU's work, after two warm-up runs."""
    times = []
    for run in range(runs + 2):
        started = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        if run >= 2:
            times.append(time.perf_counter() - started)
    return median(times)


def alone(kind: str, network: Any, batch: int) -> float:
    """Return the frames or audio windows per second of a network on a batch in device memory."""
    shape = {"image": (batch, 3, 224, 224), "video": (batch // 8, 8, 3, 224, 224), "sound": (batch, 1, 1001, 64)}
    samples = torch.rand(shape[kind], device=network.device, dtype=network.dtype)
    longer = torch.zeros(batch, 1, dtype=torch.bool, device=network.device)
    work = {
        "image": lambda: network.get_image_features(pixel_values=samples),
        "video": lambda: network.get_video_features(pixel_values=samples),
        "sound": lambda: network.get_audio_features(input_features=samples, is_longer=longer),
    }
    with torch.inference_mode():
        return batch / seconds(work[kind])


def agreement(vectors: Vectors, reference: Vectors) -> str:
    """Return the minimum cosine of corresponding vectors and the share of the ten nearest that are the same."""
    cosine = float(np.sum(vectors * reference, axis=1).min())
    nearest = [np.argsort(-(each @ each.T), axis=1)[:, 1:11] for each in (vectors, reference)]
    same = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(*map(np.ndarray.tolist, nearest), strict=True)])
    return f"{cosine:.6f} | {same:.3f}"


def networks(places: dict[str, Path], film: Path, where: str) -> Iterator[str]:
    """Yield the lines of the table of networks."""
    heads = " | ".join(f"alone, {batch} at once" for batch in BATCHES)
    yield f"| a second, on {where} | prepared | {heads} | least cosine | ten nearest | memory, MiB |"
    yield "|---" * (len(BATCHES) + 5) + "|"
    frames = list(FrameReader(film, rate=2, size=(224, 224)))[:COMPARED]
    sound = read_audio(film)
    for name, place in places.items():
        configure(device="cpu", dtype="float32")
        encoders = encoders_of(place)
        kind, encode, _ = encoder(encoders)
        batch = inputs(kind, encoders, frames, sound)
        part = batch[: RUN[kind]]
        reference = encode(batch)
        rate = len(part) / seconds(lambda encode=encode, part=part: encode(part), 3)
        yield f"| {name}, CPU, float32 | {rate:.1f} |" + " |" * (len(BATCHES) + 3)
        for dtype in TYPES if where != "cpu" else ():
            configure(device=where, dtype=dtype)
            torch.cuda.reset_peak_memory_stats()
            kind, encode, network = encoder(encoders_of(place))
            cosines = agreement(encode(batch), reference)
            rates = [len(part) / seconds(lambda encode=encode, part=part: encode(part))]
            rates += [alone(kind, network, batch) for batch in BATCHES]
            memory = torch.cuda.max_memory_allocated() / 2**20
            yield f"| {name}, {dtype} | {' | '.join(f'{rate:,.0f}' for rate in rates)} | {cosines} | {memory:,.0f} |"


def transfers(where: str) -> Iterator[str]:
    """Yield the time to transfer frames to the GPU."""
    batch = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (16, 224, 224, 3), np.uint8))
    device = torch.device(where)
    plain = 1e3 * seconds(lambda: batch.float().to(device))
    pinned = 1e3 * seconds(lambda: to_device(batch, device, torch.float32))
    yield f"16 frames to the GPU: {plain:.2f} ms as float32, {pinned:.2f} ms as bytes from pinned memory"


def copies(film: Path, folder: Path, count: int) -> list[Path]:
    """Write copies of the film that differ in a box that players ignore."""
    paths = [folder / f"copy{number}.mp4" for number in range(count)]
    for number, path in enumerate(paths):
        shutil.copy(film, path)
        with path.open("ab") as file:
            file.write(struct.pack(">I4sI", 12, b"free", number))
    return paths


def indexing(film: Path, duration: float, count: int, folder: Path, where: str) -> Iterator[str]:
    """Yield the lines of the table of indexing."""
    yield "| CLIP ViT-B/32 and CLAP | films | wall, s | times real time | embedding, s | storing, s |"
    yield "|---|---|---|---|---|---|"
    took = seconds(lambda: decode(film), 3)
    yield f"| decoding alone, one core | 1 | {took:.2f} | {duration / took:.0f} | – | – |"
    films = copies(film, folder, count)
    few = films[: min(count, FEW)]
    ways = {"CPU, float32": ("cpu", "float32", few[:1], None)}
    if where != "cpu":
        ways |= {f"GPU, {dtype}": (where, dtype, few, None) for dtype in TYPES}
        # A worker sees its own GPU only, so no device is named.
        ways["GPU, float16, Ray"] = ("", "float16", films, vp.RayEngine())
    for name, (device, dtype, files, engine) in ways.items():
        configure(device=device, dtype=dtype)
        stored: list[float] = []
        with vp.open_index(folder / f"{name}.db", suite="clip") as index:
            if engine is None:
                index.add(film)  # loads the networks
            started = time.perf_counter()
            receipt = index.add(
                files, engine=engine, progress=lambda _, __, stored=stored: stored.append(time.perf_counter())
            )
            took = time.perf_counter() - started
        if not receipt.ok:
            raise SystemExit(str(receipt))
        spent = [sum(line.seconds.get(stage, 0.0) for line in receipt.videos) for stage in ("embed", "store")]
        rate = f"{len(files) * duration / took:.0f}"
        if engine and len(stored) > 1:  # Ray reports finished videos
            going = (len(files) - 1) * duration / (stored[-1] - stored[0])
            rate += f"; {going:.0f} from the first video on, {stored[0] - started:.0f} s after the start"
        yield f"| {name} | {len(files)} | {took:.2f} | {rate} | {spent[0]:.1f} | {spent[1]:.1f} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film", type=Path)
    parser.add_argument("--copies", type=int, default=16)
    parser.add_argument("--only", nargs="*", default=[], help="measure only networks whose names contain one of these")
    parser.add_argument("--where", default="cuda")
    arguments = parser.parse_args()
    for name in ("grpc", "grpc._server", "milvus_lite", "pymilvus"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        configure(model_dir=str(folder / "models"))
        film = folder / "film.mp4"
        duration = make_film(arguments.film, film)
        places = save_models(folder / "models", arguments.only)
        whole = set(NAMES) <= set(places)
        for line in networks(places, film, arguments.where):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
        if arguments.where != "cpu":
            sys.stdout.write("\n" + "\n".join(transfers(arguments.where)) + "\n\n")
        for line in indexing(film, duration, arguments.copies, folder, arguments.where) if whole else ():
            sys.stdout.write(line + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
