"""Guidance settings of stage one."""

from comfy_api.latest import io

from .declared import declared, shortened
from .names import AUTO_BLOCKS, CUSTOM, FROM_MODEL, GUIDANCE, HIGH_QUALITY, NO_GUIDANCE
from .schema import CATEGORY, advanced
from .schema import Guidance as GuidanceType
from .validation import Wrong, validation

SCALES = {
    "cfg": "Classifier-free guidance of the {0}: how strongly it follows the prompt. 1 is off.",
    "stg": "Spatio-temporal guidance of the {0}: pushes away from a run with weakened self-attention. 0 is off.",
    "modality": "Modality guidance of the {0}: how strongly it follows the other modality. 1 is off.",
    "rescale": "Brings the guided {0} back towards its unguided contrast. 0 is off, 1 is full.",
}
BLOCK_DIGITS = 4  # no model has more blocks than that
MODALITY_NAMES = {"video": "picture", "audio": "sound"}


def _scale_inputs(modality: str) -> list[io.Input]:
    from ..ltx_core.variants import Kind, variant_of

    inputs, defaults = [], getattr(variant_of(Kind.DEV).guidance, modality)
    for scale, tooltip in SCALES.items():
        text = tooltip.format(MODALITY_NAMES[modality]) + " Used with preset 'custom'."
        top, default = 1.0 if scale == "rescale" else 30.0, getattr(defaults, scale)
        inputs.append(io.Float.Input(f"{modality}_{scale}", default=default, min=0.0, max=top, step=0.05, tooltip=text))
    return inputs


class Guidance(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=GUIDANCE,
            display_name="LTX Guidance",
            category=CATEGORY,
            description="Guidance for picture and sound in stage one. Without this node stage one takes what the "
            "loaded model calls for.",
            inputs=[
                io.Combo.Input(
                    "preset",
                    options=[CUSTOM, FROM_MODEL, NO_GUIDANCE, HIGH_QUALITY],
                    default=CUSTOM,
                    tooltip="custom: the values below. from the model: the vendor's values for the loaded model. "
                    "none: one pass a step without negative prompt, for distilled models. high quality: the "
                    "vendor's for sampler res_2s, without spatio-temporal guidance.",
                ),
                *_scale_inputs("video"),
                *_scale_inputs("audio"),
                io.String.Input(
                    "stg_blocks",
                    default=AUTO_BLOCKS,
                    tooltip="Transformer blocks that spatio-temporal guidance weakens, with commas. auto: the one that "
                    "suits the model, 28 for LTX-2.3, 29 for LTX-2.0. Used with preset 'custom'.",
                ),
                advanced(
                    io.Int.Input(
                        "skip_step",
                        default=0,
                        min=0,
                        max=16,
                        tooltip="Guide one step, then repeat its result for this many steps; 0 guides every step. "
                        "Faster and less exact. Used with preset 'custom'.",
                    )
                ),
                advanced(
                    io.Boolean.Input(
                        "reuse_guidance",
                        default=False,
                        tooltip="On: where steps are short, every other one runs the prompt's pass alone and takes "
                        "the rest from the steps before. With 30 steps about 0.7 of the time; measured with a small "
                        "model, nearer to the full film than 22 steps. For sampler euler. Used with preset 'custom'.",
                    )
                ),
            ],
            outputs=[GuidanceType.Output(display_name="guidance", tooltip="For LTX Stage One Sampler.")],
            hidden=[io.Hidden.unique_id],
        )

    @validation
    def validate_inputs(wrong: Wrong, stg_blocks=None, preset=None, skip_step=None, reuse_guidance=None):
        if stg_blocks is not None:
            wrong.attempt("stg_blocks", parse_blocks, stg_blocks)
        if preset == CUSTOM and skip_step is not None and reuse_guidance is not None:
            from ..ltx_core.sampling.guidance import Guidance as Settings

            wrong.attempt("reuse_guidance", lambda: Settings(skip_step=skip_step, reuse=reuse_guidance))

    @classmethod
    @declared
    def execute(
        cls,
        preset: str,
        video_cfg: float,
        video_stg: float,
        video_modality: float,
        video_rescale: float,
        audio_cfg: float,
        audio_stg: float,
        audio_modality: float,
        audio_rescale: float,
        stg_blocks: str,
        skip_step: int,
        reuse_guidance: bool,
    ) -> io.NodeOutput:
        from ..ltx_core.sampling import guidance as engine

        if preset == FROM_MODEL:
            return io.NodeOutput(None)
        if preset == NO_GUIDANCE:
            return io.NodeOutput(engine.OFF)
        if preset == HIGH_QUALITY:
            return io.NodeOutput(engine.LTX_2_3_HQ)
        video = engine.ModalityGuidance(cfg=video_cfg, stg=video_stg, modality=video_modality, rescale=video_rescale)
        audio = engine.ModalityGuidance(cfg=audio_cfg, stg=audio_stg, modality=audio_modality, rescale=audio_rescale)
        how = {"stg_blocks": parse_blocks(stg_blocks), "skip_step": skip_step, "reuse": reuse_guidance}
        return io.NodeOutput(engine.Guidance(video, audio, **how))


def parse_blocks(text: str) -> tuple[int, ...] | None:
    """Block numbers out of "28" or "14, 19", None out of "auto"; ConditioningError if the text is anything else."""
    from ..ltx_core.errors import ConditioningError

    parts = text.replace(",", " ").split()
    if parts == [AUTO_BLOCKS]:
        return None
    if not parts:
        raise ConditioningError(
            "stg_blocks is empty; write 'auto' or block numbers with commas, e.g. '28'. To switch spatio-temporal "
            "guidance off, set video_stg and audio_stg to 0."
        )
    if not all(part.isdecimal() and len(part) <= BLOCK_DIGITS for part in parts):
        raise ConditioningError(
            f"stg_blocks is {shortened(text)}; write 'auto' or block numbers with commas, e.g. '28'."
        )
    return tuple(sorted({int(part) for part in parts}))
