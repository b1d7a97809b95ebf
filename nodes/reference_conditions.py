"""Conditions that LoRAs made for it read beside the film: a reference film, a reference voice."""

from comfy_api.latest import io

from .declared import declared
from .names import FACTORS, FROM_LORA, REFERENCE_VIDEO, REFERENCE_VOICE, SAME, WITHOUT
from .schema import (
    CATEGORY,
    Conditions,
    advanced,
    earlier_conditions_input,
    size_outputs,
    sound_encoder_input,
)
from .validation import declared_only


def _share(name: str, tooltip: str) -> io.Input:
    return io.Float.Input(name, default=1.0, min=0.0, max=1.0, step=0.01, tooltip=tooltip)


class ReferenceVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=REFERENCE_VIDEO,
            display_name="LTX Reference Video",
            category=CATEGORY,
            description="Gives an IC-LoRA the film that it reads: depth, poses or edges to follow, or a film to edit. "
            "Chain several for several references.",
            inputs=[
                io.Video.Input(
                    "video",
                    tooltip="The film that the IC-LoRA reads, as it was trained for. From Load Video, or Create Video.",
                ),
                _share("strength", "1 keeps the reference clean, lower values mix noise into what the model reads."),
                _share(
                    "attention_strength",
                    "How strongly the film looks at the reference: 1 fully, 0 not at all. Below 1 a step takes longer.",
                ),
                io.Combo.Input(
                    "stage_two",
                    options=[WITHOUT, SAME],
                    default=WITHOUT,
                    tooltip="none: stage two refines without it, as Lightricks' pipeline does. same: stage two reads "
                    "it too, at its own size; the IC-LoRA needs a strength there.",
                ),
                earlier_conditions_input(),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the film looks at the reference: white as attention_strength says, black not at "
                    "all. One mask, or one for each of its frames.",
                ),
                advanced(
                    io.Combo.Input(
                        "downscale_factor",
                        options=[FROM_LORA, *FACTORS],
                        default=FROM_LORA,
                        tooltip="How much smaller than the film the reference is. auto: as the LoRA's file says. A "
                        "number where the file says nothing.",
                    )
                ),
            ],
            outputs=[
                Conditions.Output(display_name="conditions with reference", tooltip="For both stage samplers."),
                *size_outputs("The reference's", 128, "The reference's frames (8n+1)"),
            ],
            hidden=[io.Hidden.unique_id],
        )

    validate_inputs = declared_only()

    @classmethod
    @declared
    def execute(
        cls,
        video,
        strength: float,
        attention_strength: float,
        stage_two: str,
        conditions=None,
        mask=None,
        downscale_factor: str = FROM_LORA,
    ) -> io.NodeOutput:
        from .references import add_reference, final_size

        given = add_reference(
            conditions, video, strength, attention_strength, mask, stage_two == SAME, downscale_factor
        )
        shown = given.references[-1]
        return io.NodeOutput(given, *final_size(shown), shown.fps)


class ReferenceVoice(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=REFERENCE_VOICE,
            display_name="LTX Reference Voice",
            category=CATEGORY,
            description="Lets the film speak with a voice that you give, by a LoRA that learned it (ID-LoRA).",
            inputs=[
                io.Audio.Input(
                    "audio", tooltip="About 5 seconds of one clear voice. What it says does not matter; 20 s are read."
                ),
                io.Float.Input(
                    "scale",
                    default=3.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    tooltip="Identity guidance: how far stage one is led to the voice, by one more pass without it. 0: "
                    "no guidance, and no pass more.",
                ),
                earlier_conditions_input(),
                sound_encoder_input("the voice"),
            ],
            outputs=[
                Conditions.Output(
                    display_name="conditions with voice", tooltip="For LTX Stage One Sampler or LTX Sound Sampler."
                )
            ],
            hidden=[io.Hidden.unique_id],
        )

    validate_inputs = declared_only()

    @classmethod
    @declared
    def execute(cls, audio, scale: float, conditions=None, audio_vae=None) -> io.NodeOutput:
        from . import voices
        from .comfyui import core_vae, report

        told = report.NodeReport()
        encoder = None if audio_vae is None else core_vae.audio_vae(audio_vae)
        given = voices.add_voice(conditions, audio, scale, encoder)
        for remark in voices.remarks(given.voice):
            told.warn(remark)
        return told.output(given)
