"""Conditions, one node a kind, in one chain: images, a sound."""

from comfy_api.latest import io

from .declared import declared
from .names import CROP, IMAGE_CONDITION, IN_PLACE, KEYFRAME, PAD, SOUND_CONDITION, STRETCH
from .schema import CATEGORY, Conditions, advanced, earlier_conditions_input, fps_input, sound_encoder_input
from .validation import declared_only

NO_CRF = -1


class ImageCondition(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=IMAGE_CONDITION,
            display_name="LTX Image Condition",
            category=CATEGORY,
            description="Makes the video show an image at a frame. Chain several for first frame, last frame and more.",
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip="One image of any size; it is scaled to the video's, see fit.",
                ),
                io.Int.Input(
                    "frame",
                    default=0,
                    min=-8192,
                    max=8192,
                    tooltip="The video frame that shows the image: 0 is the first, -1 the last, -2 the one before.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="1 keeps the image as it is, lower values let the model change it, 0 ignores it.",
                ),
                io.Int.Input(
                    "crf",
                    default=NO_CRF,
                    min=NO_CRF,
                    max=51,
                    tooltip="H.264 compression put on the image first, since the model learned from compressed video. "
                    "-1: what the model was trained with (33 for LTX-2.3). 0: none. Clean images tend to stand still.",
                ),
                earlier_conditions_input(),
                io.Combo.Input(
                    "fit",
                    options=[CROP, PAD, STRETCH],
                    default=CROP,
                    optional=True,
                    tooltip="How the image gets the video's shape. crop: it covers the video, and what exceeds it is "
                    "cut off, as the vendor does. pad: all of it, with black beside it. stretch: each side by itself.",
                ),
                advanced(
                    io.Combo.Input(
                        "first_frame",
                        options=[IN_PLACE, KEYFRAME],
                        default=IN_PLACE,
                        tooltip="How an image on frame 0 is shown. in place: it is the first frame itself. keyframe: "
                        "beside the video, as on all other frames, which leaves the video freer to move.",
                    )
                ),
            ],
            outputs=[Conditions.Output(display_name="image conditions", tooltip="For both stage samplers.")],
            hidden=[io.Hidden.unique_id],
        )

    validate_inputs = declared_only()

    @classmethod
    @declared
    def execute(
        cls,
        image,
        frame: int,
        strength: float,
        crf: int,
        conditions=None,
        fit: str = CROP,
        first_frame: str = IN_PLACE,
    ) -> io.NodeOutput:
        from ..ltx_core.sampling.conditions import Fit
        from .images import add_condition

        how = {"crf": None if crf == NO_CRF else crf, "fit": Fit(fit), "keyframe": first_frame == KEYFRAME}
        return io.NodeOutput(add_condition(conditions, image, frame, strength, **how))


class SoundCondition(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=SOUND_CONDITION,
            display_name="LTX Sound Condition",
            category=CATEGORY,
            description="Makes the video to a sound that you give: speech, music, effects. The film has that sound, as "
            "it is.",
            inputs=[
                io.Audio.Input(
                    "audio",
                    tooltip="One sound of any sampling rate, mono, stereo or surround, e.g. from LoadAudio.",
                ),
                io.Float.Input(
                    "start",
                    default=0.0,
                    min=-100000.0,
                    max=100000.0,
                    step=0.01,
                    tooltip="The second of the sound at which the film begins. Below 0 the film begins first: -2 has "
                    "two seconds of silence before the sound.",
                ),
                fps_input("Only for the output 'frames': the sampler's frames a second."),
                earlier_conditions_input(),
                sound_encoder_input("the sound"),
            ],
            outputs=[
                Conditions.Output(display_name="conditions with sound", tooltip="For both stage samplers."),
                io.Int.Output(
                    display_name="frames",
                    tooltip="How many frames (8n+1) the sound lasts from start on. Connect it to frames of LTX Stage "
                    "One Sampler for a film as long as the sound.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    validate_inputs = declared_only()

    @classmethod
    @declared
    def execute(cls, audio, start: float, fps: float, conditions=None, audio_vae=None) -> io.NodeOutput:
        from .comfyui import core_vae
        from .sounds import add_sound

        encoder = None if audio_vae is None else core_vae.audio_vae(audio_vae)
        given = add_sound(conditions, audio, start, encoder)
        return io.NodeOutput(given, given.sound.frames(fps))
