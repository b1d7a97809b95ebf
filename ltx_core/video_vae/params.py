"""The video VAE's sizes, read from the `vae` section of a checkpoint's config."""

import math
from dataclasses import dataclass

from ..errors import CheckpointError, VariantError

SPATIAL_FACTOR = 32  # pixels along height and width in one latent cell
TEMPORAL_FACTOR = 8  # frames in one latent cell (the first latent frame holds one)
PIXEL_CHANNELS = 3

_STRIDES = {"compress_time": (2, 1, 1), "compress_space": (1, 2, 2), "compress_all": (2, 2, 2)}
_PADDING_MODES = ("zeros", "reflect")


@dataclass(frozen=True)
class ResidualStage:
    """A chain of residual blocks (`res_x`)."""

    layers: int


@dataclass(frozen=True)
class Resample:
    """One change of resolution by `stride` (frames, height, width), each 1 or 2.

    `multiplier` is how many times wider the side with fewer pixels is.  `residual` (LTX-2.0's decoder) adds the
    rearranged input to an upsampling; downsampling always does.
    """

    stride: tuple[int, int, int]
    multiplier: int
    residual: bool = False


Block = ResidualStage | Resample


@dataclass(frozen=True)
class VideoVAEParams:
    """What the encoder and decoder are built from; the block lists are in the order they run."""

    encoder_blocks: tuple[Block, ...]
    decoder_blocks: tuple[Block, ...]
    latent_channels: int = 128
    encoder_base_channels: int = 128
    decoder_base_channels: int = 128
    patch_size: int = 4
    encoder_padding: str = "zeros"
    decoder_padding: str = "reflect"
    causal_decoder: bool = False

    @property
    def decoder_bottleneck_channels(self) -> int:
        """Width of the decoder where it takes the latent in."""
        return self.decoder_base_channels * math.prod(
            block.multiplier for block in self.decoder_blocks if isinstance(block, Resample)
        )

    @classmethod
    def from_config(cls, config: dict) -> "VideoVAEParams":
        """Reads the whole `config` of a checkpoint; CheckpointError if it describes another kind of VAE.

        Missing keys mean what they mean to the vendor's configurator; its default for `timestep_conditioning` is
        true, a decoder that no LTX-2 file has.
        """
        vae = config.get("vae")
        if not isinstance(vae, dict):
            raise CheckpointError(
                "the file's config has no 'vae' section, so it holds no video VAE; use an LTX-2.3 checkpoint or a "
                "video VAE file that kept its metadata"
            )
        _check_kind(vae)
        padding = vae.get("spatial_padding_mode")
        params = cls(
            encoder_blocks=_read_encoder_blocks(vae),
            decoder_blocks=_read_decoder_blocks(vae),
            latent_channels=_positive(vae, "latent_channels", 128),
            encoder_base_channels=_positive(vae, "encoder_base_channels", 128),
            decoder_base_channels=_positive(vae, "decoder_base_channels", 128),
            patch_size=_positive(vae, "patch_size", 4),
            encoder_padding="zeros" if padding is None else padding,
            decoder_padding="reflect" if padding is None else padding,
            causal_decoder=bool(vae.get("causal_decoder", False)),
        )
        for side, blocks in (("encoder", params.encoder_blocks), ("decoder", params.decoder_blocks)):
            _check_compression(side, blocks, params.patch_size)
        return params


def _check_kind(vae: dict) -> None:
    kind = vae.get("_class_name", "CausalVideoAutoencoder")
    if kind != "CausalVideoAutoencoder":
        raise VariantError(
            f"the video VAE is a {kind}, expected LTX-2.0's or 2.3's CausalVideoAutoencoder (LTX-2.5 also ships a "
            "diffusion decoder, which this engine does not run); use the LTX-2.3 video VAE"
        )
    if vae.get("timestep_conditioning", True):
        raise VariantError(
            "the video VAE's config asks for timestep_conditioning (or does not say false), which only older LTX "
            "models have; use the video VAE of LTX-2.3 or LTX-2.0"
        )
    fixed = {
        "dims": 3,
        "in_channels": PIXEL_CHANNELS,
        "out_channels": PIXEL_CHANNELS,
        "norm_layer": "pixel_norm",
        "latent_log_var": "uniform",
    }
    for key, expected in fixed.items():
        found = vae.get(key, expected)
        if found != expected:
            raise CheckpointError(
                f"the video VAE's config has {key} = {found!r}, expected {expected!r} as in every LTX-2 file; "
                "use the file as its publisher released it"
            )
    padding = vae.get("spatial_padding_mode", "zeros")
    if padding not in _PADDING_MODES:
        raise CheckpointError(
            f"the video VAE's config has spatial_padding_mode = {padding!r}, expected one of "
            f"{', '.join(_PADDING_MODES)}; use the video VAE of LTX-2.3 or LTX-2.0"
        )


def _positive(section: dict, key: str, default: int) -> int:
    value = section.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CheckpointError(
            f"the video VAE's config has {key} = {value!r}, expected a whole number above 0; the file's metadata is "
            "damaged: download it again"
        )
    return value


def _block_entries(vae: dict, key: str) -> list[tuple[str, dict]]:
    entries = vae.get(key)
    if not entries or not isinstance(entries, list) or not all(isinstance(e, list) and len(e) == 2 for e in entries):
        raise CheckpointError(
            f"the video VAE's config has no {key}, or it is not a list of [name, options] pairs; use a file that kept "
            "its metadata"
        )
    # A plain number beside the name is the number of layers, the form of older files.
    return [(name, options if isinstance(options, dict) else {"num_layers": options}) for name, options in entries]


def _unknown_block(key: str, name: str, known: list[str]) -> CheckpointError:
    return CheckpointError(
        f"the video VAE's config has the block {name!r} in {key}, expected {', '.join(known)}; "
        "use the video VAE of LTX-2.3 or LTX-2.0"
    )


def _read_encoder_blocks(vae: dict) -> tuple[Block, ...]:
    strides = {f"{name}_res": stride for name, stride in _STRIDES.items()}
    blocks: list[Block] = []
    for name, options in _block_entries(vae, "encoder_blocks"):
        if name == "res_x":
            blocks.append(ResidualStage(_positive(options, "num_layers", 1)))
        elif name in strides:
            blocks.append(Resample(strides[name], _positive(options, "multiplier", 2), residual=True))
        else:
            raise _unknown_block("encoder_blocks", name, ["res_x", *strides])
    return tuple(blocks)


def _read_decoder_blocks(vae: dict) -> tuple[Block, ...]:
    blocks: list[Block] = []
    # The config lists the decoder from the pixels to the latent, the mirror image of how it runs.
    for name, options in reversed(_block_entries(vae, "decoder_blocks")):
        if name == "res_x":
            if options.get("inject_noise", False):
                raise VariantError(
                    "the video VAE's decoder injects noise (inject_noise), which only older LTX models do; "
                    "use the video VAE of LTX-2.3 or LTX-2.0"
                )
            blocks.append(ResidualStage(_positive(options, "num_layers", 1)))
        elif name in _STRIDES:
            # The vendor reads `residual` for compress_all only.
            residual = name == "compress_all" and bool(options.get("residual", False))
            blocks.append(Resample(_STRIDES[name], _positive(options, "multiplier", 1), residual))
        else:
            raise _unknown_block("decoder_blocks", name, ["res_x", *_STRIDES])
    return tuple(blocks)


def _check_compression(side: str, blocks: tuple[Block, ...], patch_size: int) -> None:
    strides = [block.stride for block in blocks if isinstance(block, Resample)]
    frames, height, width = (math.prod(axis) for axis in zip(*strides, strict=True)) if strides else (1, 1, 1)
    found = (frames, height * patch_size, width * patch_size)
    if found != (TEMPORAL_FACTOR, SPATIAL_FACTOR, SPATIAL_FACTOR):
        raise CheckpointError(
            f"the video VAE's {side} changes frames, height and width by {found}, expected (8, 32, 32) as in every "
            "LTX-2 file; use the video VAE of LTX-2.3 or LTX-2.0"
        )
