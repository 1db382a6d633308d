"""Text and image encoders of the lite suite's `scene` space. Their vectors end with the events of `lite.events`.

`lite.video` encodes videos into the same space.
"""

from __future__ import annotations

from collections.abc import Sequence

from var_plugin.encoders.base import ImageArray, Vectors, in_batches
from var_plugin.encoders.lite.events import EventHeads, append_events
from var_plugin.encoders.lite.image_text import LiteImageEncoder
from var_plugin.encoders.lite.video import LiteAlan
from var_plugin.encoders.residual import Reader, ResidualImageEncoder, ResidualTextEncoder


class SceneTextEncoder:
    """Encode texts, with the events that they are about; a `TextEncoder`.

    Args:
        read: maps texts to vectors and sentence vectors.
        alan: the model.
        heads: the event heads.
    """

    def __init__(self, read: Reader, alan: LiteAlan, heads: EventHeads) -> None:
        self._texts, self._heads = ResidualTextEncoder(read, alan), heads
        self._dim = scene_dim(alan, heads)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return L2-normalised vectors (n, dim) float32. The text sets the weights of motion and of events."""
        return in_batches(self._encode, texts, self._dim)

    def _encode(self, texts: Sequence[str]) -> Vectors:
        vectors, sentences = self._texts.encode_with_sentences(texts)
        return append_events(vectors, self._heads.described_events(sentences))


class SceneImageEncoder:
    """Encode images, with the events that they show; an `ImageEncoder`.

    Args:
        images: encodes the images without events.
        alan: the model.
        heads: the event heads.
    """

    def __init__(self, images: LiteImageEncoder, alan: LiteAlan, heads: EventHeads) -> None:
        self._images, self._refined, self._heads = images, ResidualImageEncoder(images, alan), heads
        self._dim = scene_dim(alan, heads)
        self.size = images.size

    def encode(self, images: Sequence[ImageArray]) -> Vectors:
        """Return L2-normalised vectors (n, dim) float32. Raises as `LiteImageEncoder`."""
        return in_batches(self._encode, images, self._dim)

    def _encode(self, images: Sequence[ImageArray]) -> Vectors:
        objects, maps = self._images.encode_with_maps(images)
        return append_events(self._refined.refine(objects), self._heads.visible_events(self._heads.logits(maps)))


def scene_dim(alan: LiteAlan, heads: EventHeads) -> int:
    """Return the dimension of the space."""
    return alan.dim + len(heads.searched_kinds)
