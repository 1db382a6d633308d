"""Embed the sentences about events into the spaces of the suite lite, so that no user waits for it.

python -m recipes.lite.captions
"""

from __future__ import annotations

import numpy as np

from var_plugin.encoders.caption_memory import SHIPPED_CAPTIONS, caption_field, caption_file, read_captions
from var_plugin.encoders.registry import load_suite


def main() -> None:
    """Write one file per space. Files of other sentences or weights are removed."""
    SHIPPED_CAPTIONS.mkdir(exist_ok=True)
    for file in SHIPPED_CAPTIONS.glob("*.npy"):
        file.unlink()
    suite = load_suite("lite")
    for name, space in suite.spaces.items():
        texts, _ = read_captions(caption_field(space))
        vectors = suite.encode("text", texts, space=name)
        np.save(SHIPPED_CAPTIONS / caption_file(space, texts), vectors, allow_pickle=False)
        print(f"{name}: {len(texts)} sentences, {vectors.nbytes / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
