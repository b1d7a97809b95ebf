"""Files as Kijai, unsloth, Comfy-Org and others split and save them again."""

from ltx_duo.tests.nodes.trees.file_kinds import GEMMA_FOLDER, UPSAMPLER, FileKind, Inputs, Models, Tensors, parts

MODEL, VAE, AUDIO, PROJECTION = "model.diffusion_model.", "vae.", "audio_vae.", "text_embedding_projection."


def _nothing(_: Models) -> Inputs:
    return {}


def _only(models: Models, *prefixes: str) -> tuple[Tensors, dict[str, str]]:
    """Those parts of the small checkpoint, with its metadata."""
    tensors, metadata = models.small()
    return parts(tensors, *prefixes), metadata


def _without(prefix: str):
    def write(models: Models) -> Inputs:
        tensors, metadata = models.small()
        kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(prefix)}
        return {"checkpoint": models.save("checkpoints", "less.safetensors", kept, metadata)}

    return write


def _split_vae(models: Models) -> Inputs:
    video = models.save("vae", "video.safetensors", *_only(models, VAE))
    audio = models.save("vae", "audio.safetensors", *_only(models, AUDIO, "vocoder."))
    return {"checkpoint": video, "audio_file": audio}


ROWS = [
    FileKind("official checkpoint in the model loader", "ModelLoader", _nothing),
    FileKind("official checkpoint in the VAE loader", "VAELoader", _nothing),
    FileKind("official checkpoint as projection", "TextEncoderLoader", _nothing),
    FileKind("text encoder's folder", "TextEncoderLoader", lambda _: {"text_encoder": GEMMA_FOLDER}),
    FileKind("official upsampler", "UpsamplerLoader", _nothing),
    FileKind("VAEs in two files with metadata", "VAELoader", _split_vae),
    FileKind(
        "checkpoint without VAE",
        "VAELoader",
        _without(VAE),
        ("checkpoint", f"less.safetensors has no {'video VAE encoder'}"),
    ),
    FileKind(
        "VAE in place of the model",
        "ModelLoader",
        lambda models: {"checkpoint": models.save("checkpoints", "vae.safetensors", *_only(models, VAE))},
        ("checkpoint", "vae.safetensors has no transformer"),
    ),
    FileKind(
        "upsampler in the LoRA loader",
        "LoraLoader",
        lambda models: {"lora": models.save("loras", "up.safetensors", *models.small(UPSAMPLER))},
        ("lora", "is not a LoRA"),
    ),
]
