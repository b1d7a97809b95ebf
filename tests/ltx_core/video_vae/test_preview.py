"""The small decoder for previews: its formula, and what it refuses to load."""

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from ltx_duo.ltx_core.errors import CheckpointError
from ltx_duo.ltx_core.safetensors_file import SafetensorsFile
from ltx_duo.ltx_core.video_vae.preview import PreviewDecoder, load_preview_decoder

WIDTHS = (6, 5, 4)


@pytest.fixture
def decoder(rng) -> PreviewDecoder:
    decoder = PreviewDecoder(WIDTHS)
    for parameter in decoder.parameters():
        parameter.data = torch.randn(parameter.shape, generator=rng)
    return decoder


def write(path, tensors) -> SafetensorsFile:
    save_file(tensors, path)
    return SafetensorsFile.open(path)


@torch.no_grad()
def test_formula(decoder, rng):
    latent = torch.randn(2, 128, 3, 2, generator=rng)
    weights = decoder.state_dict()
    x = torch.einsum("oi,bihw->bohw", weights["mix.weight"][:, :, 0, 0], latent) + weights["mix.bias"][:, None, None]
    for number in range(3):
        weight, bias = (weights[f"convs.{number}.{name}"] for name in ("weight", "bias"))
        x = F.conv2d(x * torch.sigmoid(x), weight, bias, padding=1)
        if number < 2:
            x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    made = decoder(latent)
    assert made.shape == (2, 3, 12, 8)
    torch.testing.assert_close(made, x, rtol=1e-5, atol=1e-4 * float(x.abs().max()))


@torch.no_grad()
def test_comes_back_from_its_file(decoder, rng, tmp_path):
    half = {name: tensor.bfloat16() for name, tensor in decoder.state_dict().items()}
    loaded = load_preview_decoder(write(tmp_path / "own.safetensors", half))
    assert all(torch.equal(tensor, half[name].float()) for name, tensor in loaded.state_dict().items())
    latent = torch.randn(1, 128, 2, 2, generator=rng)
    decoder.load_state_dict(loaded.state_dict())
    assert torch.equal(loaded(latent), decoder(latent))


@pytest.mark.parametrize(
    "changes",
    [
        {"mix.weight": torch.zeros(6, 16, 1, 1)},
        {"mix.bias": torch.zeros(())},
        {"convs.1.weight": torch.zeros(4, 5, 1, 1)},
        {"convs.2.bias": torch.zeros(1)},
        {"other": torch.zeros(1)},
        {"mix.bias": None},
        dict.fromkeys((f"more.{number}" for number in range(40)), torch.zeros(1)),
    ],
)
def test_other_tensors_are_refused(decoder, changes, tmp_path):
    tensors = {name: tensor for name, tensor in {**decoder.state_dict(), **changes}.items() if tensor is not None}
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    with pytest.raises(CheckpointError, match="no decoder for previews.*[Dd]elete it"):
        load_preview_decoder(write(tmp_path / "other.safetensors", tensors))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(decoder, value, tmp_path):
    tensors = decoder.state_dict()
    tensors["convs.0.bias"][1] = value
    with pytest.raises(CheckpointError, match="not finite"):
        load_preview_decoder(write(tmp_path / "broken.safetensors", tensors))
