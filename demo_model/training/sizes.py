"""Sizes of the trained model: the official configs with as much as the drawn world needs, 40 MB in bfloat16.

Fixed by the architecture: 128 latent channels, 128 audio values a time step (and with them the audio VAE's width), the
text encoder's 640 channels (Gemma-3-270M).  `small` are the sizes of tests, which prove that training works at all.
"""

import copy
import json

from ...scripts.small_model_parts.sizes import OFFICIAL_CONFIG
from ...scripts.small_model_parts.sizes import UPSAMPLER_CONFIG as RANDOM_UPSAMPLER_CONFIG

MODEL_VERSION = "2.3.0-demo"
# Of the 128 video latent channels; the others are zero and nothing reads them.  What removes noise has to carry all of
# it from input to output, and 128 channels of it would leave a transformer this narrow no room for anything else.
USED_CHANNELS = 32
TEXT_CHANNELS = 640


def model_config(small: bool = False) -> dict:
    """The checkpoint's `config`."""
    config = json.loads(OFFICIAL_CONFIG.read_text())
    _transformer(config["transformer"], small)
    _video_vae(config["vae"], small)
    # The decoder has one block more at each level, the encoder only those in the middle.
    config["audio_vae"]["model"]["params"]["ddconfig"].update(ch_mult=[1, 1, 1], num_res_blocks=0)
    _vocoder(config["vocoder"], small)
    return config


def upsampler_config(small: bool = False) -> dict:
    """The upsampler file's `config`; its group norms would lose the picture's colours in fewer channels than 64."""
    return {**copy.deepcopy(RANDOM_UPSAMPLER_CONFIG), "mid_channels": 32 if small else 64}


def _transformer(config: dict, small: bool) -> None:
    # A stream carries the noise of all channels to its output: of sound all 128 are used.
    heads, audio_width, layers = (2, 32, 2) if small else (5, 160, 5)
    config.update(
        num_layers=layers,
        num_attention_heads=heads,
        attention_head_dim=32,
        cross_attention_dim=32 * heads,
        audio_num_attention_heads=heads,
        audio_attention_head_dim=audio_width // heads,
        audio_cross_attention_dim=audio_width,
        caption_channels=TEXT_CHANNELS,
        connector_num_layers=1,
        connector_num_attention_heads=heads,
        connector_attention_head_dim=32,
        audio_connector_num_attention_heads=heads,
        audio_connector_attention_head_dim=audio_width // heads,
    )


def _video_vae(config: dict, small: bool) -> None:
    # From pixels to latent: 4x4 patches, then half the size, half the frames, half of both, half of both.
    width, layers = (8, (1, 1, 1, 1, 1)) if small else (32, (1, 1, 1, 1, 2))
    config["encoder_base_channels"] = width
    config["encoder_blocks"] = _blocks("_res", layers, (2, 1, 1, 1))
    width, layers = (8, (1, 1, 1, 1, 1)) if small else (24, (1, 2, 1, 2, 2))
    config["decoder_base_channels"] = width
    config["decoder_blocks"] = _blocks("", layers, (1, 2, 1, 1))


def _blocks(suffix: str, layers: tuple[int, ...], multipliers: tuple[int, ...]) -> list[list]:
    blocks = [["res_x", {"num_layers": layers[0]}]]
    kinds = ("compress_space", "compress_time", "compress_all", "compress_all")
    for kind, multiplier, count in zip(kinds, multipliers, layers[1:], strict=True):
        blocks += [[kind + suffix, {"multiplier": multiplier}], ["res_x", {"num_layers": count}]]
    return blocks


def _vocoder(config: dict, small: bool) -> None:
    # Fewer and larger steps than the official networks, so that the last ones have more than two channels; only two
    # steps in the first network, which else learns sounds above 2 kHz too slowly.
    residual = {"resblock_kernel_sizes": [3, 7], "resblock_dilation_sizes": [[1, 3, 5]] * 2}
    config["vocoder"].update(
        residual,
        upsample_rates=[10, 16],
        upsample_kernel_sizes=[20, 32],
        upsample_initial_channel=16 if small else 80,
    )
    config["bwe"].update(
        residual,
        upsample_rates=[6, 5, 4, 2],
        upsample_kernel_sizes=[12, 11, 8, 4],
        upsample_initial_channel=32 if small else 64,
    )
