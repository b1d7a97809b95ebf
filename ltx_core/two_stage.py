"""The whole pipeline: prompt and images -> stage one -> latent upsample -> stage two -> frames and sound.

Each function is one phase; a caller that manages memory (ComfyUI's nodes do) loads the one component that a phase
takes, and `generate` tells the story in order for components that are all loaded.  Equals the vendor's
TI2VidTwoStagesPipeline.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from .audio_vae.decoder import AudioDecoder
from .errors import LTXError
from .execution.precompile import finish_video_decoder
from .progress import SILENT, Reporter
from .sampling.conditioning import ImageLatent, resize_and_crop
from .sampling.euler import sample_euler
from .sampling.geometry import LatentGeometry
from .sampling.guidance import LTX_2_3_DEV, OFF, Contexts, Guidance
from .sampling.schedule import STAGE_TWO, ltx2_sigmas
from .sampling.stage import start_stage
from .sampling.state import AVState
from .text.connector import EmbeddingsConnector
from .text.encoder import TextEncoder
from .text.tokenizer import GemmaTokenizer
from .transformer.model import AVTransformer
from .upsampler.model import LatentUpsampler, upsample_latent
from .video_vae.decoder import VideoDecoder
from .video_vae.encoder import VideoEncoder
from .video_vae.tiling import Tiling, decode_tiled, decode_whole

Sampler = Callable[..., AVState]


@dataclass(frozen=True)
class ImageCondition:
    """An image that the video shows: (H, W, 3) float 0..1 on the CPU, its pixel frame (negative: from the end), and
    how firmly it is kept, 0 to 1."""

    image: Tensor
    frame: int = 0
    strength: float = 1.0


@dataclass(frozen=True)
class AVLatent:
    """Normalised latents of a video (1, 128, F', H', W') and its sound (1, 8, T, 16), or None without sound."""

    video: Tensor
    audio: Tensor | None


@torch.no_grad()
def encode_prompt(
    tokenizer: GemmaTokenizer, encoder: TextEncoder, prompt: str, device=None, reporter: Reporter = SILENT
) -> tuple[Tensor, Tensor]:
    """Text features of the prompt's tokens, for video (1, T, Dv) and for audio (1, T, Da), before the connectors."""
    ids = torch.tensor([tokenizer.encode(prompt)], device=device)
    return encoder.features(ids, reporter)


@torch.no_grad()
def connect(
    video_connector: EmbeddingsConnector,
    audio_connector: EmbeddingsConnector,
    positive: tuple[Tensor, Tensor],
    negative: tuple[Tensor, Tensor] | None = None,
) -> Contexts:
    """Contexts (1, S, D) of the prompt and, if there is one, of the negative prompt from their text features."""
    pairs = [(video_connector(video), audio_connector(audio)) for video, audio in filter(None, (positive, negative))]
    return Contexts(*pairs[0], *(pairs[1] if negative is not None else ()))


@torch.no_grad()
def encode_images(
    encoder: VideoEncoder,
    images: Sequence[ImageCondition],
    geometry: LatentGeometry,
    *,
    dtype: torch.dtype,
    device: torch.device | str | None = None,
    reporter: Reporter = SILENT,
) -> tuple[ImageLatent, ...]:
    """Fits each image to a stage's size and encodes it there; every stage encodes its own."""
    latents = []
    for condition in images:
        reporter.check_cancel()
        pixels = resize_and_crop(condition.image, geometry.width, geometry.height).to(device, dtype)
        latents.append(ImageLatent(encoder(pixels), condition.frame, condition.strength))
    return tuple(latents)


def stage_one(
    model: AVTransformer,
    geometry: LatentGeometry,
    contexts: Contexts,
    generator: torch.Generator,
    *,
    guidance: Guidance = LTX_2_3_DEV,
    sigmas: Tensor | None = None,
    images: Sequence[ImageLatent] = (),
    initial: AVLatent | None = None,
    sampler: Sampler = sample_euler,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str | None = None,
    reporter: Reporter = SILENT,
) -> AVLatent:
    """Samples video and sound from noise at `geometry`, which is stage one's own size.

    `sigmas` defaults to the 30-step schedule.  With an `initial` latent the run begins from it, noised to the first
    sigma, instead of from pure noise.
    """
    sigmas = ltx2_sigmas(30) if sigmas is None else sigmas
    state = start_stage(
        geometry,
        generator,
        images=images,
        noise_scale=1.0 if initial is None else float(sigmas[0]),
        video_latent=None if initial is None else initial.video,
        audio_latent=None if initial is None else initial.audio,
        dtype=dtype,
        device=device,
    )
    return AVLatent(*sampler(model, state, sigmas, guidance, contexts, reporter).latents())


def upsample(
    upsampler: LatentUpsampler, vae: VideoEncoder | VideoDecoder, latent: AVLatent, reporter: Reporter = SILENT
) -> AVLatent:
    """The same video at the next stage's size; the sound does not change.  Takes the latent statistics from `vae`."""
    with torch.no_grad():
        return AVLatent(upsample_latent(upsampler, vae.per_channel_statistics, latent.video, reporter), latent.audio)


def stage_two(
    model: AVTransformer,
    geometry: LatentGeometry,
    contexts: Contexts,
    latent: AVLatent,
    generator: torch.Generator,
    *,
    guidance: Guidance = OFF,
    sigmas: Tensor | None = None,
    images: Sequence[ImageLatent] = (),
    clean_background: bool = True,
    sampler: Sampler = sample_euler,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str | None = None,
    reporter: Reporter = SILENT,
) -> AVLatent:
    """Noises the upsampled video and stage one's sound to the first sigma and refines both at the final `geometry`.

    `generator` is stage one's, continued.  `clean_background` keeps the upsampled latent as what partly conditioned
    tokens go back to.  Returns stage two's video and sound; the vendor goes on with stage one's sound.
    """
    sigmas = torch.tensor(STAGE_TWO) if sigmas is None else sigmas
    if latent.video.shape[2:] != geometry.video_shape[1:]:
        raise LTXError(
            f"Stage two works at {geometry.width}x{geometry.height} pixels and {geometry.frames} frames, a video "
            f"latent of {tuple(geometry.video_shape[1:])}, but got one of {tuple(latent.video.shape[2:])}. Upsample "
            "stage one's latent by two first."
        )
    state = start_stage(
        geometry,
        generator,
        images=images,
        noise_scale=float(sigmas[0]),
        video_latent=latent.video,
        audio_latent=latent.audio,
        with_audio=latent.audio is not None,
        keep_background=clean_background,
        dtype=dtype,
        device=device,
    )
    return AVLatent(*sampler(model, state, sigmas, guidance, contexts, reporter).latents())


def decode_video(
    decoder: VideoDecoder, latent: Tensor, tiling: Tiling | None = None, reporter: Reporter = SILENT
) -> Tensor:
    """Frames (F, H, W, 3) float32 in 0..1 on the CPU of a video latent (1, 128, F', H', W'); whole without `tiling`."""
    finish_video_decoder(decoder, latent)
    if tiling is None:
        return decode_whole(decoder, latent, reporter)
    return decode_tiled(decoder, latent, tiling, reporter)


@torch.no_grad()
def decode_audio(
    decoder: AudioDecoder, vocoder: torch.nn.Module, latent: Tensor, reporter: Reporter = SILENT
) -> Tensor:
    """Waveform (1, 2, N) float32 on the CPU, at the vocoder's sampling rate, of an audio latent (1, 8, T, 16)."""
    return vocoder(decoder(latent, reporter).float(), reporter).float().cpu()


@dataclass(frozen=True)
class Components:
    """Everything that a run needs, loaded, on one device and of one model variant."""

    tokenizer: GemmaTokenizer
    text_encoder: TextEncoder
    video_connector: EmbeddingsConnector
    audio_connector: EmbeddingsConnector
    transformer: AVTransformer
    video_encoder: VideoEncoder
    upsampler: LatentUpsampler
    video_decoder: VideoDecoder
    audio_decoder: AudioDecoder
    vocoder: torch.nn.Module


@dataclass(frozen=True)
class Request:
    """What to make: `geometry` is the final one; sampling settings default to the vendor's for the dev model."""

    prompt: str
    negative_prompt: str
    geometry: LatentGeometry
    seed: int = 10
    images: tuple[ImageCondition, ...] = ()
    guidance: Guidance = LTX_2_3_DEV
    stage_one_sigmas: Tensor | None = None
    stage_two_sigmas: Tensor | None = None
    sampler: Sampler = sample_euler
    tiling: Tiling | None = None
    stage_one_sound: bool = True


@dataclass(frozen=True)
class Result:
    """frames (F, H, W, 3) float32 in 0..1; waveform (1, 2, N) float32; both on the CPU, with what they came from."""

    frames: Tensor
    waveform: Tensor
    stage_one: AVLatent
    stage_two: AVLatent


def generate(
    components: Components,
    request: Request,
    *,
    stage_weights: Callable[[int], AbstractContextManager] = lambda stage: nullcontext(),
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str = "cpu",
    reporter: Reporter = SILENT,
) -> Result:
    """Runs the whole pipeline.  `stage_weights(1 or 2)` is entered around each stage, to lay LoRAs over the transformer
    (`ltx_core.lora.fused`): the distilled LoRA belongs to stage two."""
    c, placement = components, {"dtype": dtype, "device": device}
    generator = torch.Generator(device).manual_seed(request.seed)
    features = [
        encode_prompt(c.tokenizer, c.text_encoder, text, device, reporter)
        for text in (request.prompt, request.negative_prompt)
    ]
    contexts = connect(c.video_connector, c.audio_connector, *features)

    half = request.geometry.half()
    images = encode_images(c.video_encoder, request.images, half, **placement, reporter=reporter)
    with stage_weights(1):
        first = stage_one(
            c.transformer, half, contexts, generator, guidance=request.guidance, sigmas=request.stage_one_sigmas,
            images=images, sampler=request.sampler, **placement, reporter=reporter,
        )  # fmt: skip

    larger = upsample(c.upsampler, c.video_encoder, first, reporter)
    images = encode_images(c.video_encoder, request.images, request.geometry, **placement, reporter=reporter)
    with stage_weights(2):
        second = stage_two(
            c.transformer, request.geometry, contexts, larger, generator, sigmas=request.stage_two_sigmas,
            images=images, sampler=request.sampler, **placement, reporter=reporter,
        )  # fmt: skip

    frames = decode_video(c.video_decoder, second.video, request.tiling, reporter)
    sound = first.audio if request.stage_one_sound else second.audio
    return Result(frames, decode_audio(c.audio_decoder, c.vocoder, sound, reporter), first, second)
