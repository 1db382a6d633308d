"""Measure the seconds of audio that the `sound` space of the lite suite encodes per CPU second, and YAMNet's network.

    python benchmarks/audio_speed.py [--yamnet yamnet.tflite]

The input is decoded white noise in one thread: log-mel windows, network and tower, as users run them. The network is
also timed alone, and YAMNet in torch on the same windows if its file is given (needs ai-edge-litert). The output has
medians of nine alternating runs.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch

from recipes.lite.yamnet import Yamnet
from var_plugin.encoders.audio_features import encode_audio
from var_plugin.encoders.lite.audio import LiteAudioEncoder
from var_plugin.encoders.lite.networks import LogMel
from var_plugin.media.decoded import SAMPLE_RATE

SECONDS, RUNS = 60, 9


def cpu_seconds(call: Callable[[], object]) -> float:
    """Return the CPU seconds of one call, summed over all threads."""
    started = time.process_time()
    call()
    return time.process_time() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--yamnet", type=Path, help="yamnet.tflite, for comparison")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    noise = np.random.default_rng(0).normal(0, 0.1, SECONDS * SAMPLE_RATE).astype(np.float32)
    encoder = LiteAudioEncoder()
    windows = LogMel()(torch.from_numpy(noise).unfold(0, encoder.window, encoder.hop))
    networks = {"network alone": encoder.network}
    if arguments.yamnet:
        networks["YAMNet's network alone"] = Yamnet(arguments.yamnet).trunk()

    def batches(network: torch.nn.Module) -> None:
        with torch.inference_mode():
            for batch in windows.split(32):
                network(batch)

    calls: dict[str, Callable[[], object]] = {"everything, as users run it": lambda: encode_audio([noise], encoder)}
    calls |= {name: (lambda network=network: batches(network)) for name, network in networks.items()}
    for call in calls.values():
        call()
    runs = [{name: cpu_seconds(call) for name, call in calls.items()} for _ in range(RUNS)]
    for name in calls:
        sys.stdout.write(f"{name}: {SECONDS / median(run[name] for run in runs):,.0f} s of audio per CPU second\n")


if __name__ == "__main__":
    main()
