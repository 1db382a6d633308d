"""Pictures as a pretrained network takes them, rescaled and normalised where it runs.

Bytes travel there, a quarter of the numbers; the library's own preparation would make these on the CPU, one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from var_plugin.encoders.backbones.checkpoint import moved
from var_plugin.encoders.base import Picture

if TYPE_CHECKING:
    import torch


def pixels(pictures: Sequence[Picture], processor: Any, where: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Return (n, 3, height, width) on a device.

    Args:
        pictures: (height, width, 3) uint8 RGB each, of the size that the network looks at. They are looked at whole:
            a preparation that scales to more than the network's size, and crops, is not followed in that.
        processor: the model's own preparation, which says how numbers follow from bytes.
        where: the device of the network.
        dtype: its data type.
    """
    import torch

    made = moved(torch.from_numpy(np.stack(pictures)), where, torch.float32).permute(0, 3, 1, 2)
    if processor.do_rescale:
        made = made * processor.rescale_factor
    if processor.do_normalize:
        mean, deviation = torch.tensor((processor.image_mean, processor.image_std), device=where)[..., None, None]
        made = (made - mean) / deviation
    return made.to(dtype)
