"""What the schemas of all nodes share: the pack's own types and common inputs."""

from comfy_api.latest import io

from .names import RECIPE

CATEGORY = "LTX Duo"
MAX_SEED = 0xFFFFFFFFFFFFFFFF

Model = io.Custom("LTXDUO_MODEL")
VAE = io.Custom("LTXDUO_VAE")
TextEncoder = io.Custom("LTXDUO_TEXT_ENCODER")
Upsampler = io.Custom("LTXDUO_UPSAMPLER")
Conditions = io.Custom("LTXDUO_CONDITIONS")
Guidance = io.Custom("LTXDUO_GUIDANCE")


def advanced(widget: io.Input) -> io.Input:
    """Folds an input away under "advanced" where the front end knows it; older schemas have no argument for it.

    A prompt may leave it out: `declared` gives its default.
    """
    widget.optional = True
    widget.extra_dict = {**widget.extra_dict, "advanced": True}
    return widget


def names_file(widget: io.Input) -> io.Input:
    """Marks a list of files: the node itself says what is wrong with a file that is not there."""
    widget.names_file = True
    return widget


def file_input(
    name: str, folders: tuple[str, ...], tooltip: str, first: tuple[str, ...] = (), default: str | None = None
) -> io.Input:
    """A list of the weight files in ComfyUI's model `folders`, with the choices `first` above them."""
    from .comfyui import files

    options = [*first, *files.names(*folders)]
    return names_file(io.Combo.Input(name, options=options, default=default, tooltip=tooltip))


def model_input(tooltip: str) -> io.Input:
    """LTX Duo's model, or ComfyUI's own MODEL of LTX-2.3 or LTX-2.0."""
    return io.MultiType.Input("model", [Model, io.Model], tooltip=tooltip)


def sampled_model_input() -> io.Input:
    return model_input(
        "The LTX model, from LTX Model Loader or LTX LoRA Loader, or a MODEL of LTX-2.3 or LTX-2.0 from ComfyUI's own "
        "loaders."
    )


def vae_input(purpose: str) -> io.Input:
    tooltip = f"The LTX VAE, from LTX VAE Loader or ComfyUI's own loaders: {purpose}."
    return io.MultiType.Input("vae", [VAE, io.Vae], tooltip=tooltip)


def audio_vae_input(tooltip: str) -> io.Input:
    return io.MultiType.Input("audio_vae", [VAE, io.Vae], optional=True, tooltip=tooltip)


def sound_encoder_input(sound: str) -> io.Input:
    return audio_vae_input(
        f"What encodes {sound}, where the samplers have ComfyUI's own VAE: LTXVAudioVAELoader, or LTX VAE Loader. Left "
        "open: the samplers' VAE does."
    )


def upsampler_input() -> io.Input:
    tooltip = "From LTX Upsampler Loader, or Load Latent Upscale Model."
    return io.MultiType.Input("upsampler", [Upsampler, io.LatentUpscaleModel], tooltip=tooltip)


_GIVEN = (
    "What is given: images at frames, a sound, a film of which a part is made anew, references for a LoRA. From "
    "LTX Image Condition, LTX Sound Condition, LTX Film Sound, LTX Retake, LTX Extend, LTX Region, LTX Reference "
    "Video or LTX Reference Voice. Leave it open for text-to-video."
)


def conditions_input(tooltip: str = _GIVEN) -> io.Input:
    return Conditions.Input("conditions", optional=True, tooltip=tooltip)


def earlier_conditions_input() -> io.Input:
    """Of a node that adds one to the chain."""
    return Conditions.Input("conditions", optional=True, tooltip="Other conditions to add this one to.")


def size_outputs(whose: str, step: int, frames: str) -> list[io.Output]:
    """Size, length and frame rate as stage one asks for them; `frames`: what its tooltip begins with."""
    goal = "for LTX Stage One Sampler."
    return [
        io.Int.Output(display_name="width", tooltip=f"{whose} width in steps of {step}, {goal}"),
        io.Int.Output(display_name="height", tooltip=f"{whose} height in steps of {step}, {goal}"),
        io.Int.Output(display_name="frames", tooltip=f"{frames}, {goal}"),
        io.Float.Output(display_name="fps", tooltip=f"{whose} frames a second, {goal}"),
    ]


def fps_input(tooltip: str) -> io.Input:
    return io.Float.Input("fps", default=24.0, min=1.0, max=240.0, step=0.001, tooltip=tooltip)


def steps_input() -> io.Input:
    tooltip = (
        "Sampling steps; 30 is the vendor's choice, 40 for LTX-2.0. Not used when sigmas are connected, nor by a "
        "distilled checkpoint, which has its own 8."
    )
    return io.Int.Input("steps", default=30, min=1, max=1000, tooltip=tooltip)


def seed_input(tooltip: str) -> io.Input:
    return io.Int.Input("seed", default=10, min=0, max=MAX_SEED, control_after_generate=True, tooltip=tooltip)


def negative_input() -> io.Input:
    tooltip = "The encoded negative prompt. Guidance with CFG needs it; distilled models do not."
    return io.Conditioning.Input("negative", optional=True, tooltip=tooltip)


def guidance_input(tooltip: str) -> io.Input:
    return Guidance.Input("guidance", optional=True, tooltip=tooltip)


def sigmas_input() -> io.Input:
    tooltip = "Your own noise schedule, falling to 0. Left open: the vendor's for the number of steps."
    return io.Sigmas.Input("sigmas", optional=True, tooltip=tooltip)


def schedule_input(choices: list[str], tooltip: str) -> io.Input:
    return advanced(io.Combo.Input("schedule", options=choices, default=RECIPE, tooltip=tooltip))


def noise_device_input() -> io.Input:
    tooltip = (
        "Where noise is drawn. 'gpu' gives the numbers of Lightricks' own pipeline on the same kind of GPU; "
        "'cpu' gives the same numbers on every machine."
    )
    return advanced(io.Combo.Input("noise_device", options=["gpu", "cpu"], default="gpu", tooltip=tooltip))


def sampler_input() -> io.Input:
    from ..ltx_core.sampling.samplers import SAMPLERS

    tooltip = (
        "How the noise is taken away. recipe: as the vendor does it with this model, euler for LTX-2.3. res_2s: two "
        "runs of the model a step, of the vendor's high quality. gradient_estimation: euler that looks ahead. "
        "euler_ancestral: with new noise at each step."
    )
    return advanced(io.Combo.Input("sampler", options=[RECIPE, *SAMPLERS], default=RECIPE, tooltip=tooltip))
