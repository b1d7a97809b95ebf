"""How long a film its prompt asks for."""

from comfy_api.latest import io

from ..ltx_core.duration_head.frames import LONGEST, SHORTEST
from .declared import declared
from .names import DURATION_FOLDERS, PROMPT_LENGTH
from .schema import CATEGORY, advanced, file_input, fps_input, model_input
from .validation import Wrong, validation


def _limit(name: str, default: float, tooltip: str) -> io.Input:
    return advanced(io.Float.Input(name, default=default, min=0.1, max=60.0, step=0.1, tooltip=tooltip))


class PromptLength(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        goal = "for LTX Stage One Sampler."
        return io.Schema(
            node_id=PROMPT_LENGTH,
            display_name="LTX Prompt Length",
            category=CATEGORY,
            description="Tells how long a film the prompt asks for, by LTX-2.5's duration head.",
            inputs=[
                model_input(
                    "The LTX-2.5 model from LTX Model Loader: its text connectors are used here, without a LoRA."
                ),
                io.Conditioning.Input("positive", tooltip="The encoded prompt, from LTX Text Encode."),
                file_input(
                    "duration_head",
                    DURATION_FOLDERS,
                    "LTX-2.5's duration head in models/model_patches: ltx-2.5-duration-head-bf16.safetensors.",
                ),
                fps_input("Frames a second of the film; connect the output frame rate to LTX Stage One Sampler."),
                _limit("shortest", SHORTEST, "No film is shorter than this, in seconds."),
                _limit("longest", LONGEST, "No film is longer than this, in seconds. The model has learned up to 20."),
            ],
            outputs=[
                io.Int.Output(display_name="frames", tooltip=f"The film's length as 8n+1 frames, {goal}"),
                io.Float.Output(display_name="frame rate", tooltip=f"The frames a second that were asked for, {goal}"),
                io.Float.Output(display_name="seconds", tooltip="The same length in seconds, for LTX Sound Sampler."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @validation
    def validate_inputs(wrong: Wrong, duration_head=None, shortest=None, longest=None):
        from ..ltx_core.duration_head import check_limits
        from ..ltx_core.usable import Use
        from .comfyui import open_files

        wrong.attempt("duration_head", open_files.check_file, duration_head, DURATION_FOLDERS, Use.DURATION)
        if shortest is not None and longest is not None:
            wrong.attempt("shortest", check_limits, shortest, longest)

    @classmethod
    def fingerprint_inputs(cls, duration_head=None, **_):
        from .comfyui import files

        return files.fingerprint(duration_head, DURATION_FOLDERS)

    @classmethod
    @declared
    def execute(
        cls, model, positive, duration_head: str, fps: float, shortest: float = SHORTEST, longest: float = LONGEST
    ) -> io.NodeOutput:
        from .comfyui import prompt_length, report

        told = report.NodeReport()
        frames = prompt_length.run(model, positive, duration_head, fps, (shortest, longest), told)
        return told.output(frames, fps, frames / fps)
