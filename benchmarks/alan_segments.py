"""Compare ways to compute the vector of a part of a video with an ALAN that was trained on whole videos.

    python benchmarks/alan_segments.py [--seeds N] [--train-videos N] [--epochs N]

Trains the full model of the synthetic benchmark and cuts every test video into parts of 12 clips (8 s of I3D features).
Each anomalous video is searched by the caption of its moment. The table shows how often the best part contains it.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import set_seed

from var_plugin.encoders.alan import AlanModel
from var_plugin.encoders.alan.encodings import VideoEncoding
from var_plugin.encoders.alan.folding import fold_videos
from var_plugin.evaluation.benchmarks.pairs import Pair, read_streams
from var_plugin.evaluation.benchmarks.synthetic import SyntheticParameters, generate_benchmark
from var_plugin.training.config import TrainingSettings
from var_plugin.training.synthetic_benchmark import SETTINGS, synthetic_model
from var_plugin.training.train import train

CLIPS = 12
ALONE = "the tower on its clips only"
CONTEXT = "the outputs for its clips of the tower on the whole video"
FEATURES = "the projections of its clips"
CHANCE = "chance"


class AllClips(nn.Module):
    """Samples every clip once, and the anomaly-led clips as the model does."""

    def __init__(self, sampler: nn.Module) -> None:
        super().__init__()
        self.sampler = sampler

    def forward(self, scores: Tensor, mask: Tensor, generator: torch.Generator | None = None) -> list[Tensor]:
        """Return both index tensors."""
        _, led = self.sampler(scores, mask, generator)
        return [torch.arange(mask.shape[1])[None], led]


def parts_of(length: int) -> list[slice]:
    """Cut a video of `length` clips into parts; a last part shorter than half is left out."""
    return [slice(start, min(start + CLIPS, length)) for start in range(0, length - CLIPS // 2, CLIPS)]


def alone(model: AlanModel, streams: list[Tensor], parts: list[slice]) -> Tensor:
    """Encode each part as a video of its own, as the suite does."""
    return torch.cat([model.get_video_features(*(stream[:, part] for stream in streams)) for part in parts])


def in_context(model: AlanModel, streams: list[Tensor], parts: list[slice]) -> Tensor:
    """Return the mean of each part's clips after the tower encoded all clips of the video."""
    encoder = model.video_encoder
    sampler, encoder.sampler = encoder.sampler, AllClips(encoder.sampler)
    try:
        whole = encoder(*streams, torch.ones(streams[0].shape[:2], dtype=torch.bool))
    finally:
        encoder.sampler = sampler
    return torch.cat([folded(whole.clips[:, :, part].mean(2), whole) for part in parts])


def projected(model: AlanModel, streams: list[Tensor], parts: list[slice]) -> Tensor:
    """Return the mean of each part's clips before any layer that attends to other clips."""
    encoder = model.video_encoder
    clips = torch.stack([project(stream) for project, stream in zip(encoder.projections, streams, strict=True)], dim=1)
    whole = encoder(*streams, torch.ones(streams[0].shape[:2], dtype=torch.bool))
    return torch.cat([folded(clips[:, :, part].mean(2), whole) for part in parts])


def folded(means: Tensor, whole: VideoEncoding) -> Tensor:
    """Fold means (1, S, d) as both g and h."""
    return fold_videos(VideoEncoding(means, means, whole.clips, whole.clip_index, whole.anomaly_scores))


WAYS = {ALONE: alone, CONTEXT: in_context, FEATURES: projected}


def measure(seed: int, train_videos: int, epochs: int) -> dict[str, tuple[float, float, float]]:
    """Return three percentages for each kind of segment vector.

    They count three parts: the best of the right video, the best of all videos, and any of the best ten of all videos.
    A part counts if it shows at least half of the event.
    """
    benchmark = generate_benchmark(SyntheticParameters(train_videos=train_videos), seed)
    set_seed(seed)
    model, processor = synthetic_model()
    settings = TrainingSettings(**(asdict(SETTINGS) | {"seed": seed, "epochs": epochs}))
    with TemporaryDirectory() as folder:
        train(model, processor, benchmark.train.pairs, Path(folder), settings)
    model.eval()
    videos = [list(map(_batch, _streams(pair))) for pair in benchmark.test.pairs]
    parts = [parts_of(streams[0].shape[1]) for streams in videos]
    owner = np.repeat(np.arange(len(parts)), [len(one) for one in parts])
    right = np.concatenate([
        [evidence[part].sum() >= evidence.sum() / 2 for part in one]
        for one, evidence in zip(parts, benchmark.test.evidence, strict=True)
    ])  # fmt: skip
    anomalous = [number for number, pair in enumerate(benchmark.test.pairs) if pair.anomalous]
    texts = processor(text=[benchmark.test.pairs[number].caption for number in anomalous])
    results = {}
    with torch.inference_mode():
        queries = model.get_text_features(**texts)
        for name, make in WAYS.items():
            vectors = torch.cat([make(model, *both) for both in zip(videos, parts, strict=True)])
            results[name] = _shares((queries @ vectors.T).numpy(), anomalous, owner, right)
    chance = [_by_chance(number, owner, right) for number in anomalous]
    results[CHANCE] = tuple(float(100 * np.mean(column)) for column in zip(*chance, strict=True))
    return results


def _shares(
    scores: NDArray[np.float32], queries: list[int], owner: NDArray[np.int64], right: NDArray[np.bool_]
) -> tuple[float, float, float]:
    hits = []
    for row, number in zip(scores, queries, strict=True):
        true = (owner == number) & right
        order = np.argsort(-row)
        own = order[owner[order] == number]
        hits.append((true[own[0]], true[order[0]], true[order[:10]].any()))
    inside, first, ten = (float(100 * np.mean(column)) for column in zip(*hits, strict=True))
    return inside, first, ten


def _by_chance(number: int, owner: NDArray[np.int64], right: NDArray[np.bool_]) -> tuple[float, float, float]:
    true, total, own = int(((owner == number) & right).sum()), len(owner), int((owner == number).sum())
    missed = np.prod([(total - true - i) / (total - i) for i in range(10)])
    return true / own, true / total, 1 - float(missed)


def _streams(pair: Pair) -> list[NDArray[np.float32]]:
    streams = read_streams(pair)
    return [streams.object_clips, streams.motion_clips]


def _batch(clips: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.asarray(clips, np.float32))[None]


def main() -> None:
    """Train, measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--train-videos", type=int, default=SyntheticParameters.train_videos)
    parser.add_argument("--epochs", type=int, default=SETTINGS.epochs)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    runs = [measure(seed, arguments.train_videos, arguments.epochs) for seed in range(arguments.seeds)]
    heads = "| vector of a part | correct part in its own video | correct part in all videos, R@1 | R@10 |"
    lines = [heads, "|---|---|---|---|"]
    for name in runs[0]:
        columns = zip(*(run[name] for run in runs), strict=True)
        lines.append(f"| {name} | {' | '.join(f'{np.mean(one):.1f} ± {np.std(one):.1f}' for one in columns)} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
