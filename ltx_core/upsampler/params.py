"""What a latent upsampler file says about itself in its `config` metadata."""

from dataclasses import dataclass
from fractions import Fraction

from ..errors import CheckpointError

NORM_GROUPS = 32
_RATIONAL_SCALES = (Fraction(3, 4), Fraction(3, 2), Fraction(2), Fraction(4))


@dataclass(frozen=True)
class UpsamplerParams:
    """Sizes of a latent upsampler; it scales either height and width or time.

    `spatial_scale` is 1 for a temporal upsampler; `temporal_scale` is 1 or 2 (F latent frames become 2*F - 1).
    `rational` is the resampler that can also make 1.5 times: a pixel shuffle, then a blurred reduction.
    """

    latent_channels: int = 128
    mid_channels: int = 512
    blocks_per_stage: int = 4
    spatial_scale: Fraction = Fraction(2)
    temporal_scale: int = 1
    rational: bool = False

    @property
    def doubles(self) -> bool:
        """Whether it makes twice the width and height of the same frames, as stage two wants it."""
        return self.spatial_scale == 2 and self.temporal_scale == 1

    @property
    def enlarges(self) -> str:
        """What it does, for messages: "by 1.5 in width and height"."""
        return "in time" if self.temporal_scale != 1 else f"by {float(self.spatial_scale):g} in width and height"

    @classmethod
    def from_config(cls, config: dict) -> "UpsamplerParams":
        """Reads the whole `config` of an upsampler file; CheckpointError if it is no upsampler we know.

        Missing keys mean what they mean to the vendor's configurator (model/upsampler).
        """
        kind = config.get("_class_name", "LatentUpsampler")
        if kind != "LatentUpsampler":
            raise CheckpointError(
                f"the file holds a {kind}, expected a LatentUpsampler; choose one of the spatial or temporal upscaler "
                "files, such as ltx-2.3-spatial-upscaler-x2-1.1.safetensors"
            )
        if config.get("dims", 3) != 3:
            raise CheckpointError(
                f"the upsampler's config has dims = {config['dims']!r}, expected 3 as in every LTX-2 file; use an "
                "official LTX-2 upscaler file"
            )
        spatial, temporal = config.get("spatial_upsample", True), config.get("temporal_upsample", False)
        if bool(spatial) == bool(temporal):
            raise CheckpointError(
                f"the upsampler's config has spatial_upsample = {spatial!r} and temporal_upsample = {temporal!r}, "
                "expected exactly one of them; use an official LTX-2 upscaler file"
            )
        # A temporal file's spatial_scale and rational_resampler mean nothing.
        rational = bool(spatial and config.get("rational_resampler", False))
        return cls(
            latent_channels=_positive(config, "in_channels", 128),
            mid_channels=_positive(config, "mid_channels", 512, multiple_of=NORM_GROUPS),
            blocks_per_stage=_positive(config, "num_blocks_per_stage", 4),
            spatial_scale=_scale(config.get("spatial_scale", 2.0), rational) if spatial else Fraction(1),
            temporal_scale=2 if temporal else 1,
            rational=rational,
        )


def _positive(config: dict, key: str, default: int, multiple_of: int = 1) -> int:
    value = config.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1 or value % multiple_of:
        what = "a whole number above 0" if multiple_of == 1 else f"a multiple of {multiple_of}"
        raise CheckpointError(
            f"the upsampler's config has {key} = {value!r}, expected {what}; the file's metadata is damaged: "
            "download it again"
        )
    return value


def _scale(value: object, rational: bool) -> Fraction:
    known = _RATIONAL_SCALES if rational else (Fraction(2),)
    if not isinstance(value, int | float) or value not in known:
        raise CheckpointError(
            f"the upsampler's config has spatial_scale = {value!r}, expected "
            f"{', '.join(str(float(scale)) for scale in known)} (rational_resampler is {str(rational).lower()}); use "
            "an official LTX-2 upscaler file"
        )
    return Fraction(value)
