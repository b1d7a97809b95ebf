"""What the nodes do, phase by phase: load the component that a phase takes, call the engine, hand the result over."""

from collections.abc import Sequence

import comfy.model_management as mm
import torch
from torch import Tensor

from ...ltx_core import two_stage
from ...ltx_core.errors import ConditioningError, GeometryError
from ...ltx_core.execution import memory_estimates
from ...ltx_core.execution.splitting import Pieces
from ...ltx_core.sampling.conditioning import ImageLatent, resolve_frame
from ...ltx_core.sampling.geometry import LatentGeometry, check_two_stage, geometry_of_latent
from ...ltx_core.sampling.guidance import OFF, Contexts, Guidance, passes
from ...ltx_core.sampling.schedule import STAGE_TWO, checked_sigmas
from ...ltx_core.two_stage import AVLatent, ImageCondition
from ...ltx_core.upsampler.model import upsample_latent
from ..image_compression import ImageSpec, compress
from . import conditioning, latents
from .fitting import fit_transformer, with_more_room
from .handles import ModelHandle, TextEncoderHandle, UpsamplerHandle, VAEHandle
from .memory import check_finite
from .progress import READING, NodeProgress
from .report import NodeReport

ENCODING, SAMPLING = "encoding images", "sampling"
# Prompts are rarely longer; memory for the encoder's activations is asked for this many tokens.
PROMPT_TOKENS = 1024


def encode_text(handle: TextEncoderHandle, prompts: Sequence[str]) -> list[list]:
    """One CONDITIONING for each prompt."""
    progress = NodeProgress({READING: 1, **{f"encoding prompt {i + 1}": 4 for i in range(len(prompts))}})
    progress.phase(READING)
    component = handle.component()
    need = memory_estimates.text_encoder(handle.params, PROMPT_TOKENS, component.compute_dtype.itemsize)
    component.load(need)
    result = []
    for i, prompt in enumerate(prompts):
        reporter = progress.phase(f"encoding prompt {i + 1}")

        def encode(prompt=prompt, reporter=reporter):
            return two_stage.encode_prompt(handle.tokenizer, component.module, prompt, component.device, reporter)

        features = with_more_room(encode, [component], need, "encoding the prompt")
        for tensor in features:
            check_finite(tensor, "text encoding", component)
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
    frames, height, width = video.shape[2:]
    scale = float(upsampler.params.spatial_scale)
    need = memory_estimates.upsampler(
        upsampler.params, frames, int(height * scale), int(width * scale), component.compute_dtype.itemsize
    )
    component.load(need)
    reporter = progress.phase("upsampling")
    reporter.check_cancel()
    video = video.to(component.device, component.compute_dtype)

    def enlarge():
        return upsample_latent(component.module, statistics, video, reporter)

    with torch.no_grad():
        video = with_more_room(enlarge, [component], need, "enlarging the latent")
    check_finite(video, "upsampled latent", component)
    reporter.step(1, 1)
    return latents.make(video, audio, latents.info_of(latent), like=latent)


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
        for spec in conditions or ():
            resolve_frame(spec.frame, geometry.frames)
        # At strength 0 an image would still add tokens of its own, where it is not the first frame.
        self.conditions = tuple(spec for spec in conditions or () if spec.strength > 0)
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
        placement = {"dtype": component.compute_dtype, "device": component.device}
        need = memory_estimates.video_encoder(
            component.module.params, 1, self.geometry.height, self.geometry.width, component.compute_dtype.itemsize
        )
        component.load(need)

        def encode():
            return two_stage.encode_images(component.module, images, self.geometry, **placement, reporter=reporter)

        encoded = with_more_room(encode, [component], need, "encoding the images")
        for image in encoded:
            check_finite(image.latent, "encoded image", component)
        return encoded

    def load(self, images: Sequence[ImageLatent]) -> tuple:
        """The transformer with this stage's LoRAs, ready to run; the contexts; dtype and device to sample in."""
        self.progress.phase(READING)
        component = self.model.stage(self.number)
        dtype, device = component.compute_dtype, component.device
        params, geometry = self.model.transformer_params, self.geometry
        # An image on the first frame takes the place of its tokens, the others come after them.
        appended = sum(resolve_frame(image.frame, geometry.frames) != 0 for image in images)

        def need(pieces: Pieces) -> float:
            return memory_estimates.transformer(
                params, geometry, pieces.together, appended, dtype.itemsize, pieces.chunks, component.in_fp8
            )

        what = (
            f"stage {('one', 'two')[self.number - 1]} at {geometry.width}x{geometry.height}, {geometry.frames} frames"
        )
        contexts = self.model.contexts(self.features, dtype, device)
        transformer = fit_transformer(component, self.passes, need, what)
        return transformer, contexts, {"dtype": dtype, "device": device}


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
