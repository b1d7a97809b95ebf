"""Expansion of GGUF's blocks, against the `gguf` package's own."""

import gguf
import numpy as np
import pytest
import torch

from ltx_duo.ltx_core.gguf_blocks import BLOCK_TYPES
from ltx_duo.tests.gguf_samples import random_blocks


@pytest.mark.parametrize("name", BLOCK_TYPES)
def test_as_the_package_expands(name, rng):
    kind = gguf.GGMLQuantizationType[name]
    assert gguf.GGML_QUANT_SIZES[kind] == (BLOCK_TYPES[name].size, BLOCK_TYPES[name].bytes)
    packed = random_blocks(name, 7, 5, rng)
    expected = torch.from_numpy(gguf.dequantize(packed.numpy(), kind))
    found = BLOCK_TYPES[name].expand(packed)
    assert torch.isfinite(expected).all() and expected.abs().max() > 0
    # Bits, as zeros have a sign.
    assert np.array_equal(found.numpy().view(np.uint32), expected.numpy().view(np.uint32))
