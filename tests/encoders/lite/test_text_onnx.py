"""The two text encoders of the lite suite compute the same vectors."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from tests.tolerances import FLOAT32
from var_plugin.encoders.registry import load_suite

TEXTS = [
    "two men fight in a street",
    "a dog barks",
    "rocket",
    "a",
    "?!",
    "ein rotes Auto, das gegen eine Wand fährt",
    "监控 摄像头 🎥 \u2028 é",
    "A PERSON FALLS OFF A BICYCLE AND STANDS UP AGAIN",
    "gunshots, then people scream and run away from the entrance of a shop " * 40,
    "the sound of breaking glass",
]


@pytest.mark.parametrize("space", ["scene", "sound"])
def test_onnx_and_torch_give_the_same_vectors(space: str) -> None:
    suite = load_suite("lite")
    together = suite.encode("text", TEXTS, space=space)
    single = np.concatenate([suite.encode("text", [text], space=space) for text in TEXTS])
    assert single.dtype == together.dtype
    np.testing.assert_allclose(single, together, atol=FLOAT32)
    np.testing.assert_allclose((single * together).sum(1), (together * together).sum(1), atol=FLOAT32)


def test_encoding_a_text_imports_neither_torch_nor_a_decoder() -> None:
    script = """
import sys
from var_plugin.encoders.registry import load_suite
suite = load_suite("lite")
print(sum(float(abs(suite.encode("text", ["fire"], space=name)).sum()) > 0 for name in suite.spaces))
print([name for name in ("torch", "transformers", "pymilvus", "av") if name in sys.modules])
"""
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert process.stdout == "2\n[]\n"
    assert not process.stderr
