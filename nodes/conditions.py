"""Image conditions."""

from comfy_api.latest import io

from .declared import declared
from .names import IMAGE_CONDITION
from .schema import CATEGORY, Conditions
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
                    tooltip="One image of any size; it is scaled to cover the video and cropped at the centre.",
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
                Conditions.Input("conditions", optional=True, tooltip="Other image conditions to add this one to."),
            ],
            outputs=[Conditions.Output(display_name="image conditions", tooltip="For both stage samplers.")],
            hidden=[io.Hidden.unique_id],
        )

    validate_inputs = declared_only()

    @classmethod
    @declared
    def execute(cls, image, frame: int, strength: float, crf: int, conditions=()) -> io.NodeOutput:
        from .images import add_condition

        return io.NodeOutput(add_condition(conditions or (), image, frame, strength, None if crf == NO_CRF else crf))
