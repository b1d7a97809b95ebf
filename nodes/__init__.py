"""The ComfyUI nodes of LTX Duo.  Importing this module imports neither the engine nor the nodes."""

from comfy_api.latest import ComfyExtension, io


class LTXDuoExtension(ComfyExtension):
    """Tells ComfyUI which nodes the pack has."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        from .comfyui import prompt_hook
        from .comfyui.files import register_folders
        from .conditions import ImageCondition, SoundCondition
        from .decode import AVDecode
        from .film_conditions import Extend, FilmSound, Region, Retake
        from .guidance import Guidance
        from .loaders import LoraLoader, ModelLoader, TextEncoderLoader, UpsamplerLoader, VAELoader
        from .prompt_length import PromptLength
        from .reference_conditions import ReferenceVideo, ReferenceVoice
        from .samplers import StageOneSampler, StageTwoSampler
        from .saved_latents import LoadLatent, SaveLatent
        from .several_gpus import SeveralGPUs
        from .sound_sampler import SoundDecode, SoundSampler
        from .text import TextEncode
        from .upsample import LatentUpsampler

        register_folders()
        prompt_hook.register()
        return [
            ModelLoader,
            LoraLoader,
            VAELoader,
            TextEncoderLoader,
            TextEncode,
            PromptLength,
            ImageCondition,
            SoundCondition,
            FilmSound,
            Retake,
            Extend,
            Region,
            ReferenceVideo,
            ReferenceVoice,
            Guidance,
            StageOneSampler,
            UpsamplerLoader,
            LatentUpsampler,
            StageTwoSampler,
            AVDecode,
            SoundSampler,
            SoundDecode,
            SaveLatent,
            LoadLatent,
            SeveralGPUs,
        ]
