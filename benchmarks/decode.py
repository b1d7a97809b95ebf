"""Video decode, whole and in tiles: ours beside the vendor's and diffusers' decoders, random weights."""

from collections.abc import Callable, Sequence

import torch
from measure import weight_bytes
from workload import Case, randomise

from ltx_duo.ltx_core.two_stage import decode_video
from ltx_duo.ltx_core.video_vae import DEFAULT_TILING, VideoDecoder, VideoVAEParams
from ltx_duo.ltx_core.video_vae.tiling import even_tiling

DIFFUSERS = {
    "latent_channels": 128,
    "layers_per_block": (4, 6, 4, 2, 2),
    "decoder_causal": False,
    "timestep_conditioning": False,
    "encoder_spatial_padding_mode": "zeros",
    "block_out_channels": (256, 512, 1024, 1024),
    "decoder_block_out_channels": (256, 512, 512, 1024),
    "decoder_layers_per_block": (4, 6, 4, 2, 2),
    "decoder_spatio_temporal_scaling": (True,) * 4,
    "decoder_inject_noise": (False,) * 5,
    "upsample_type": ("spatiotemporal", "spatiotemporal", "temporal", "spatial"),
    "upsample_residual": (False,) * 4,
    "upsample_factor": (2, 2, 1, 2),
    "decoder_spatial_padding_mode": "zeros",
}


def random_decoder(settings: dict, device: str, dtype: torch.dtype, seed: int) -> VideoDecoder:
    decoder = randomise(VideoDecoder(VideoVAEParams.from_config(settings), dtype=dtype, device=device), seed).eval()
    decoder.per_channel_statistics.get_buffer("mean-of-means").zero_()
    decoder.per_channel_statistics.get_buffer("std-of-means").fill_(1.0)
    return decoder


def calls(
    settings: dict, case: Case, device: str, dtype: torch.dtype, seed: int, peers: Sequence[str]
) -> tuple[dict[str, Callable], dict[str, int]]:
    """What is timed, and the bytes of each one's weights.

    Frames come on the CPU from us; the peers' stay on the GPU, where their decoders leave them.
    """
    decoder = random_decoder(settings, device, dtype, seed)
    geometry = case.geometry
    generator = torch.Generator(device).manual_seed(seed)
    latent = torch.randn(1, *geometry.video_shape, generator=generator, device=device).to(dtype)
    size = geometry.frames, geometry.height, geometry.width
    result = {
        "ours whole": lambda: decode_video(decoder, latent),
        "ours in 3x3 tiles": lambda: decode_video(decoder, latent, even_tiling(*size, 3)),
        "ours tiled as the vendor": lambda: decode_video(decoder, latent, DEFAULT_TILING),
    }
    weights = dict.fromkeys(("vendor 1.0 whole", "vendor 1.0 tiled", *result), weight_bytes(decoder))
    if "vendor 1.0" in peers:
        theirs = _vendor(settings, decoder)
        result["vendor 1.0 whole"] = lambda: theirs(latent)
        result["vendor 1.0 tiled"] = lambda: list(theirs.tiled_decode(latent, _vendor_tiling()))
    if "diffusers" in peers:
        model = _diffusers(device, dtype, seed)
        result["diffusers whole"] = lambda: _diffusers_decode(model, latent, tiled=False)
        result["diffusers tiled"] = lambda: _diffusers_decode(model, latent, tiled=True)
        weights |= dict.fromkeys(("diffusers whole", "diffusers tiled"), weight_bytes(model))
    return result, weights


def _vendor(settings: dict, decoder: VideoDecoder):
    from ltx_core.model.video_vae.model_configurator import VideoDecoderConfigurator

    with torch.device("meta"):
        theirs = VideoDecoderConfigurator.from_config(settings)
    theirs.load_state_dict(decoder.state_dict(), strict=True, assign=True)
    return theirs.eval()


def _vendor_tiling():
    from ltx_core.model.video_vae.tiling import TilingConfig

    return TilingConfig.default()


def _diffusers(device: str, dtype: torch.dtype, seed: int):
    from diffusers import AutoencoderKLLTX2Video

    with torch.device(device):
        model = AutoencoderKLLTX2Video(**DIFFUSERS).to(dtype)
    return randomise(model, seed).eval()


def _diffusers_decode(model, latent, *, tiled: bool):
    model.enable_tiling() if tiled else model.disable_tiling()
    return model.decode(latent, return_dict=False)[0]
