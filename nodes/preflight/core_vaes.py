"""ComfyUI's own VAE and upsampler loaders before our nodes: which of its VAEs goes into which input."""

from collections.abc import Iterator

from ...ltx_core.checkpoint import Checkpoint
from .. import from_core
from ..names import (
    CORE_PICTURE_VAES,
    DECODE,
    LATENT_UPSAMPLER,
    SAVE_LATENT,
    SOUND_DECODE,
    SOUND_SAMPLER,
    STAGE_ONE_SAMPLER,
    STAGE_TWO_SAMPLER,
    UPSAMPLER_LOADER,
)
from ..names import VAE_LOADER as OUR_VAE_LOADER
from ..prompt_graph import Node, PromptGraph
from .core_loaders import model_file
from .files import check_generations
from .films import given_films
from .latents import latent_chain
from .report import Files, Report
from .sounds import ADD_AUDIO_VAE, given_sounds

CHECKPOINT_LOADER, VAE_LOADER, AUDIO_VAE_LOADER = "CheckpointLoaderSimple", "VAELoader", "LTXVAudioVAELoader"
CORE_UPSAMPLER_LOADER = "LatentUpscaleModelLoader"

# Each loader's input for the file, and the folder that it is in.
_FILES = {
    CHECKPOINT_LOADER: ("ckpt_name", "checkpoints"),
    VAE_LOADER: ("vae_name", "vae"),
    AUDIO_VAE_LOADER: ("ckpt_name", "checkpoints"),
}
_KEEPING_SOUND = (STAGE_TWO_SAMPLER, LATENT_UPSAMPLER, SAVE_LATENT)


def upsampler_loaders(graph: PromptGraph) -> Iterator[tuple[Node, str]]:
    """Loaders of latent upsamplers, ours and those of ComfyUI that our node takes, with their input for the file."""
    yield from ((loader, "upsampler") for loader in graph.of_type(UPSAMPLER_LOADER))
    for node in graph.of_type(LATENT_UPSAMPLER):
        source = graph.source(node, "upsampler")
        if source is not None and source.type == CORE_UPSAMPLER_LOADER:
            yield source, "model_name"


def check_vaes(graph: PromptGraph, node: Node, files: Files, report: Report) -> None:
    """The VAEs of a node are of the model's generation; ComfyUI's decode what their input is for, and sound has one
    where it needs it."""
    picture, sound = graph.source(node, "vae"), graph.source(node, "audio_vae")
    if picture is not None and picture.type == AUDIO_VAE_LOADER:
        report.error(node, "vae is the audio VAE of LTXVAudioVAELoader, which decodes sound alone. Connect LTX VAE "
                     "Loader, or the VAE of Load Checkpoint; the audio VAE goes into audio_vae of LTX Audio-Video "
                     "Decode or LTX Sound Condition.", input="vae")  # fmt: skip
    if sound is not None and sound.type == CHECKPOINT_LOADER:
        report.error(node, "audio_vae is the VAE of Load Checkpoint, which decodes the picture alone. Connect "
                     f"{ADD_AUDIO_VAE}.", input="audio_vae")  # fmt: skip
    model = _model_of(graph, node, files)
    for slot, loader in (("vae", picture), ("audio_vae", sound)):
        if loader is not None and loader.type in _FILES:
            _check_generation(node, slot, loader, model, files, report)
        elif loader is not None and loader.type == OUR_VAE_LOADER:
            file = files.checkpoint(loader)
            if None not in (model, file):
                report.attempt(loader, check_generations, model, file)
    alone = picture is not None and picture.type in CORE_PICTURE_VAES
    if node.type == DECODE and alone and not node.has("audio_vae") and _has_sound(graph, node):
        report.error(node, "The latent has sound, and ComfyUI's own VAE decodes the picture alone. Connect "
                     f"{ADD_AUDIO_VAE}, to audio_vae.", input="vae")  # fmt: skip


def _model_of(graph: PromptGraph, node: Node, files: Files) -> Checkpoint | None:
    """The file of the model that works with a node's VAEs: a sampler's own, or that which made the latent."""
    samplers = STAGE_ONE_SAMPLER, STAGE_TWO_SAMPLER, SOUND_SAMPLER
    if node.type not in (*samplers, LATENT_UPSAMPLER, DECODE, SOUND_DECODE):
        return None
    sampler = next((own for own in (node, *latent_chain(graph, node)) if own.type in samplers), None)
    return None if sampler is None else model_file(list(graph.chain(sampler, "model")), files)


def _check_generation(
    node: Node, slot: str, loader: Node, model: Checkpoint | None, files: Files, report: Report
) -> None:
    name, folder = _FILES[loader.type]
    file = files.opened(loader, name, (folder,))
    if file is None or file.generation is None:
        return
    if not from_core.is_taken(file.generation):
        report.error(node, f"{slot} comes from {file.path.name}, which is of {file.generation_name}; these nodes take "
                     f"{from_core.NAMES} from ComfyUI's loaders. Choose the model's file in LTX VAE Loader.",
                     input=slot)  # fmt: skip
    elif model is not None and model.generation not in (None, file.generation):
        report.error(node, f"{slot} comes from {file.path.name}, which is of {file.generation_name}, but the model, "
                     f"{model.path.name}, is of {model.generation_name}. Choose the model's file in the loader.",
                     input=slot)  # fmt: skip


def _has_sound(graph: PromptGraph, node: Node) -> bool:
    """Whether the latent surely has a sound that is to be decoded: a stage made it, and nothing took it apart since."""
    for source in graph.chain(node, "latent"):
        if given_sounds(graph, source) or given_films(graph, source):
            return False
        if source.type == STAGE_ONE_SAMPLER:
            return True
        if source.type not in _KEEPING_SOUND:
            return False
    return False
