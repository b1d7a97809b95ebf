"""Whole runs of LTX-2.5 and LTX-2.0 with diffusers' own pipelines.

Diffusers makes a film of two passes of one pipeline, with the latent upsampler between.  Its pipeline for generated
keyframes is, without any, that of LTX-2.5's distilled models.  Its plain pipeline, which alone has guidance, leaves out
the mark of single frames, which the vendor and its own other one give LTX-2.5's first frame: it is added here.
"""

from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.sampling.schedule import DISTILLED_STAGE_ONE, STAGE_TWO, ltx2_sigmas
from ltx_duo.scripts.small_model_parts.write_split import SplitFiles

from .diffusers_parts import DiffusersParts, with_lora
from .scene import EIGHT_BIT, Scales, Scene, Trace

NOISE_SEED_OFFSET = 10000  # the vendor's
UNGUIDED = Scales(cfg=1.0, stg=0.0, rescale=0.0, modality=1.0)


def run_distilled(parts: DiffusersParts, scene: Scene, *, by_diffusion: bool = False) -> Trace:
    """Ancestral Euler in stage one, plain Euler in stage two; stage two's sound."""
    generator = torch.Generator().manual_seed(scene.seed)
    first = _pass(
        parts, scene, parts.transformer, _ancestral(scene.seed + NOISE_SEED_OFFSET), DISTILLED_STAGE_ONE, generator,
        halved=True, slots=scene.generated,
    )  # fmt: skip
    larger = enlarged(parts, first[0])
    second = _pass(parts, scene, parts.transformer, _euler(), STAGE_TWO, generator, start=(larger, first[1]))
    trace = traced(parts, first, larger, second, stage_one_sound=False)
    if by_diffusion:
        pixels = parts.diffusion_decoder.decoder(second[0], generator=generator)
        trace |= shown(pixels)
    return trace


def run_two_stage(parts: DiffusersParts, files: SplitFiles, scene: Scene) -> Trace:
    """Guidance in stage one, the distilled LoRA in stage two; stage one's sound."""
    generator = torch.Generator().manual_seed(scene.seed)
    start = first_noise(parts, scene, generator)
    with _first_frame_marked(parts.transformer, half(scene).frame_tokens):
        first = plain_pass(parts, scene, parts.transformer, half(scene), start, guided=True)
    larger = enlarged(parts, first[0])
    refined = with_lora(parts.transformer, files.lora)
    second = _pass(parts, scene, refined, _euler(), STAGE_TWO, generator, start=(larger, first[1]))
    return traced(parts, first, larger, second, stage_one_sound=True)


def run_2_0(parts: DiffusersParts, lora: Path | None, scene: Scene) -> Trace:
    """The plain pipeline in both stages, as diffusers runs LTX-2.0: guided, with `lora` and stage one's sound in stage
    two; or where `lora` is None as a distilled model."""
    distilled, generator = lora is None, torch.Generator().manual_seed(scene.seed)
    start = first_noise(parts, scene, generator)
    first = plain_pass(parts, scene, parts.transformer, half(scene), start, guided=not distilled)
    larger = enlarged(parts, first[0])
    refined = parts.transformer if distilled else with_lora(parts.transformer, lora)
    second = plain_pass(parts, scene, refined, size(scene), (larger, first[1]), sigmas=STAGE_TWO, generator=generator)
    return traced(parts, first, larger, second, stage_one_sound=not distilled)


def frames_of_prompt(parts: DiffusersParts, scene: Scene) -> int:
    """As the plain pipeline takes them where no number is given."""
    pipeline = _pipeline("LTX2Pipeline", parts, parts.transformer, _euler())
    embeddings, mask, *_ = pipeline.encode_prompt(scene.prompt, do_classifier_free_guidance=False, device="cpu")
    video, audio, _ = parts.connectors(embeddings, mask, padding_side="left")
    return parts.duration_head.predict_num_frames(video, audio, frame_rate=scene.fps, temporal_compression_ratio=8)


def enlarged(parts: DiffusersParts, video: Tensor) -> Tensor:
    """Stage one's raw latent at twice the size."""
    from diffusers import LTX2LatentUpsamplePipeline

    upsample = LTX2LatentUpsamplePipeline(vae=parts.vae, latent_upsampler=parts.upsampler)
    return upsample(latents=video, latents_normalized=False, output_type="latent", return_dict=False)[0]


def traced(
    parts: DiffusersParts, first: tuple[Tensor, Tensor], larger: Tensor, second: tuple[Tensor, Tensor],
    *, stage_one_sound: bool,
) -> Trace:  # fmt: skip
    """The raw latents (video, audio) of both stages, and what they become at the end."""
    trace = {"upsampled video latent": _normalised(parts, larger)}
    for stage, (video, audio) in (("one", first), ("two", second)):
        trace[f"stage {stage} video latent"] = _normalised(parts, video)
        trace[f"stage {stage} audio latent"] = _normalised_audio(parts, audio)
    mel = parts.audio_vae.decode(first[1] if stage_one_sound else second[1], return_dict=False)[0]
    trace["waveform"] = parts.vocoder(mel)
    return trace | shown(parts.vae.decode(second[0], None, return_dict=False)[0])


def shown(pixels: Tensor) -> Trace:
    """Frames of pixels (1, 3, F, H, W)."""
    frames = (pixels[0].permute(1, 2, 3, 0) / 2 + 0.5).clamp(0, 1)
    return {"frames": frames, EIGHT_BIT: (frames * 255).to(torch.uint8)}


def _pass(
    parts: DiffusersParts, scene: Scene, transformer: nn.Module, scheduler, sigmas: tuple[float, ...],
    generator: torch.Generator, *, halved: bool = False, start: tuple[Tensor, Tensor] = (None, None),
    slots: tuple[int, ...] = (),
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """One stage without guidance; raw latents of video and audio.  `slots`: frames of generated keyframes."""
    from diffusers.pipelines.ltx2 import pipeline_ltx2_dfr as module
    from diffusers.pipelines.ltx2.pipeline_ltx2_condition import LTX2VideoCondition

    conditions = []
    for picture in scene.images:
        latent = 0 if picture.frame == 0 else (picture.frame - 1) // 8 + 1
        assert picture.frame in (0, 8 * latent - 7), "diffusers places images at the first frame of a latent one"
        with Image.open(picture.path) as image:
            conditions.append(LTX2VideoCondition(image.convert("RGB"), latent, picture.strength, crf=0))
    pipeline = _pipeline("LTX2DFRPipeline", parts, transformer, scheduler)
    share = 2 if halved else 1
    with pytest.MonkeyPatch.context() as patch:
        # Films are lengthened to where the last keyframe of a grid stands: ours are named.
        patch.setattr(module, "resolve_canvas", lambda frames, _: (frames, 8, []))
        video, audio, *_ = pipeline(
            scene.prompt, conditions or None, scene.height // share, scene.width // share, scene.frames,
            frame_rate=scene.fps, latents=start[0], audio_latents=start[1], generate_slots=bool(slots),
            keyframe_positions=list(slots), sigmas=list(sigmas[:-1]), generator=generator, output_type="latent",
            return_dict=False,
        )  # fmt: skip
    return video, audio


def size(scene: Scene) -> LatentGeometry:
    return LatentGeometry(scene.width, scene.height, scene.frames, scene.fps)


def half(scene: Scene) -> LatentGeometry:
    """Stage one's size."""
    return size(scene).half()


def first_noise(parts: DiffusersParts, scene: Scene, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Stage one's tokens (video, audio) in our order and layout, which the plain pipeline has otherwise; those of the
    sound as it takes them, not normalised."""
    video = torch.randn(1, half(scene).video_tokens, 128, generator=generator)
    audio = torch.randn(1, half(scene).audio_frames, 128, generator=generator)
    return video, audio * parts.audio_vae.latents_std + parts.audio_vae.latents_mean


def plain_pass(
    parts: DiffusersParts, scene: Scene, transformer: nn.Module, at: LatentGeometry, start: tuple[Tensor, Tensor],
    *, guided: bool = False, sigmas: tuple[float, ...] | None = None, generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """One stage of the plain pipeline at the size `at`; raw latents of video and audio.

    `start`: tokens that are noise as they are; or latents that noise from `generator` is laid over, up to the first of
    the `sigmas`.  `sigmas` None: stage one's, of the dev model if `guided`.
    """
    video, audio = (scene.video, scene.audio) if guided else (UNGUIDED, UNGUIDED)
    scales = {
        "guidance_scale": video.cfg, "stg_scale": video.stg, "modality_scale": video.modality,
        "guidance_rescale": video.rescale, "audio_guidance_scale": audio.cfg, "audio_stg_scale": audio.stg,
        "audio_modality_scale": audio.modality, "audio_guidance_rescale": audio.rescale,
        "spatio_temporal_guidance_blocks": list(scene.stg_blocks), "negative_prompt": scene.negative_prompt,
    }  # fmt: skip
    own = ltx2_sigmas(scene.steps).tolist() if guided else DISTILLED_STAGE_ONE
    levels = list(own if sigmas is None else sigmas)[:-1]
    return _pipeline("LTX2Pipeline", parts, transformer, _euler())(
        scene.prompt, height=at.height, width=at.width, num_frames=scene.frames, frame_rate=scene.fps, sigmas=levels,
        num_inference_steps=len(levels), noise_scale=0.0 if sigmas is None else sigmas[0], latents=start[0],
        audio_latents=start[1], generator=generator, output_type="latent", return_dict=False, **scales,
    )  # fmt: skip


@contextmanager
def _first_frame_marked(transformer: nn.Module, tokens: int):
    def mark(_module, arguments, given):
        marks = torch.zeros(*given["hidden_states"].shape[:2], 1)
        marks[:, :tokens] = 1
        return arguments, given | {"video_keyframes_mask": marks}

    handle = transformer.register_forward_pre_hook(mark, with_kwargs=True)
    yield
    handle.remove()


def _pipeline(name: str, parts: DiffusersParts, transformer: nn.Module, scheduler):
    import diffusers

    pipeline = getattr(diffusers, name)(
        scheduler=scheduler,
        vae=parts.vae,
        audio_vae=parts.audio_vae,
        text_encoder=parts.text_encoder,
        tokenizer=parts.tokenizer,
        connectors=parts.connectors,
        transformer=transformer,
        vocoder=parts.vocoder,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _euler():
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(shift=1.0, use_dynamic_shifting=False)


def _ancestral(seed: int):
    """Both streams draw from one generator of their own, as the vendor's do: diffusers gives video the pipeline's and
    audio none."""
    from diffusers import LTXEulerAncestralRFScheduler

    generator = torch.Generator().manual_seed(seed)

    class OwnNoise(LTXEulerAncestralRFScheduler):
        def step(self, *arguments, **given):
            return super().step(*arguments, **given | {"generator": generator})

    return OwnNoise(eta=1.0)


def _normalised(parts: DiffusersParts, latent: Tensor) -> Tensor:
    mean, std = (statistic.view(1, -1, 1, 1, 1) for statistic in (parts.vae.latents_mean, parts.vae.latents_std))
    return (latent - mean) / std


def _normalised_audio(parts: DiffusersParts, latent: Tensor) -> Tensor:
    """(1, C, T, M); statistics are those of packed tokens (C * M)."""
    shape = (1, latent.shape[1], 1, latent.shape[3])
    return (latent - parts.audio_vae.latents_mean.view(shape)) / parts.audio_vae.latents_std.view(shape)
