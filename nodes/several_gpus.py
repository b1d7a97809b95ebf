"""How many of the machine's GPUs share the work of a model's stages."""

from comfy_api.latest import io

from .declared import declared
from .names import SEVERAL_GPUS
from .schema import CATEGORY, Model, model_input
from .validation import declared_only


class SeveralGPUs(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=SEVERAL_GPUS,
            display_name="LTX Several GPUs",
            category=CATEGORY,
            description="Has several GPUs of this machine share the work of both stages. Where there is one, nothing "
            "changes.",
            inputs=[
                model_input(
                    "The LTX model, before or after LTX LoRA Loader; also a MODEL of LTX-2.3 or LTX-2.0 from ComfyUI's "
                    "own loaders."
                ),
                io.Int.Input(
                    "max_gpus",
                    default=2,
                    min=1,
                    max=64,
                    tooltip="How many GPUs at most. Each takes a copy of the weights; those without room for it are "
                    "named and left out. More than four gain nothing in stage one.",
                ),
            ],
            outputs=[
                Model.Output(display_name="shared model", tooltip="The same model, for LoRA loader and samplers.")
            ],
            hidden=[io.Hidden.unique_id],
        )

    validate_inputs = declared_only()

    @classmethod
    @declared
    def execute(cls, model, max_gpus: int) -> io.NodeOutput:
        from .comfyui import core_model, gpus, report

        told = report.NodeReport()
        told.say(gpus.told(max_gpus))
        return told.output(core_model.take(model).with_gpus(max_gpus))
