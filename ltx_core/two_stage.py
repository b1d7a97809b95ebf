"""The whole pipeline: prompt, images, sound and film -> stage one -> latent upsample -> stage two -> frames and sound.

`stage_one` and `stage_two` say what each stage does; `sample_stage` does it.  Every other function is one phase: a
caller that manages memory (ComfyUI's nodes do) loads the one component that a phase takes, and `generate` tells the
story in order for components that are all loaded.  Equals the vendor's TI2VidTwoStagesPipeline.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .audio_vae.decoder import AudioDecoder
from .components import Components
from .errors import CheckpointError, ConditioningError, LTXError, VariantError
from .execution.graphs import BlockGraphs
from .execution.precompile import finish_video_decoder
from .execution.tile_split import tiles_on_several_gpus
from .image_compression import COMPRESSING, pyav
from .lora import ReferenceFactors, common_reference_factors, fused
from .lora.names import CONNECTORS
from .progress import SILENT, Reporter
from .request import Request, Result, StagedLoRA
from .sampling.conditions import (
    Condition,
    GivenReference,
    GivenSound,
    Kept,
    Voice,
    encode_film,
    encode_film_sound,
    encode_images,
    encode_reference,
    encode_sound,
    encode_voice,
    generated_keyframes,
)
from .sampling.conditions.fitting import check_image
from .sampling.conditions.reference_film import reference_size
from .sampling.euler import sample_euler
from .sampling.geometry import LatentGeometry
from .sampling.guidance import OFF, Contexts, Guidance
from .sampling.schedule import STAGE_TWO, begins_with_noise
from .sampling.stage import AVLatent, Sampler, Stage, Start, check_reuse, sample_stage
from .splicing import given_sound, splice_frames, splice_sound
from .stage_weights import StageLoRAs, loras_of_stages, transformer_with
from .text.connector import EmbeddingsConnector
from .text.encoder import TextEncoder
from .text.tokenizer import GemmaTokenizer
from .upsampler.model import LatentUpsampler, upsample_latent
from .video_vae.decoder import VideoDecoder
from .video_vae.diffusion_tiling import decode_by_diffusion
from .video_vae.encoder import VideoEncoder
from .video_vae.tiling import Tiling, decode_tiled, decode_whole

log = logging.getLogger("ltx_duo")


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


def stage_one(
    geometry: LatentGeometry,
    sigmas: Tensor,
    guidance: Guidance,
    *,
    conditions: Sequence[Condition] = (),
    initial: AVLatent | None = None,
    video: Kept | None = None,
    audio: Kept | None = None,
    voice: Voice | None = None,
    sampler: Sampler = sample_euler,
) -> Stage:
    """Video and sound from noise at `geometry`, which is stage one's own size, with guidance.

    With an `initial` latent the stage begins from it, noised to the first sigma, instead of from noise alone.  `video`
    and `audio`: what is given of both; a stream that is given as a whole stays as it is, and the other one is made to
    fit it.  Where the first sigma is below 1, what is made anew of a given video begins from it too (video to video).
    `voice`: whose identity guidance follows.  Among the conditions references come last.
    """
    if initial is None and video is not None and not begins_with_noise(sigmas):
        initial = AVLatent(video.latent, None if audio is None else audio.latent)
    scale = 1.0 if initial is None else float(sigmas[0])
    begin = (None, None) if initial is None else (initial.video, initial.audio)
    return Stage(
        geometry,
        sigmas,
        video=_keeping(Start(begin[0], scale, tuple(conditions)), video),
        audio=_keeping(Start(begin[1], scale, _of_sound(voice)), audio),
        guidance=guidance,
        sampler=sampler,
    )


def stage_two(
    geometry: LatentGeometry,
    latent: AVLatent,
    sigmas: Tensor | None = None,
    *,
    conditions: Sequence[Condition] = (),
    video: Kept | None = None,
    audio: Kept | None = None,
    voice: Voice | None = None,
    clean_background: bool = True,
    sampler: Sampler = sample_euler,
) -> Stage:
    """The upsampled video and stage one's sound, noised to the first sigma and refined at the final `geometry`.

    It draws on from stage one's generator.  `video` and `audio` as in stage one, encoded at this stage's size.  Without
    `clean_background` the part of a video that stays is noised and refined like the rest, as the upsampled latent has
    it.  The sound is refined too unless it is given; the vendor goes on with stage one's.  LTXError for a latent of
    another size.
    """
    sigmas = torch.tensor(STAGE_TWO) if sigmas is None else sigmas
    if latent.video.shape[2:] != geometry.video_shape[1:]:
        raise LTXError(
            f"Stage two works at {geometry.width}x{geometry.height} pixels and {geometry.frames} frames, a video "
            f"latent of {tuple(geometry.video_shape[1:])}, but got one of {tuple(latent.video.shape[2:])}. Upsample "
            "stage one's latent by two first."
        )
    scale = float(sigmas[0])
    if video is not None and not (clean_background or video.everything):
        video = None
    refined = None if latent.audio is None else Start(latent.audio, scale, _of_sound(voice))
    return Stage(
        geometry,
        sigmas,
        video=_keeping(Start(latent.video, scale, tuple(conditions)), video),
        audio=_keeping(refined, audio),
        guidance=OFF,
        sampler=sampler,
    )


def _of_sound(voice: Voice | None) -> tuple[Condition, ...]:
    return () if voice is None else (voice,)


def _keeping(start: Start | None, kept: Kept | None) -> Start | None:
    """How a stream begins of which a part, or all, is given."""
    if kept is None:
        return start
    if not kept.everything:
        if start is None:
            raise ConditioningError("A part of the sound is given, but the latent has none to make the rest of.")
        return replace(start, conditions=(kept, *start.conditions))
    if start is not None and start.conditions:
        raise ConditioningError(
            "A stream is given as a whole, so that voices, references and images in it change nothing: take them out, "
            "or have a part of it made anew."
        )
    return Start(kept.latent, noise_scale=0.0, frozen=True)


def upsample(
    upsampler: LatentUpsampler, vae: VideoEncoder | VideoDecoder, latent: AVLatent, reporter: Reporter = SILENT
) -> AVLatent:
    """The same video at the next stage's size; the sound does not change.  Takes the latent statistics from `vae`."""
    with torch.no_grad():
        return AVLatent(upsample_latent(upsampler, vae.per_channel_statistics, latent.video, reporter), latent.audio)


def decode_video(
    decoder: VideoDecoder,
    latent: Tensor,
    tiling: Tiling | None = None,
    reporter: Reporter = SILENT,
    replicas: Sequence[VideoDecoder] = (),
) -> Tensor:
    """Frames (F, H, W, 3) float32 in 0..1 on the CPU of a video latent (1, 128, F', H', W'); whole without `tiling`.

    Tiles are divided between the decoder and its `replicas` on other GPUs; in one piece only the decoder works.
    """
    finish_video_decoder(decoder, latent)
    if tiling is None:
        return decode_whole(decoder, latent, reporter)
    for replica in replicas:
        finish_video_decoder(replica, latent.new_empty(0, device=next(replica.parameters()).device))
    with tiles_on_several_gpus(replicas, reporter) as decode_all:
        return decode_tiled(decoder, latent, tiling, reporter, decode_all)


@torch.no_grad()
def decode_audio(
    decoder: AudioDecoder, vocoder: torch.nn.Module, latent: Tensor, reporter: Reporter = SILENT
) -> Tensor:
    """Waveform (1, 2, N) float32 on the CPU, at the vocoder's sampling rate, of an audio latent (1, 8, T, 16)."""
    return vocoder(decoder(latent, reporter).float(), reporter).float().cpu()


def generate(
    components: Components, request: Request, *, loras: Sequence[StagedLoRA] = (), reporter: Reporter = SILENT
) -> Result:
    """Runs the whole pipeline, or stage one alone at the final size where the request says so.  `loras` are laid over
    transformer and connectors in each stage; the distilled LoRA belongs to stage two.

    What does not fit together is an LTXError before anything is computed.
    """
    c, r = components, request.filled(components.variant)
    _check(c, r, loras)
    one, two = loras_of_stages(c, loras)
    placement = {"dtype": c.dtype, "device": c.device}
    generator = torch.Generator(c.device).manual_seed(r.seed)
    guided = r.guidance.video.needs_negative or r.guidance.audio.needs_negative
    texts = (r.prompt, r.negative_prompt) if guided else (r.prompt,)
    features = [encode_prompt(c.tokenizer, c.text_encoder, text, c.device, reporter) for text in texts]

    size = r.geometry if r.one_stage else r.geometry.half()
    audio = _given_audio(c, r, placement, reporter)
    video = _given_video(c, r, size, placement, reporter)
    voice = _voice(c, r, placement, reporter)
    conditions = _shown(c, r, size, r.references, loras, placement, reporter, r.generated_keyframes)
    guidance = r.guidance if r.voice is None else replace(r.guidance, identity=r.voice.scale)
    stage = stage_one(
        size, r.stage_one_sigmas, guidance, conditions=conditions, video=video, audio=audio, voice=voice,
        sampler=r.sampler,
    )  # fmt: skip
    contexts = _connected(c, features, one)
    with transformer_with(c, one, reporter) as model:
        first = sample_stage(
            model, stage, contexts, generator, **placement, reporter=reporter, run_blocks=BlockGraphs(reporter)
        )

    if r.one_stage:
        return _decoded(c, r, first, None, generator, reporter)
    larger = upsample(c.upsampler, c.video_encoder, first, reporter)
    video = _given_video(c, r, r.geometry, placement, reporter)
    again = [given for given in r.references if given.stage_two]
    conditions = _shown(c, r, r.geometry, again, loras, placement, reporter)
    stage = stage_two(
        r.geometry, larger, r.stage_two_sigmas, conditions=conditions, video=video, audio=audio, voice=voice,
        sampler=r.stage_two_sampler,
    )  # fmt: skip
    contexts = _connected(c, features, two)
    with transformer_with(c, two, reporter) as model:
        second = sample_stage(
            model, stage, contexts, generator, **placement, reporter=reporter, run_blocks=BlockGraphs(reporter)
        )

    return _decoded(c, r, first, second, generator, reporter)


def _decoded(
    c: Components, r: Request, first: AVLatent, second: AVLatent | None, generator: torch.Generator, reporter: Reporter
) -> Result:
    """Frames and sound of the stages' latents, with what of a film comes out as it is given.

    The diffusion decoder draws on from the stages' generator.
    """
    video = (second or first).video
    if _by_diffusion(c, r):
        frames = decode_by_diffusion(c.diffusion_decoder, video, generator, r.tiling, reporter)
    else:
        frames = decode_video(c.video_decoder, video, r.tiling, reporter, c.decoder_replicas)
    if r.film is not None:
        frames = splice_frames(r.film, frames, reporter)
    latent = first.audio if r.stage_one_sound else second.audio
    heard = _heard(c, r, latent, len(frames), reporter)
    sound = (None, None) if heard is None else (heard.waveform[None], heard.sample_rate)
    return Result(frames, r.geometry.fps, *sound, first, second)


def _by_diffusion(c: Components, r: Request) -> bool:
    return r.video_decoder == "diffusion" or (r.video_decoder is None and c.video_decoder is None)


def _given_video(c: Components, r: Request, geometry: LatentGeometry, placement: dict, reporter: Reporter):
    """What of a given film stays at a stage's size."""
    if r.film is None:
        return None
    return encode_film(c.video_encoder, r.film, geometry, **placement, tiling=r.tiling, reporter=reporter)


def _shown(
    c: Components, r: Request, geometry: LatentGeometry, references: Sequence[GivenReference],
    loras: Sequence[StagedLoRA], placement: dict, reporter: Reporter, keyframes: Sequence[int] = (),
) -> tuple[Condition, ...]:  # fmt: skip
    """Images, keyframes to generate and then references at a stage's size; the order is the vendor's."""
    images = encode_images(c.video_encoder, r.images, geometry, c.variant.image_crf, **placement, reporter=reporter)
    factors = _reference_factors(references, loras)
    return images + generated_keyframes(keyframes, geometry) + tuple(
        encode_reference(
            c.video_encoder, given, geometry, downscale_factor=factors.size, temporal_factor=factors.time,
            **placement, tiling=r.tiling, reporter=reporter,
        )
        for given in references
    )  # fmt: skip


def _reference_factors(references: Sequence[GivenReference], loras: Sequence[StagedLoRA]) -> ReferenceFactors:
    acting = [own.lora for own in loras if own.stage_one or own.stage_two]
    return common_reference_factors(acting if references else ())


def _voice(c: Components, r: Request, placement: dict, reporter: Reporter) -> Voice | None:
    return None if r.voice is None else encode_voice(c.audio_encoder, r.voice, **placement, reporter=reporter)


def _given_audio(c: Components, r: Request, placement: dict, reporter: Reporter) -> Kept | None:
    """What is given of the sound: a sound of its own, or the film's."""
    if r.sound is not None:
        return Kept(encode_sound(c.audio_encoder, r.sound, r.geometry, **placement, reporter=reporter))
    if r.film is None or not r.film.gives_sound(begins_with_noise(r.stage_one_sigmas)):
        return None
    return encode_film_sound(c.audio_encoder, r.film, r.geometry, **placement, reporter=reporter)


def _heard(c: Components, r: Request, latent: Tensor, frames: int, reporter: Reporter) -> GivenSound | None:
    """The sound of the result, `frames` long: as it was given, or made and put into the film's."""
    if r.sound is not None:
        return r.sound.part(frames, r.geometry.fps) if r.film is None else given_sound(r.film, r.sound)
    if r.film is not None and not r.film.new_sound:
        return splice_sound(r.film, None)
    waveform = decode_audio(c.audio_decoder, c.vocoder, latent, reporter)
    made = GivenSound(waveform[0], c.vocoder.output_sampling_rate)
    return made if r.film is None else splice_sound(r.film, made)


def _connected(c: Components, features: Sequence[tuple[Tensor, Tensor]], loras: StageLoRAs) -> Contexts:
    """The contexts of one stage, through connectors with its LoRAs."""
    video, audio = c.video_connector, c.audio_connector
    with fused(video, loras, CONNECTORS[0]), fused(audio, loras, CONNECTORS[1]):
        return connect(video, audio, *features)


def _check(components: Components, request: Request, loras: Sequence[StagedLoRA]) -> None:
    components.check()
    request.guidance.blocks(components.transformer.params.num_layers)
    check_reuse(request.guidance, request.sampler)
    if request.generated_keyframes and not components.transformer.params.keyframe_embedding:
        raise VariantError(
            "The request asks for generated keyframes, which LTX-2.5 has learned and this transformer, of "
            f"{components.variant.generation}, has not. Leave generated_keyframes out."
        )
    factors = _reference_factors(request.references, loras)
    if request.references:
        # Twice a size that divides does as well.
        reference_size(request.geometry if request.one_stage else request.geometry.half(), factors.size)
    film, sigmas = request.film, request.stage_one_sigmas
    film_sounds = film is not None and film.gives_sound(begins_with_noise(sigmas))
    sounds = film_sounds or request.sound is not None or request.voice is not None
    if sounds and components.audio_encoder is None:
        raise CheckpointError(
            "The request gives a sound, but the components have no audio VAE encoder. Load them from a checkpoint that "
            f"has one, such as {components.variant.files.audio_vae or components.variant.files.checkpoint}."
        )
    if (components.diffusion_decoder if _by_diffusion(components, request) else components.video_decoder) is None:
        raise CheckpointError(
            f"The request asks for the {request.video_decoder} video decoder, which the components have not. Load the "
            "file that has it among the parts, or leave video_decoder out."
        )
    for given in request.images:
        check_image(given.image)
        if (components.variant.image_crf if given.crf is None else given.crf) > 0:
            pyav(COMPRESSING)
