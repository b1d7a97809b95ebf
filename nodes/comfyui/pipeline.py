"""What the nodes do, phase by phase: load the component that a phase takes, call the engine, hand the result over."""

import logging
from collections.abc import Sequence
from fractions import Fraction

import comfy.model_management as mm
import torch
from torch import Tensor

from ...ltx_core import two_stage
from ...ltx_core.errors import ConditioningError, GeometryError, LTXError
from ...ltx_core.sampling.conditioning import ImageLatent, resolve_frame
from ...ltx_core.sampling.geometry import LatentGeometry, check_two_stage, geometry_of_latent
from ...ltx_core.sampling.guidance import OFF, Contexts, Guidance, passes
from ...ltx_core.sampling.schedule import STAGE_TWO, checked_sigmas
from ...ltx_core.two_stage import AVLatent, ImageCondition
from ...ltx_core.upsampler.model import upsample_latent
from ..image_compression import ImageSpec, compress
from . import compat, conditioning, estimate, latents
from .checks import custom_tiling
from .handles import ModelHandle, TextEncoderHandle, UpsamplerHandle, VAEHandle
from .memory import Component, broken_weights, load_together
from .progress import NodeProgress, PhaseReporter
from .report import NodeReport

log = logging.getLogger("ltx_duo")

READING, ENCODING, SAMPLING, DECODING = "reading weights", "encoding images", "sampling", "decoding"


def encode_text(handle: TextEncoderHandle, prompts: Sequence[str]) -> list[list]:
    """One CONDITIONING for each prompt."""
    progress = NodeProgress({READING: 1, **{f"encoding prompt {i + 1}": 4 for i in range(len(prompts))}})
    progress.phase(READING)
    component = handle.component()
    encoder = component.load(estimate.text_encoder(handle.params, 1024, component.compute_dtype.itemsize))
    result = []
    for i, prompt in enumerate(prompts):
        reporter = progress.phase(f"encoding prompt {i + 1}")
        features = two_stage.encode_prompt(handle.tokenizer, encoder, prompt, component.device, reporter)
        for tensor in features:
            _check_finite(tensor, "text encoding", component)
        result.append(conditioning.make(*features))
        reporter.step(1, 1)
    return result


def run_stage_one(
    model: ModelHandle,
    vae: VAEHandle,
    positive: list,
    negative: list | None = None,
    *,
    width: int,
    height: int,
    frames: int,
    fps: float,
    steps: int,
    seed: int,
    noise_device: str,
    conditions: tuple[ImageSpec, ...] | None = None,
    guidance: Guidance | None = None,
    sigmas: Tensor | None = None,
    latent: dict | None = None,
    report: NodeReport | None = None,
) -> dict:
    """LATENT of stage one, at half of `width` and `height`."""
    geometry = check_two_stage(width, height, frames, fps).half()
    guidance = model.default_guidance if guidance is None else guidance
    sigmas = model.default_sigmas(steps) if sigmas is None else checked_sigmas(sigmas)
    features = model.features(positive), None if negative is None else model.features(negative)
    initial = None if latent is None else _fitted(latent, geometry)
    stage = Stage(model, 1, geometry, conditions, guidance, features)
    generator = torch.Generator(stage.noise_device(noise_device)).manual_seed(seed)

    images = stage.encode_images(vae)
    transformer, contexts, placement = stage.load(images)
    reporter = stage.progress.phase(SAMPLING)
    with (report or NodeReport()).sampling(sigmas, stage.passes, placement["device"]):
        result = two_stage.stage_one(
            transformer, geometry, contexts, generator, guidance=guidance, sigmas=sigmas, images=images,
            initial=initial, reporter=reporter, **placement,
        )  # fmt: skip
    return latents.make(result.video, result.audio, _info(geometry, generator))


def run_stage_two(
    model: ModelHandle,
    vae: VAEHandle,
    positive: list,
    latent: dict,
    *,
    new_seed: bool,
    seed: int,
    keep_audio: bool,
    clean_background: bool,
    noise_device: str,
    conditions: tuple[ImageSpec, ...] | None = None,
    sigmas: Tensor | None = None,
    report: NodeReport | None = None,
) -> dict:
    """LATENT of stage two, at the size of the given latent."""
    video, _ = latents.take(latent)
    geometry = geometry_of_latent(video, latents.fps_of(latent, positive))
    start = _fitted(latent, geometry)
    sigmas = torch.tensor(STAGE_TWO) if sigmas is None else checked_sigmas(sigmas)
    stage = Stage(model, 2, geometry, conditions, OFF, (model.features(positive), None))
    info = latents.info_of(latent)
    generator = torch.Generator(stage.noise_device(noise_device))
    if new_seed or info is None:
        generator.manual_seed(seed)
    elif info.generator_device != generator.device.type:
        raise ConditioningError(
            f"Stage one drew its noise on '{info.generator_device}', stage two would continue on "
            f"'{generator.device.type}'. Set the same noise_device in both samplers, or noise to 'new seed'."
        )
    else:
        generator.set_state(info.generator_state)

    images = stage.encode_images(vae)
    transformer, contexts, placement = stage.load(images)
    reporter = stage.progress.phase(SAMPLING)
    with (report or NodeReport()).sampling(sigmas, stage.passes, placement["device"]):
        result = two_stage.stage_two(
            transformer, geometry, contexts, start, generator, sigmas=sigmas, images=images,
            clean_background=clean_background, reporter=reporter, **placement,
        )  # fmt: skip
    audio = start.audio if keep_audio else result.audio
    return latents.make(result.video, audio, _info(geometry, generator), like=latent)


def run_upsampler(latent: dict, upsampler: UpsamplerHandle, vae: VAEHandle) -> dict:
    """The LATENT with its picture enlarged; the sound and what travels along stay."""
    video, audio = latents.take(latent)
    progress = NodeProgress({READING: 1, "upsampling": 4})
    progress.phase(READING)
    statistics, component = vae.statistics(), upsampler.component()
    pixels = video[0, 0].numel() * upsampler.params.spatial_scale**2
    module = component.load(estimate.upsampler(upsampler.params.mid_channels, pixels, component.compute_dtype.itemsize))
    reporter = progress.phase("upsampling")
    reporter.check_cancel()
    with torch.no_grad():
        video = upsample_latent(module, statistics, video.to(component.device, component.compute_dtype))
    _check_finite(video, "upsampled latent", component)
    reporter.step(1, 1)
    return latents.make(video, audio, latents.info_of(latent), like=latent)


def run_decode(latent: dict, vae: VAEHandle, tiling: str, **tile: int) -> tuple:
    """VIDEO, IMAGE and AUDIO of a LATENT."""
    from comfy_api.latest import InputImpl, Types

    video, audio = latents.take(latent)
    fps = latents.fps_of(latent)
    progress = NodeProgress({READING: 1, "decoding picture": 20, "decoding sound": 2})
    progress.phase(READING)
    images = _decode_video(vae, video, tiling, tile, progress.phase("decoding picture"))
    sound = None if audio is None else _decode_audio(vae, audio, progress.phase("decoding sound"))
    components = Types.VideoComponents(images=images, audio=sound, frame_rate=Fraction(fps).limit_denominator(1001))
    return InputImpl.VideoFromComponents(components), images, sound


class Stage:
    """What both samplers do before they sample: check, encode images, load the transformer, connect the texts."""

    def __init__(
        self,
        model: ModelHandle,
        number: int,
        geometry: LatentGeometry,
        conditions: tuple[ImageSpec, ...] | None,
        guidance: Guidance,
        features: tuple,
    ):
        self.model, self.number, self.geometry, self.features = model, number, geometry, features
        self.conditions = conditions or ()
        for spec in self.conditions:
            resolve_frame(spec.frame, geometry.frames)
        # Counted here so that blocks or prompts that guidance lacks are found before anything is loaded.
        positive, negative = features
        texts = Contexts(*positive[:2], *(negative[:2] if negative else ()))
        self.passes = len(passes(guidance, texts, model.transformer_params.num_layers))
        self.progress = NodeProgress({ENCODING: 1, READING: 2, SAMPLING: 40})

    def noise_device(self, choice: str) -> torch.device:
        return torch.device("cpu") if choice == "cpu" else mm.get_torch_device()

    def encode_images(self, vae: VAEHandle) -> tuple[ImageLatent, ...]:
        """The conditions' images, compressed and encoded at this stage's size; the VAE loads only if there are any."""
        if not self.conditions:
            return ()
        reporter = self.progress.phase(ENCODING)
        images = []
        for spec in self.conditions:
            crf = self.model.default_crf if spec.crf is None else spec.crf
            images.append(ImageCondition(compress(spec.image, crf), spec.frame, spec.strength))
            reporter.check_cancel()
        component = vae.video_encoder()
        encoder = component.load(
            estimate.video_encoder(self.geometry.height, self.geometry.width, component.compute_dtype.itemsize)
        )
        encoded = two_stage.encode_images(
            encoder, images, self.geometry, dtype=component.compute_dtype, device=component.device, reporter=reporter
        )
        for image in encoded:
            _check_finite(image.latent, "encoded image", component)
        return encoded

    def load(self, images: Sequence[ImageLatent]) -> tuple:
        """The transformer with this stage's LoRAs, ready to run; the contexts; dtype and device to sample in."""
        self.progress.phase(READING)
        component = self.model.stage(self.number)
        dtype, device = component.compute_dtype, component.device
        params = self.model.transformer_params
        one, all_passes = (
            estimate.transformer(params, self.geometry, count, len(images), dtype.itemsize)
            for count in (1, self.passes)
        )
        module = component.load(all_passes, one)
        contexts = self.model.contexts(module, self.features, dtype, device)
        for text in (contexts.video, contexts.audio, contexts.negative_video, contexts.negative_audio):
            if text is not None:
                _check_finite(text, "text context", component)
        return module.transformer, contexts, {"dtype": dtype, "device": device}


def _info(geometry: LatentGeometry, generator: torch.Generator) -> latents.StageInfo:
    return latents.StageInfo(float(geometry.fps), generator.device.type, generator.get_state())


def _fitted(latent: dict, geometry: LatentGeometry) -> AVLatent:
    """The latent as the engine takes it; native sound, which is rounded up, gets the length of the vendor's."""
    video, audio = latents.take(latent)
    if tuple(video.shape[1:]) != geometry.video_shape:
        raise GeometryError(
            f"The latent is {tuple(video.shape[2:])} (frames, height, width), but this stage works at "
            f"{geometry.video_shape[1:]}: {geometry.width}x{geometry.height} pixels and {geometry.frames} frames."
        )
    return AVLatent(video, None if audio is None else latents.with_audio_length(audio, geometry.audio_frames))


def _decode_video(vae: VAEHandle, video: Tensor, tiling: str, tile: dict[str, int], reporter: PhaseReporter) -> Tensor:
    from ...ltx_core.video_vae.tiling import DEFAULT_TILING

    component = vae.video_decoder()
    itemsize = component.compute_dtype.itemsize
    geometry = geometry_of_latent(video, 1.0)
    whole = estimate.video_decoder(geometry.frames, geometry.height, geometry.width, itemsize)
    chosen = custom_tiling(**tile) if tiling == "custom" else None
    if tiling == "auto" and whole > _free_after_eviction(component):
        chosen = DEFAULT_TILING
    need = whole
    if chosen is not None:
        sides = (min(geometry.height, chosen.spatial_tile), min(geometry.width, chosen.spatial_tile))
        need = estimate.video_decoder(min(geometry.frames, chosen.temporal_tile), *sides, itemsize)
    decoder = component.load(need)
    video = video.to(component.device, component.compute_dtype)
    images = None
    try:
        images = two_stage.decode_video(decoder, video, chosen, reporter)
    except BaseException as error:
        if chosen is not None or tiling == "off" or not compat.is_out_of_memory(error):
            raise
    if images is None:
        log.warning("LTX Duo: not enough memory to decode in one piece; decoding in tiles.")
        mm.soft_empty_cache()
        images = two_stage.decode_video(decoder, video, DEFAULT_TILING, reporter)
    _check_finite(images, "decoded video", component)
    return images.to(device=mm.intermediate_device(), dtype=compat.intermediate_dtype())


def _decode_audio(vae: VAEHandle, audio: Tensor, reporter: PhaseReporter) -> dict:
    decoder, vocoder = vae.audio_decoder(), vae.vocoder()
    load_together([decoder, vocoder], estimate.audio_decoder(audio.shape[2]))
    audio = audio.to(decoder.device, decoder.compute_dtype)
    waveform = two_stage.decode_audio(decoder.module, vocoder.module, audio, reporter)
    _check_finite(waveform, "decoded sound", decoder, vocoder)
    reporter.step(1, 1)
    return {"waveform": waveform, "sample_rate": vocoder.module.output_sampling_rate}


def _free_after_eviction(component: Component) -> float:
    """Memory that decoding can have once ComfyUI has moved other models away."""
    if mm.is_device_cpu(component.device):
        return mm.get_free_memory(component.device)
    return mm.get_total_memory(component.device) - component.patcher.model_size() - mm.minimum_inference_memory()


def _check_finite(result: Tensor, what: str, *components: Component) -> None:
    """LTXError that names the broken weights when a result holds NaN or infinity."""
    # The sum shows any NaN or infinity without a mask of the tensor's size.
    if torch.isfinite(result.sum(dtype=torch.float32)):
        return
    broken = [name for component in components for name in broken_weights(component)]
    cause = (
        f"the file's weights are damaged: {', '.join(broken[:3])}" if broken else "the inputs are extreme or damaged"
    )
    raise LTXError(f"The {what} holds NaN or infinite values; {cause}. Load an undamaged file.")
