"""Whole runs of LTX-2.5 with diffusers' own pipelines.

Diffusers makes a film of two passes of one pipeline, with the latent upsampler between.  Its pipeline for generated
keyframes is, without any, that of distilled models.  Its plain pipeline, which alone has guidance, leaves out the mark
of single frames, which the vendor and its own other one give the first frame: it is added here.
"""

from contextlib import contextmanager

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.sampling.schedule import DISTILLED_STAGE_ONE, STAGE_TWO, ltx2_sigmas
from ltx_duo.scripts.small_model_parts.write_split import SplitFiles

from .diffusers_parts import DiffusersParts, with_lora
from .scene import EIGHT_BIT, Scene, Trace

NOISE_SEED_OFFSET = 10000  # the vendor's


def run_distilled(parts: DiffusersParts, scene: Scene, *, by_diffusion: bool = False) -> Trace:
    """Ancestral Euler in stage one, plain Euler in stage two; stage two's sound."""
    generator = torch.Generator().manual_seed(scene.seed)
    first = _pass(
        parts, scene, parts.transformer, _ancestral(scene.seed + NOISE_SEED_OFFSET), DISTILLED_STAGE_ONE, generator,
        halved=True,
    )  # fmt: skip
    return _finished(
        parts, scene, parts.transformer, first, generator, stage_one_sound=False, by_diffusion=by_diffusion
    )


def run_two_stage(parts: DiffusersParts, files: SplitFiles, scene: Scene) -> Trace:
    """Guidance in stage one, the distilled LoRA in stage two; stage one's sound."""
    generator = torch.Generator().manual_seed(scene.seed)
    first = _guided_pass(parts, scene, generator)
    refined = with_lora(parts.transformer, files.lora)
    return _finished(parts, scene, refined, first, generator, stage_one_sound=True)


def frames_of_prompt(parts: DiffusersParts, scene: Scene) -> int:
    """As the plain pipeline takes them where no number is given."""
    pipeline = _pipeline("LTX2Pipeline", parts, parts.transformer, _euler())
    embeddings, mask, *_ = pipeline.encode_prompt(scene.prompt, do_classifier_free_guidance=False, device="cpu")
    video, audio, _ = parts.connectors(embeddings, mask, padding_side="left")
    return parts.duration_head.predict_num_frames(video, audio, frame_rate=scene.fps, temporal_compression_ratio=8)


def _finished(
    parts: DiffusersParts, scene: Scene, transformer: nn.Module, first: tuple[Tensor, Tensor],
    generator: torch.Generator, *, stage_one_sound: bool, by_diffusion: bool = False,
) -> Trace:  # fmt: skip
    """From stage one's raw latents (video, audio) to the end."""
    from diffusers import LTX2LatentUpsamplePipeline

    upsample = LTX2LatentUpsamplePipeline(vae=parts.vae, latent_upsampler=parts.upsampler)
    larger = upsample(latents=first[0], latents_normalized=False, output_type="latent", return_dict=False)[0]
    second = _pass(parts, scene, transformer, _euler(), STAGE_TWO, generator, halved=False, start=(larger, first[1]))
    trace = {"upsampled video latent": _normalised(parts, larger)}
    for stage, (video, audio) in (("one", first), ("two", second)):
        trace[f"stage {stage} video latent"] = _normalised(parts, video)
        trace[f"stage {stage} audio latent"] = _normalised_audio(parts, audio)
    if by_diffusion:
        pixels = parts.diffusion_decoder.decoder(second[0], generator=generator)
    else:
        pixels = parts.vae.decode(second[0], None, return_dict=False)[0]
    trace["frames"] = (pixels[0].permute(1, 2, 3, 0) / 2 + 0.5).clamp(0, 1)
    trace[EIGHT_BIT] = (trace["frames"] * 255).to(torch.uint8)
    mel = parts.audio_vae.decode(first[1] if stage_one_sound else second[1], return_dict=False)[0]
    trace["waveform"] = parts.vocoder(mel)
    return trace


def _pass(
    parts: DiffusersParts, scene: Scene, transformer: nn.Module, scheduler, sigmas: tuple[float, ...],
    generator: torch.Generator, *, halved: bool, start: tuple[Tensor, Tensor] = (None, None),
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """One stage without guidance; raw latents of video and audio."""
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
        # Films are lengthened where keyframes are generated, of which there are none.
        patch.setattr(module, "resolve_canvas", lambda frames, _: (frames, 8, []))
        video, audio, *_ = pipeline(
            scene.prompt, conditions or None, scene.height // share, scene.width // share, scene.frames,
            frame_rate=scene.fps, latents=start[0], audio_latents=start[1], generate_slots=False,
            sigmas=list(sigmas[:-1]), generator=generator, output_type="latent", return_dict=False,
        )  # fmt: skip
    return video, audio


def _guided_pass(parts: DiffusersParts, scene: Scene, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Stage one from noise in our order and layout, which this pipeline has otherwise."""
    size = LatentGeometry(scene.width, scene.height, scene.frames, scene.fps).half()
    video = torch.randn(1, size.video_tokens, 128, generator=generator)
    audio = torch.randn(1, size.audio_frames, 128, generator=generator)
    audio = audio * parts.audio_vae.latents_std + parts.audio_vae.latents_mean
    pipeline = _pipeline("LTX2Pipeline", parts, parts.transformer, _euler())
    with _first_frame_marked(parts.transformer, size.frame_tokens):
        return pipeline(
            scene.prompt, scene.negative_prompt, size.height, size.width, scene.frames, frame_rate=scene.fps,
            sigmas=ltx2_sigmas(scene.steps)[:-1].tolist(), num_inference_steps=scene.steps,
            guidance_scale=scene.video.cfg, stg_scale=scene.video.stg, modality_scale=scene.video.modality,
            guidance_rescale=scene.video.rescale, audio_guidance_scale=scene.audio.cfg,
            audio_stg_scale=scene.audio.stg, audio_modality_scale=scene.audio.modality,
            audio_guidance_rescale=scene.audio.rescale, spatio_temporal_guidance_blocks=list(scene.stg_blocks),
            latents=video, audio_latents=audio, output_type="latent", return_dict=False,
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
