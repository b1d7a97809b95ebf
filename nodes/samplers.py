"""The two sampling stages."""

from comfy_api.latest import io

from .declared import declared
from .names import (
    BY_SIZE,
    CONTINUE,
    FROM_STAGE_ONE,
    FROM_STAGE_TWO,
    FULL,
    HALF,
    NEW_SEED,
    OF_DISTILLED,
    RECIPE,
    STAGE_ONE_SAMPLER,
    STAGE_TWO_SAMPLER,
)
from .schema import (
    CATEGORY,
    advanced,
    conditions_input,
    fps_input,
    guidance_input,
    negative_input,
    noise_device_input,
    sampled_model_input,
    sampler_input,
    schedule_input,
    seed_input,
    sigmas_input,
    steps_input,
    vae_input,
)
from .validation import Wrong, declared_only, validation


class StageOneSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=STAGE_ONE_SAMPLER,
            display_name="LTX Stage One Sampler",
            category=CATEGORY,
            description="Makes picture and sound at half of the final size, with multi-modal guidance.",
            inputs=[
                sampled_model_input(),
                vae_input("encodes images and sound"),
                io.Conditioning.Input("positive", tooltip="The encoded prompt."),
                io.Int.Input(
                    "width",
                    default=1536,
                    min=64,
                    max=8192,
                    step=64,
                    tooltip="Final width in pixels, a multiple of 64; stage one works at half of it.",
                ),
                io.Int.Input(
                    "height",
                    default=1024,
                    min=64,
                    max=8192,
                    step=64,
                    tooltip="Final height in pixels, a multiple of 64; stage one works at half of it.",
                ),
                io.Int.Input(
                    "frames",
                    default=121,
                    min=1,
                    max=8193,
                    step=8,
                    tooltip="Number of video frames: 8n+1, e.g. 97, 121, 241.",
                ),
                fps_input("Frames a second. It travels with the latent: no later node asks for it again."),
                steps_input(),
                seed_input("The same seed with the same inputs gives the same video; stage two continues from it."),
                noise_device_input(),
                negative_input(),
                conditions_input(),
                guidance_input("From LTX Guidance. Left open: what the loaded model calls for."),
                sigmas_input(),
                io.Latent.Input(
                    "latent",
                    optional=True,
                    tooltip="A latent of half the final size to start from; noise is laid over it by the first sigma. "
                    "What a noise mask keeps stays as it is. Left open: pure noise.",
                ),
                advanced(
                    io.Float.Input(
                        "denoise",
                        default=1.0,
                        min=0.01,
                        max=1.0,
                        step=0.01,
                        tooltip="How much of a start latent, or of a given film, is made anew: 1 all of it from noise; "
                        "lower values begin later in the schedule, and keep more.",
                    )
                ),
                io.Combo.Input(
                    "size",
                    options=[HALF, FULL],
                    default=HALF,
                    optional=True,
                    tooltip="half: stage one works at half of width and height, for LTX Latent Upsampler and stage "
                    "two. full: at width and height themselves; its result is decoded at once.",
                ),
                sampler_input(),
                schedule_input(
                    [RECIPE, BY_SIZE, OF_DISTILLED],
                    "Noise levels without sigmas of your own. recipe: the vendor's for this model. by size: larger "
                    "videos stay noisy longer, as in the vendor's high quality. distilled: the 8 of distilled models, "
                    "for a strong distilled LoRA.",
                ),
            ],
            outputs=[io.Latent.Output(display_name="stage one latent", tooltip="Picture and sound; half size.")],
            hidden=[io.Hidden.unique_id],
        )

    @validation
    def validate_inputs(wrong: Wrong, width=None, height=None, frames=None, fps=None):
        from .comfyui import checks

        for name, value in {"width": width, "height": height, "frames": frames, "fps": fps}.items():
            wrong.attempt(name, checks.check_request, *(value if name == slot else None for slot in checks.REQUEST))
        if not wrong.by_input:
            wrong.attempt("frames", checks.check_request, width, height, frames, fps)

    @classmethod
    @declared
    def execute(
        cls,
        model,
        vae,
        positive,
        width: int,
        height: int,
        frames: int,
        fps: float,
        steps: int,
        seed: int,
        noise_device: str,
        negative=None,
        conditions=None,
        guidance=None,
        sigmas=None,
        latent=None,
        denoise: float = 1.0,
        size: str = HALF,
        sampler: str = RECIPE,
        schedule: str = RECIPE,
    ) -> io.NodeOutput:
        from .comfyui import pipeline, report

        told = report.NodeReport()
        made = pipeline.run_stage_one(
            model,
            vae,
            positive,
            negative,
            width=width,
            height=height,
            frames=frames,
            fps=fps,
            steps=steps,
            seed=seed,
            noise_device=noise_device,
            conditions=conditions,
            guidance=guidance,
            sigmas=sigmas,
            latent=latent,
            denoise=denoise,
            size=size,
            sampler=sampler,
            schedule=schedule,
            report=told,
        )
        return told.output(made)


class StageTwoSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=STAGE_TWO_SAMPLER,
            display_name="LTX Stage Two Sampler",
            category=CATEGORY,
            description="Refines the upsampled latent at the final size in a few steps, with the distilled weights.",
            inputs=[
                sampled_model_input(),
                vae_input("encodes images and sound"),
                io.Conditioning.Input("positive", tooltip="The encoded prompt. Stage two needs no negative prompt."),
                io.Latent.Input("latent", tooltip="The upsampled latent, from LTX Latent Upsampler."),
                io.Combo.Input(
                    "noise",
                    options=[CONTINUE, NEW_SEED],
                    default=CONTINUE,
                    tooltip="continue stage one: random numbers go on where stage one stopped, as in the vendor's "
                    "pipeline. new seed: start from the seed below, to vary only stage two.",
                ),
                seed_input("Used with noise 'new seed', and for latents that did not come from LTX Stage One Sampler."),
                io.Combo.Input(
                    "audio",
                    options=[FROM_STAGE_ONE, FROM_STAGE_TWO],
                    default=FROM_STAGE_ONE,
                    tooltip="Whose sound goes into the result. stage one: made with guidance, as the vendor does since "
                    "July 2026. stage two: refined together with the picture. A sound that is given stays as it is.",
                ),
                io.Boolean.Input(
                    "clean_background",
                    default=True,
                    tooltip="With a film or a noise mask: on, what stays of it gets no noise, and a film counts as it "
                    "is at this size; off, all of it is noised and refined like the rest. Otherwise without effect.",
                ),
                noise_device_input(),
                conditions_input(),
                io.Sigmas.Input(
                    "sigmas",
                    optional=True,
                    tooltip="Your own noise schedule, falling to 0. Left open: 0.909375, 0.725, 0.421875, 0.",
                ),
                sampler_input(),
            ],
            outputs=[io.Latent.Output(display_name="stage two latent", tooltip="Picture and sound; final size.")],
            hidden=[io.Hidden.unique_id],
        )

    validate_inputs = declared_only()

    @classmethod
    @declared
    def execute(
        cls,
        model,
        vae,
        positive,
        latent,
        noise: str,
        seed: int,
        audio: str,
        clean_background: bool,
        noise_device: str,
        conditions=None,
        sigmas=None,
        sampler: str = RECIPE,
    ) -> io.NodeOutput:
        from .comfyui import pipeline, report

        told = report.NodeReport()
        made = pipeline.run_stage_two(
            model,
            vae,
            positive,
            latent,
            new_seed=noise == NEW_SEED,
            seed=seed,
            keep_audio=audio == FROM_STAGE_ONE,
            clean_background=clean_background,
            noise_device=noise_device,
            conditions=conditions,
            sigmas=sigmas,
            sampler=sampler,
            report=told,
        )
        return told.output(made)
