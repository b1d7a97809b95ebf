"""Text encoding."""

from comfy_api.latest import io

from ..ltx_core.text.negative_prompt import NEGATIVE_PROMPT
from .declared import declared
from .names import TEXT_ENCODE
from .schema import CATEGORY, TextEncoder
from .validation import declared_only


class TextEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=TEXT_ENCODE,
            display_name="LTX Text Encode",
            category=CATEGORY,
            description="Encodes prompt and negative prompt. The output is ComfyUI's own LTX-2 conditioning.",
            inputs=[
                TextEncoder.Input("text_encoder", tooltip="From LTX Text Encoder Loader."),
                io.String.Input(
                    "prompt",
                    multiline=True,
                    dynamic_prompts=True,
                    default="",
                    tooltip="What to see and hear: the scene, what moves and how, the camera, speech in quotes, sound.",
                ),
                io.String.Input(
                    "negative_prompt",
                    multiline=True,
                    dynamic_prompts=True,
                    default=NEGATIVE_PROMPT,
                    tooltip="What to avoid in picture and sound. Only guidance uses it.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The encoded prompt."),
                io.Conditioning.Output(display_name="negative", tooltip="The encoded negative prompt."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    validate_inputs = declared_only()

    @classmethod
    @declared
    def execute(cls, text_encoder, prompt: str, negative_prompt: str) -> io.NodeOutput:
        from .comfyui import report, texts

        told = report.NodeReport()
        prompts = {"prompt": prompt, "negative prompt": negative_prompt}
        return told.output(*texts.encode_texts(text_encoder, prompts, told))
