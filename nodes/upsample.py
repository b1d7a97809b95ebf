"""The latent upsampler between the stages."""

from comfy_api.latest import io

from .declared import declared
from .names import LATENT_UPSAMPLER
from .schema import CATEGORY, upsampler_input, vae_input
from .validation import declared_only


class LatentUpsampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=LATENT_UPSAMPLER,
            display_name="LTX Latent Upsampler",
            category=CATEGORY,
            description="Doubles width and height of the stage-one picture latent; the sound passes through.",
            inputs=[
                io.Latent.Input("latent", tooltip="The latent from LTX Stage One Sampler."),
                upsampler_input(),
                vae_input("its latent statistics are needed here"),
            ],
            outputs=[io.Latent.Output(display_name="upsampled latent", tooltip="For LTX Stage Two Sampler.")],
            hidden=[io.Hidden.unique_id],
        )

    validate_inputs = declared_only()

    @classmethod
    @declared
    def execute(cls, latent, upsampler, vae) -> io.NodeOutput:
        from .comfyui import pipeline, report

        told = report.NodeReport()
        return told.output(pipeline.run_upsampler(latent, upsampler, vae, told))
