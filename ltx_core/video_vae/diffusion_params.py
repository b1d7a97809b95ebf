"""Sizes of LTX-2.5's diffusion video decoder, read from the `vae` section of a checkpoint's config."""

import math
from dataclasses import dataclass

from ..config_section import LONGEST_LIST, Section
from ..errors import VariantError
from .params import DIFFUSION_VAE, PIXEL_CHANNELS, SPATIAL_FACTOR, TEMPORAL_FACTOR

Extent = tuple[int, int, int]  # frames, height, width

_OFFICIAL = "Use the diffusion video VAE of LTX-2.5 as it was published."
_STEPS = "Other decoders take several steps; use the distilled one, which is published for LTX-2.5."


@dataclass(frozen=True)
class NeighborhoodStage:
    """Blocks at one resolution, `channels` wide; each token attends to the `kernel` tokens around it."""

    channels: int
    layers: int
    kernel: Extent


@dataclass(frozen=True)
class Upsampling:
    """One growth by `stride`, each 1 or 2, to channels / `reduction`."""

    stride: Extent
    reduction: int


@dataclass(frozen=True)
class DiffusionDecoderParams:
    """What the diffusion decoder is built from.

    `stages`, each with its upsampling, turn the latent into a context; the `final` stage turns noise into patches of
    `patch_size` squared pixels beside it, in one step.
    """

    stages: tuple[NeighborhoodStage, ...]
    upsamplings: tuple[Upsampling, ...]
    final: NeighborhoodStage
    latent_channels: int = 128
    patch_size: int = 4
    head_dim: int = 64
    time_width: int = 384
    timestep_scale: float = 1000.0

    @property
    def ghost_frames(self) -> int:
        """Latent frames that repeat the last one through all stages, so that no frame that is kept sees the end."""
        return self.stages[0].kernel[0] // 2 * 2

    @property
    def smallest_latent(self) -> Extent:
        """The fewest latent frames, rows and columns in which every stage has room for its kernel."""
        cells, smallest = (1, 1, 1), (1, 1, 1)
        strides = [upsampling.stride for upsampling in self.upsamplings]
        for stage, stride in zip((*self.stages, self.final), (*strides, (1, 1, 1)), strict=True):
            needed = (-(-kernel // size) for kernel, size in zip(stage.kernel, cells, strict=True))
            smallest = tuple(map(max, smallest, needed))
            cells = tuple(size * step for size, step in zip(cells, stride, strict=True))
        # Of the first latent frame only one frame is left in the end.
        frames = -(-(self.final.kernel[0] - 1) // TEMPORAL_FACTOR) + 1
        return max(smallest[0], frames), *smallest[1:]

    @property
    def smallest_tile(self) -> Extent:
        """The same for the last stage before the final one, where tiles are cut."""
        stage, stride = self.stages[-1], self.upsamplings[-1].stride
        return tuple(
            max(own, -(-last // step)) for own, last, step in zip(stage.kernel, self.final.kernel, stride, strict=True)
        )

    @classmethod
    def from_config(cls, config: dict) -> "DiffusionDecoderParams":
        """Reads the whole `config` of a checkpoint; CheckpointError if it describes another kind of decoder.

        Missing sizes mean what they mean to the vendor's configurator, which are not those of the published file.
        """
        vae = Section.required(config, "vae", "the sizes of the video VAE")
        if vae.values.get("_class_name") != DIFFUSION_VAE:
            raise vae.refusal("_class_name", repr(DIFFUSION_VAE), _OFFICIAL, VariantError)
        decoder = vae.section("decoder") if "decoder" in vae.values else vae
        # To the vendor, a decoder that does not say so takes two steps and predicts a velocity.
        if vae.values.get("model_output_type") != "x0":
            raise vae.refusal("model_output_type", "'x0'", _STEPS)
        if decoder.values.get("default_num_inference_steps") != 1:
            raise decoder.refusal("default_num_inference_steps", "1", _STEPS)
        channels = decoder.wholes("stage_channels", (1024, 512, 256, 256, 128))
        decoder.fixed({"out_channels": PIXEL_CHANNELS, "stage5_channels": channels[-1]}, _OFFICIAL)
        layers = decoder.wholes("stage_depths", (4, 6, 4, 2, 8))
        kernels = decoder.lists_of_wholes("stage_kernels", ((3, 7, 7), (3, 7, 7), (3, 5, 5), (3, 5, 5), (3, 3, 3)))
        upsamplings = _upsamplings(decoder)
        count = len(upsamplings) + 1
        for key, found in (("stage_channels", channels), ("stage_depths", layers), ("stage_kernels", kernels)):
            # The last kernel stands in an entry of its own.
            if len(found) != count and not (key == "stage_kernels" and len(found) == count - 1):
                raise decoder.refusal(key, f"{count} entries, one more than upsamples", _OFFICIAL)
        if any(len(kernel) != 3 for kernel in kernels):
            raise decoder.refusal("stage_kernels", "three numbers for each stage", _OFFICIAL)
        final_kernel = decoder.wholes("stage5_kernel", (3, 7, 7))
        if len(final_kernel) != 3:
            raise decoder.refusal("stage5_kernel", "three numbers", _OFFICIAL)
        stages = tuple(map(NeighborhoodStage, channels[:-1], layers[:-1], kernels))
        head_dim = decoder.whole("head_dim", decoder.whole("na_head_dim", 64), multiple_of=8)
        params = cls(
            stages=stages,
            upsamplings=upsamplings,
            final=NeighborhoodStage(channels[-1], layers[-1], final_kernel),
            latent_channels=decoder.whole("in_channels", vae.whole("latent_channels", 128)),
            patch_size=decoder.whole("patch_size", 4),
            head_dim=head_dim,
            time_width=decoder.whole("t_emb_dim", 384),
            timestep_scale=decoder.number("timestep_scale_multiplier", 1.0),
        )
        _check(decoder, params, channels)
        return params


def _upsamplings(decoder: Section) -> tuple[Upsampling, ...]:
    """The [stride, reduction] pairs at `upsamples`."""
    default = [[[1, 2, 2], 2], [[2, 1, 1], 2], [[2, 2, 2], 1], [[2, 2, 2], 2]]
    entries = decoder.values.get("upsamples", default)
    fits = isinstance(entries, list) and 1 <= len(entries) <= LONGEST_LIST and all(map(_is_upsampling, entries))
    if not fits:
        raise decoder.refusal("upsamples", "pairs [stride, reduction], each stride three times 1 or 2", _OFFICIAL)
    return tuple(Upsampling(tuple(stride), reduction) for stride, reduction in entries)


def _is_upsampling(entry: object) -> bool:
    if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[0], list):
        return False
    numbers = [*entry[0], entry[1]]
    whole = all(isinstance(number, int) and not isinstance(number, bool) for number in numbers)
    return whole and len(entry[0]) == 3 and all(step in (1, 2) for step in entry[0]) and 1 <= entry[1] <= 8


def _check(decoder: Section, params: DiffusionDecoderParams, channels: tuple[int, ...]) -> None:
    for own, upsampling, following in zip(channels, params.upsamplings, channels[1:], strict=False):
        if own != following * upsampling.reduction:
            raise decoder.refusal("stage_channels", "widths that shrink as upsamples say", _OFFICIAL)
    if any(width % params.head_dim for width in channels):
        raise decoder.refusal("stage_channels", f"multiples of head_dim = {params.head_dim}", _OFFICIAL)
    strides = zip(*(upsampling.stride for upsampling in params.upsamplings), strict=True)
    frames, height, width = map(math.prod, strides)
    if (frames, height * params.patch_size, width * params.patch_size) != (
        TEMPORAL_FACTOR,
        SPATIAL_FACTOR,
        SPATIAL_FACTOR,
    ):
        raise decoder.refusal(
            "upsamples",
            f"strides that, with patch_size = {params.patch_size}, make 8 frames and 32 x 32 pixels of a latent cell",
            _OFFICIAL,
        )
