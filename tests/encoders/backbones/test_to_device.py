from __future__ import annotations

import pytest
import torch

from var_plugin.encoders.hub import to_device


@pytest.mark.parametrize("where", ["cpu", "cuda"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_tensor_is_moved_with_the_dtype_of_the_network(where: str, dtype: torch.dtype) -> None:
    if where == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU here")
    tensor = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    there = to_device(tensor, torch.device(where), dtype)
    assert (there.device.type, there.dtype) == (where, dtype)
    torch.testing.assert_close(there.cpu(), tensor.to(dtype), rtol=0, atol=0)
