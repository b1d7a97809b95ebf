"""The video VAE's sizes, read from the `vae` section of a checkpoint's config."""

import math
from dataclasses import dataclass

from ..config_section import LONGEST_LIST, Section
from ..errors import VariantError

SPATIAL_FACTOR = 32  # pixels along height and width in one latent cell
TEMPORAL_FACTOR = 8  # frames in one latent cell (the first latent frame holds one)
PIXEL_CHANNELS = 3

_STRIDES = {"compress_time": (2, 1, 1), "compress_space": (1, 2, 2), "compress_all": (2, 2, 2)}
_PADDING_MODES = ("zeros", "reflect")
_FIXED = {
    "dims": 3,
    "in_channels": PIXEL_CHANNELS,
    "out_channels": PIXEL_CHANNELS,
    "norm_layer": "pixel_norm",
    "latent_log_var": "uniform",
}
_OFFICIAL = "Use the video VAE of LTX-2 as it was published."
DIFFUSION_VAE = "CausalDiffusionVAE"


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
        true, a decoder that no LTX-2 file has.  Of LTX-2.5's diffusion VAE these are the sizes of the encoder alone,
        and there are no decoder blocks: see `DiffusionDecoderParams`.
        """
        vae = Section.required(config, "vae", "the sizes of the video VAE")
        if vae.values.get("_class_name") == DIFFUSION_VAE:
            return _encoder_of_diffusion_vae(vae)
        _check_kind(vae)
        params = cls(
            encoder_blocks=tuple(map(_encoder_block, _blocks(vae, "encoder_blocks"))),
            # The config lists the decoder from the pixels to the latent, the mirror image of how it runs.
            decoder_blocks=tuple(map(_decoder_block, reversed(_blocks(vae, "decoder_blocks")))),
            latent_channels=vae.whole("latent_channels", 128),
            encoder_base_channels=vae.whole("encoder_base_channels", 128),
            decoder_base_channels=vae.whole("decoder_base_channels", 128),
            patch_size=vae.whole("patch_size", 4),
            encoder_padding=vae.choice("spatial_padding_mode", _PADDING_MODES, "zeros", _OFFICIAL),
            decoder_padding=vae.choice("spatial_padding_mode", _PADDING_MODES, "reflect", _OFFICIAL),
            causal_decoder=vae.boolean("causal_decoder", False),
        )
        _check_compression(vae, "encoder_blocks", params.encoder_blocks, params.patch_size)
        _check_compression(vae, "decoder_blocks", params.decoder_blocks, params.patch_size)
        return params


def _encoder_of_diffusion_vae(vae: Section) -> VideoVAEParams:
    """Its sizes stand in a table `encoder`, partly under other names, or beside the decoder's."""
    own = vae.section("encoder") if "encoder" in vae.values else vae
    key = "blocks" if "blocks" in own.values else "encoder_blocks"
    own.fixed({name: value for name, value in _FIXED.items() if name != "out_channels"}, _OFFICIAL)
    latent = vae.whole("latent_channels", 128)
    padding = vae.choice("encoder_spatial_padding_mode", _PADDING_MODES, "zeros", _OFFICIAL)
    if own is not vae:
        latent = own.whole("out_channels", latent)
    params = VideoVAEParams(
        encoder_blocks=tuple(map(_encoder_block, _blocks(own, key))),
        decoder_blocks=(),
        latent_channels=latent,
        encoder_base_channels=latent,
        patch_size=own.whole("patch_size", 4),
        encoder_padding=own.choice("spatial_padding_mode", _PADDING_MODES, padding, _OFFICIAL),
    )
    _check_compression(own, key, params.encoder_blocks, params.patch_size)
    return params


def _check_kind(vae: Section) -> None:
    vae.fixed({"_class_name": "CausalVideoAutoencoder"}, _OFFICIAL, VariantError)
    if vae.boolean("timestep_conditioning", True):
        expected = "False (True, or no entry, is of models before LTX-2)"
        raise vae.refusal("timestep_conditioning", expected, _OFFICIAL, VariantError)
    vae.fixed(_FIXED, _OFFICIAL)


def _blocks(vae: Section, key: str) -> list[Section]:
    """The [name, options] pairs at `key`, each as a section of its options and its `name`."""
    entries = vae.values.get(key)
    pairs = isinstance(entries, list) and all(isinstance(entry, list) and len(entry) == 2 for entry in entries)
    if not pairs or not 1 <= len(entries) <= LONGEST_LIST:
        raise vae.refusal(key, f"a list of 1 to {LONGEST_LIST} pairs [name, options]")
    blocks = []
    for number, (name, options) in enumerate(entries):
        # A plain number beside the name is the number of layers, the form of older files.
        options = options if isinstance(options, dict) else {"num_layers": options}
        blocks.append(Section({**options, "name": name}, path=f"{vae.path}{key}[{number}]."))
    return blocks


def _encoder_block(block: Section) -> Block:
    strides = {f"{name}_res": stride for name, stride in _STRIDES.items()}
    name = block.choice("name", ("res_x", *strides), to_do=_OFFICIAL)
    if name == "res_x":
        return ResidualStage(block.layers("num_layers", 1))
    return Resample(strides[name], block.whole("multiplier", 2), residual=True)


def _decoder_block(block: Section) -> Block:
    name = block.choice("name", ("res_x", *_STRIDES), to_do=_OFFICIAL)
    if name == "res_x":
        # Only models before LTX-2 add noise inside the decoder.
        block.fixed({"inject_noise": False}, _OFFICIAL, VariantError)
        return ResidualStage(block.layers("num_layers", 1))
    # The vendor reads `residual` for compress_all only.
    residual = name == "compress_all" and block.boolean("residual", False)
    return Resample(_STRIDES[name], block.whole("multiplier", 1), residual)


def _check_compression(vae: Section, key: str, blocks: tuple[Block, ...], patch_size: int) -> None:
    strides = [block.stride for block in blocks if isinstance(block, Resample)]
    frames, height, width = (math.prod(axis) for axis in zip(*strides, strict=True)) if strides else (1, 1, 1)
    found = (frames, height * patch_size, width * patch_size)
    expected = (TEMPORAL_FACTOR, SPATIAL_FACTOR, SPATIAL_FACTOR)
    if found != expected:
        raise vae.refusal(
            key,
            f"blocks that, with patch_size = {patch_size}, change frames, height and width by {expected}, "
            f"not by {found}",
            _OFFICIAL,
        )
