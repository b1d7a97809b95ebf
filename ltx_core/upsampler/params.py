"""What a latent upsampler file says about itself in its `config` metadata."""

from dataclasses import dataclass
from fractions import Fraction

from ..config_section import Section
from ..errors import CheckpointError

NORM_GROUPS = 32
_OFFICIAL = "Use an official LTX-2 upscaler file."


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

    def check_doubles(self, source: object) -> None:
        """CheckpointError unless the upsampler, which the message calls `source`, is one for stage two."""
        if not self.doubles:
            raise CheckpointError(
                f"{source} enlarges {self.enlarges}; stage two works at twice the width and height of stage one. "
                "Choose the spatial x2 upsampler, ltx-2.3-spatial-upscaler-x2-1.1.safetensors."
            )

    @classmethod
    def from_config(cls, config: dict) -> "UpsamplerParams":
        """Reads the whole `config` of an upsampler file; CheckpointError if it is no upsampler we know.

        Missing keys mean what they mean to the vendor's configurator (model/upsampler).
        """
        section = Section(config, "The upsampler's config")
        section.fixed(
            {"_class_name": "LatentUpsampler"},
            "Choose one of the spatial or temporal upscaler files, such as "
            "ltx-2.3-spatial-upscaler-x2-1.1.safetensors.",
        )
        section.fixed({"dims": 3}, _OFFICIAL)
        spatial = section.boolean("spatial_upsample", True)
        temporal = section.boolean("temporal_upsample", False)
        if spatial == temporal:
            expected = f"{not spatial} beside temporal_upsample = {temporal}: exactly one of them is true"
            raise section.refusal("spatial_upsample", expected, _OFFICIAL)
        # A temporal file's spatial_scale and rational_resampler mean nothing.
        rational = spatial and section.boolean("rational_resampler", False)
        return cls(
            latent_channels=section.whole("in_channels", 128),
            mid_channels=section.whole("mid_channels", 512, multiple_of=NORM_GROUPS),
            blocks_per_stage=section.layers("num_blocks_per_stage", 4),
            spatial_scale=_scale(section, rational) if spatial else Fraction(1),
            temporal_scale=2 if temporal else 1,
            rational=rational,
        )


def _scale(section: Section, rational: bool) -> Fraction:
    known = (0.75, 1.5, 2.0, 4.0) if rational else (2.0,)
    to_do = f"These are the scales of rational_resampler = {rational}. {_OFFICIAL}"
    return Fraction(section.choice("spatial_scale", known, 2.0, to_do))
