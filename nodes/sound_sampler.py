"""A sound without a picture: its sampler, and its decoder."""

from comfy_api.latest import io

from .declared import declared
from .names import OF_DISTILLED, RECIPE, SOUND_DECODE, SOUND_SAMPLER
from .schema import (
    CATEGORY,
    VAE,
    conditions_input,
    guidance_input,
    negative_input,
    noise_device_input,
    sampled_model_input,
    sampler_input,
    schedule_input,
    seed_input,
    sigmas_input,
    steps_input,
)
from .validation import declared_only


class SoundSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=SOUND_SAMPLER,
            display_name="LTX Sound Sampler",
            category=CATEGORY,
            description="Makes a sound without a picture from a prompt. Of the model only the layers for sound are "
            "loaded, a sixth of its weights.",
            inputs=[
                sampled_model_input(),
                io.Conditioning.Input("positive", tooltip="The encoded prompt: what is to be heard."),
                io.Float.Input(
                    "seconds",
                    default=5.0,
                    min=0.1,
                    max=300.0,
                    step=0.1,
                    tooltip="How long the sound lasts, to 0.04 s. The model has learned up to about 20 s.",
                ),
                steps_input(),
                seed_input("The same seed with the same inputs gives the same sound."),
                noise_device_input(),
                negative_input(),
                conditions_input("A voice to speak with, from LTX Reference Voice with its audio_vae connected."),
                guidance_input(
                    "From LTX Guidance: of its scales those of the sound act, without audio_modality. Left open: what "
                    "the loaded model calls for."
                ),
                sigmas_input(),
                sampler_input(),
                schedule_input(
                    [RECIPE, OF_DISTILLED],
                    "Noise levels without sigmas of your own. recipe: the vendor's for this model. distilled: the 8 of "
                    "distilled models, for a strong distilled LoRA.",
                ),
            ],
            outputs=[io.Latent.Output(display_name="sound latent", tooltip="The sound alone, for LTX Sound Decode.")],
            hidden=[io.Hidden.unique_id],
        )

    validate_inputs = declared_only()

    @classmethod
    @declared
    def execute(
        cls,
        model,
        positive,
        seconds: float,
        steps: int,
        seed: int,
        noise_device: str,
        negative=None,
        conditions=None,
        guidance=None,
        sigmas=None,
        sampler: str = RECIPE,
        schedule: str = RECIPE,
    ) -> io.NodeOutput:
        from .comfyui import report, sound_run

        told = report.NodeReport()
        made = sound_run.run_sound(
            model,
            positive,
            negative,
            seconds=seconds,
            steps=steps,
            seed=seed,
            noise_device=noise_device,
            conditions=conditions,
            guidance=guidance,
            sigmas=sigmas,
            sampler=sampler,
            schedule=schedule,
            report=told,
        )
        return told.output(made)


class SoundDecode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=SOUND_DECODE,
            display_name="LTX Sound Decode",
            category=CATEGORY,
            description="Decodes the sound of a latent alone; a picture beside it is not decoded.",
            inputs=[
                io.Latent.Input(
                    "latent", tooltip="From LTX Sound Sampler, of any stage, or a sound's from ComfyUI's own nodes."
                ),
                io.MultiType.Input(
                    "audio_vae", [VAE, io.Vae], tooltip="Decodes the sound: LTX VAE Loader, or LTXVAudioVAELoader."
                ),
            ],
            outputs=[io.Audio.Output(display_name="audio", tooltip="The sound, for Save Audio or Preview Audio.")],
            hidden=[io.Hidden.unique_id],
        )

    validate_inputs = declared_only()

    @classmethod
    @declared
    def execute(cls, latent, audio_vae) -> io.NodeOutput:
        from .comfyui import decoding, report

        told = report.NodeReport()
        return told.output(decoding.run_sound_decode(latent, audio_vae, told))
