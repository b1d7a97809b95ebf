"""Loader nodes: they open files, check everything that can be told without loading weights, and load none.

They are coroutines because ComfyUI runs those before all other nodes: a bad file is refused before a prompt is encoded.
"""

from comfy_api.latest import io

from .declared import declared
from .names import (
    AUTO_KIND,
    CONNECTOR_FOLDERS,
    DEV,
    DISTILLED,
    ENCODER_FOLDERS,
    LORA_FOLDERS,
    LORA_LOADER,
    MODEL_FOLDERS,
    MODEL_LOADER,
    PROJECTION_FOLDERS,
    SAME_FILE,
    TEXT_ENCODER_LOADER,
    UPSAMPLER_FOLDERS,
    UPSAMPLER_LOADER,
    VAE_FOLDERS,
    VAE_LOADER,
)
from .schema import CATEGORY, VAE, Model, TextEncoder, Upsampler, advanced, file_input, model_input
from .validation import Wrong, validation


class ModelLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=MODEL_LOADER,
            display_name="LTX Model Loader",
            category=CATEGORY,
            description="Opens an LTX-2.5, LTX-2.3 or LTX-2.0 checkpoint for both stages. Weights are read when a "
            "sampler needs them.",
            inputs=[
                file_input(
                    "checkpoint",
                    MODEL_FOLDERS,
                    "The LTX-2.5, LTX-2.3 or LTX-2.0 file with the transformer and its text connectors, e.g. "
                    "ltx-2.3-22b-dev.safetensors in models/checkpoints; also a GGUF.",
                ),
                io.Combo.Input(
                    "weight_dtype",
                    options=["auto", "bf16", "fp8"],
                    default="auto",
                    tooltip="How weights are kept. auto: as they are in the file. bf16: expands a quantised file. "
                    "fp8: halves the memory of a bf16 file for a small loss of quality.",
                ),
                advanced(
                    io.Combo.Input(
                        "kind",
                        options=[AUTO_KIND, DEV, DISTILLED],
                        default=AUTO_KIND,
                        optional=True,
                        tooltip="Which settings the samplers take by default. auto: distilled when the file's name "
                        "has the word. dev: guidance and as many steps as asked for. distilled: 8 steps, no guidance.",
                    )
                ),
                advanced(
                    file_input(
                        "connectors",
                        CONNECTOR_FOLDERS,
                        "The file with the text connectors, for a model file that comes without them; 'same file' when "
                        "it holds them.",
                        first=(SAME_FILE,),
                        default=SAME_FILE,
                    )
                ),
            ],
            outputs=[Model.Output(display_name="model", tooltip="The model for LoRA loader and samplers.")],
            hidden=[io.Hidden.unique_id],
        )

    @validation
    def validate_inputs(wrong: Wrong, checkpoint=None, connectors=SAME_FILE):
        from .comfyui import checks

        checks.find_wrong_model_files(wrong, checkpoint, MODEL_FOLDERS, connectors, CONNECTOR_FOLDERS)

    @classmethod
    def fingerprint_inputs(cls, checkpoint=None, connectors=SAME_FILE, **_):
        from .comfyui import files

        other = None if connectors == SAME_FILE else files.fingerprint(connectors, CONNECTOR_FOLDERS)
        return files.fingerprint(checkpoint, MODEL_FOLDERS), other

    @classmethod
    @declared
    async def execute(
        cls, checkpoint: str, weight_dtype: str, kind: str = AUTO_KIND, connectors: str = SAME_FILE
    ) -> io.NodeOutput:
        from ..ltx_core.variants import Kind
        from .comfyui import components, dtypes, gguf_parts, open_files, report

        chosen = None if kind == AUTO_KIND else Kind(kind)
        beside = None if connectors == SAME_FILE else (connectors, CONNECTOR_FOLDERS)
        handle = open_files.open_model(checkpoint, MODEL_FOLDERS, weight_dtype, chosen, beside)
        told = report.NodeReport()
        told.say(report.model_text(handle.checkpoint, handle.kind, chosen is not None))
        choice = dtypes.for_model(weight_dtype)
        told.warn(gguf_parts.note(handle.checkpoint, weight_dtype) or choice.note)
        told.warn(components.kept_packed(handle.checkpoint, choice.weights))
        return told.output(handle)


class LoraLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=LORA_LOADER,
            display_name="LTX LoRA Loader",
            category=CATEGORY,
            description="Adds a LoRA with its own strength in each stage. The distilled LoRA belongs in stage two "
            "only: 0 and 1.",
            inputs=[
                model_input(
                    "The LTX model to add the LoRA to; also a MODEL of LTX-2.3 or LTX-2.0 from ComfyUI's own loaders."
                ),
                file_input(
                    "lora",
                    LORA_FOLDERS,
                    "A LoRA for LTX-2.5, LTX-2.3 or LTX-2.0 from models/loras, in the official, diffusers', PEFT's or "
                    "kohya's key layout, e.g. ltx-2.3-22b-distilled-lora-384.safetensors.",
                ),
                _strength("strength_stage_one", 0.0, "Strength in stage one. 0 is exactly the model without the LoRA."),
                _strength("strength_stage_two", 1.0, "Strength in stage two. 0 is exactly the model without the LoRA."),
                advanced(
                    _strength(
                        "video_strength",
                        1.0,
                        "Factor on both strengths for the layers that write the picture, also from the sound. "
                        "0 leaves them exactly as they are without the LoRA.",
                    )
                ),
                advanced(
                    _strength(
                        "audio_strength",
                        1.0,
                        "Factor on both strengths for the layers that write the sound, also from the picture. "
                        "0 leaves them exactly as they are without the LoRA.",
                    )
                ),
                advanced(
                    _strength(
                        "cross_strength",
                        1.0,
                        "One more factor for the layers between picture and sound, in both directions. "
                        "0 leaves them exactly as they are without the LoRA.",
                    )
                ),
            ],
            outputs=[Model.Output(display_name="model with LoRA", tooltip="The same model with the LoRA added.")],
            hidden=[io.Hidden.unique_id],
        )

    @validation
    def validate_inputs(wrong: Wrong, lora=None):
        from .comfyui import open_files

        wrong.attempt("lora", open_files.check_lora, lora)

    @classmethod
    def fingerprint_inputs(cls, lora=None, **_):
        from .comfyui import files

        return files.fingerprint(lora, LORA_FOLDERS)

    @classmethod
    @declared
    async def execute(
        cls,
        model,
        lora: str,
        strength_stage_one: float,
        strength_stage_two: float,
        video_strength: float = 1.0,
        audio_strength: float = 1.0,
        cross_strength: float = 1.0,
    ) -> io.NodeOutput:
        from ..ltx_core.lora import StreamStrengths
        from .comfyui import core_model, lora_report, open_files, report

        model = core_model.take(model)
        streams = StreamStrengths(video_strength, audio_strength, cross_strength)
        use = open_files.open_lora(model, lora, (strength_stage_one, strength_stage_two), streams)
        told = report.NodeReport()
        told.say(lora_report.lora_text(use))
        for warning in lora_report.warnings(use):
            told.warn(warning)
        return told.output(model.with_lora(use))


def _strength(name: str, default: float, tooltip: str) -> io.Input:
    return io.Float.Input(name, default=default, min=-10.0, max=10.0, step=0.01, tooltip=tooltip)


class VAELoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=VAE_LOADER,
            display_name="LTX VAE Loader",
            category=CATEGORY,
            description="Opens the video VAE, the audio VAE and the vocoder, from one checkpoint or from split files.",
            inputs=[
                file_input(
                    "checkpoint",
                    VAE_FOLDERS,
                    "The file with the video VAE: the LTX-2.3 or LTX-2.0 checkpoint itself, or a video VAE file in "
                    "models/vae. LTX-2.5 has two: the conv one, and one that decodes by diffusion, finer and slower.",
                ),
                file_input(
                    "audio_file",
                    VAE_FOLDERS,
                    "The file with the audio VAE and the vocoder; 'same file' when the checkpoint holds them too.",
                    first=(SAME_FILE,),
                ),
            ],
            outputs=[VAE.Output(display_name="vae", tooltip="Video VAE, audio VAE and vocoder.")],
            hidden=[io.Hidden.unique_id],
        )

    @validation
    def validate_inputs(wrong: Wrong, checkpoint=None, audio_file=None):
        from .comfyui import checks

        checks.find_wrong_vae_files(wrong, checkpoint, audio_file, VAE_FOLDERS)

    @classmethod
    def fingerprint_inputs(cls, checkpoint=None, audio_file=None):
        from .comfyui import files

        audio = None if audio_file == SAME_FILE else files.fingerprint(audio_file, VAE_FOLDERS)
        return files.fingerprint(checkpoint, VAE_FOLDERS), audio

    @classmethod
    @declared
    async def execute(cls, checkpoint: str, audio_file: str) -> io.NodeOutput:
        from .comfyui import dtypes, open_files, report

        handle = open_files.open_vae(checkpoint, None if audio_file == SAME_FILE else audio_file, VAE_FOLDERS)
        told = report.NodeReport()
        told.warn(dtypes.for_vae().note)
        return told.output(handle)


class TextEncoderLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=TEXT_ENCODER_LOADER,
            display_name="LTX Text Encoder Loader",
            category=CATEGORY,
            description="Opens the Gemma text encoder and the text projection that belongs to the model.",
            inputs=[
                file_input(
                    "text_encoder",
                    ENCODER_FOLDERS,
                    "Gemma-3 12B (LTX-2.5: Gemma-4 12B): a single file (also a GGUF), or a folder with model files and "
                    "tokenizer, in models/text_encoders.",
                ),
                file_input(
                    "projection",
                    PROJECTION_FOLDERS,
                    "The file with the text projection, normally the LTX-2.3 or LTX-2.0 checkpoint itself; for LTX-2.5 "
                    "the text encoder's file once more.",
                ),
                advanced(
                    io.Combo.Input(
                        "device",
                        options=["default", "cpu"],
                        default="default",
                        tooltip="Where text is encoded. default: ComfyUI decides. cpu: saves VRAM, slow.",
                    )
                ),
            ],
            outputs=[TextEncoder.Output(display_name="text encoder", tooltip="For LTX Text Encode.")],
            hidden=[io.Hidden.unique_id],
        )

    @validation
    def validate_inputs(wrong: Wrong, text_encoder=None, projection=None):
        from .comfyui import checks

        checks.find_wrong_text_files(wrong, text_encoder, ENCODER_FOLDERS, projection, PROJECTION_FOLDERS)

    @classmethod
    def fingerprint_inputs(cls, text_encoder=None, projection=None, **_):
        from .comfyui import files

        return files.fingerprint(text_encoder, ENCODER_FOLDERS), files.fingerprint(projection, PROJECTION_FOLDERS)

    @classmethod
    @declared
    async def execute(cls, text_encoder: str, projection: str, device: str) -> io.NodeOutput:
        from .comfyui import dtypes, open_files, report

        handle = open_files.open_text_encoder(text_encoder, ENCODER_FOLDERS, projection, PROJECTION_FOLDERS, device)
        told = report.NodeReport()
        told.warn(dtypes.for_text_encoder(device).note)
        return told.output(handle)


class UpsamplerLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=UPSAMPLER_LOADER,
            display_name="LTX Upsampler Loader",
            category=CATEGORY,
            description="Opens the x2 latent upsampler that stands between the stages.",
            inputs=[
                file_input(
                    "upsampler",
                    UPSAMPLER_FOLDERS,
                    "The x2 spatial upsampler in models/latent_upscale_models, "
                    "e.g. ltx-2.3-spatial-upscaler-x2-1.1.safetensors.",
                ),
            ],
            outputs=[Upsampler.Output(display_name="latent upsampler", tooltip="For LTX Latent Upsampler.")],
            hidden=[io.Hidden.unique_id],
        )

    @validation
    def validate_inputs(wrong: Wrong, upsampler=None):
        from ..ltx_core.usable import Use
        from .comfyui import open_files

        wrong.attempt("upsampler", open_files.check_file, upsampler, UPSAMPLER_FOLDERS, Use.UPSAMPLER)

    @classmethod
    def fingerprint_inputs(cls, upsampler=None):
        from .comfyui import files

        return files.fingerprint(upsampler, UPSAMPLER_FOLDERS)

    @classmethod
    @declared
    async def execute(cls, upsampler: str) -> io.NodeOutput:
        from .comfyui import dtypes, open_files, report

        told = report.NodeReport()
        told.warn(dtypes.for_vae("upsampler").note)
        return told.output(open_files.open_upsampler(upsampler, UPSAMPLER_FOLDERS))
