"""Runs the vendor's own pipeline classes (ltx_pipelines 1.0.0) on a CPU, in float32, with a small model.

What is replaced in the vendor's packages while a run lasts, all of it undone afterwards:

to run at all (`_on_cpu`)
* `torch.cuda.synchronize` does nothing.
* The pipeline modules' `torch.bfloat16` reads as float32 (their classes write the dtype down), and so does the
  `model_dtype` that the res_2s loop has as a default.
* `GEMMA3_CONFIG_FOR_LTX`, the sizes of Gemma-3 12B, becomes the small Gemma's own config.json.
* The Gemma module operations: theirs look for tokenizer.model, an image processor and buffers of transformers 4; the
  replacement takes tokenizer.json, fills the buffers of transformers 5 and drops the vision parts, which encoding a
  prompt never calls.
* `_fuse_deltas` adds a LoRA's delta to float32 weights, where theirs raises for any dtype but bfloat16 and float8.

to be given a film without a file, which would be compressed (`_footage`, `run_ic_lora`)
* What reads the rate, the frames and the sound of a file.

to watch (`_recorded`)
* `encode_prompts`, what encodes sound and film, `denoise_audio_video` or `denoise_video_only` and `upsample_video` keep
  what they return, the two decode functions what they are given; the video decoder's output is kept before it is
  rounded to 8 bits.

to behave like the vendor's newest source, v1.2 (`_newest`, only where a run asks for it)
* `GaussianNoiser`: from clean to the noised latent by the denoise mask.
* `VideoConditionByLatentIndex`, `VideoConditionByKeyframeIndex` and `VideoConditionByReferenceLatent`: what is given
  sets the clean tokens and leaves the noisy ones alone (zeros where appended); an appended image lasts one frame.
* A stream that is kept as a whole has the sigma 0, where 1.0 only set its tokens' timesteps to 0.
* Audio-video attention takes scale and shift from the modality's own timesteps, only the gate from the other's sigma.
* The sound that is decoded is stage one's.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from ltx_duo.benchmarks.real_run import vendor_on_cpu

from .scene import EIGHT_BIT, GIVEN, GIVEN_VIDEO, HQ_LORA_STRENGTHS, Footage, Scales, Scene, SmallModel, Trace


def run_two_stage(model: SmallModel, scene: Scene, *, newest: bool) -> Trace:
    """TI2VidTwoStagesPipeline: dev checkpoint, distilled LoRA in stage two."""
    from ltx_pipelines import ti2vid_two_stages as module

    def make(lora):
        pipeline = module.TI2VidTwoStagesPipeline(
            str(model.checkpoint), [lora(1.0)], str(model.upsampler), str(model.gemma), (), device=torch.device("cpu")
        )
        return pipeline(**request(scene), **dev_request(scene))

    return _run(module, model, make, newest)


def run_hq(model: SmallModel, scene: Scene, *, newest: bool) -> Trace:
    """TI2VidTwoStagesHQPipeline: res_2s, distilled LoRA in both stages."""
    from ltx_pipelines import ti2vid_two_stages_hq as module

    def make(lora):
        pipeline = module.TI2VidTwoStagesHQPipeline(
            str(model.checkpoint), [lora(1.0)], *HQ_LORA_STRENGTHS, str(model.upsampler), str(model.gemma), (),
            device=torch.device("cpu"),
        )  # fmt: skip
        return pipeline(**request(scene), **dev_request(scene))

    return _run(module, model, make, newest)


def run_keyframes(model: SmallModel, scene: Scene, *, newest: bool) -> Trace:
    """KeyframeInterpolationPipeline: every image is appended, that of the first frame too."""
    from ltx_pipelines import keyframe_interpolation as module

    def make(lora):
        pipeline = module.KeyframeInterpolationPipeline(
            str(model.checkpoint), [lora(1.0)], str(model.upsampler), str(model.gemma), [], device=torch.device("cpu")
        )
        return pipeline(**request(scene), **dev_request(scene))

    # KeyframeInterpolationPipeline decodes stage two's sound in every version.
    return _run(module, model, make, newest, stage_one_sound=False)


def run_one_stage(model: SmallModel, scene: Scene, *, newest: bool) -> Trace:
    """TI2VidOneStagePipeline: the final size at once, with guidance."""
    from ltx_pipelines import ti2vid_one_stage as module

    def make(_lora):
        pipeline = module.TI2VidOneStagePipeline(
            str(model.checkpoint), str(model.gemma), [], device=torch.device("cpu")
        )
        return pipeline(**request(scene), **dev_request(scene))

    return _run(module, model, make, newest)


def run_sound_only(model: SmallModel, scene: Scene, *, newest: bool) -> Trace:
    """TI2VidOneStagePipeline without its picture, which is what the vendor's later t2a_one_stage does.

    Noise is drawn for the sound alone, the transformer gets the sound alone, and guidance is the sound's without the
    modality scale; zeros stand for the picture.
    """
    from ltx_core.model.transformer import X0Model
    from ltx_pipelines.utils import helpers

    begin, predict = helpers.noise_video_state, X0Model.forward

    def begin_without_noise(*arguments, noiser, **named):
        return begin(*arguments, noiser=lambda state, *_, **__: state, **named)

    def predict_sound(self, video, audio, perturbations):
        return torch.zeros_like(video.latent), predict(self, video=None, audio=audio, perturbations=perturbations)[1]

    heard = replace(scene, video=Scales(1.0, 0.0, 0.0, 1.0), audio=replace(scene.audio, modality=1.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(helpers, "noise_video_state", begin_without_noise)
        patch.setattr(X0Model, "forward", predict_sound)
        trace = run_one_stage(model, heard, newest=newest)
    return {name: tensor for name, tensor in trace.items() if "audio" in name or name == "waveform"}


def run_distilled(model: SmallModel, scene: Scene, *, newest: bool) -> Trace:
    """DistilledPipeline: one checkpoint for both stages, no negative prompt, no guidance."""
    from ltx_pipelines import distilled as module

    def make(_lora):
        pipeline = module.DistilledPipeline(
            str(model.checkpoint), str(model.gemma), str(model.upsampler), (), device=torch.device("cpu")
        )
        return pipeline(**request(scene))

    # DistilledPipeline decodes stage two's sound in every version.
    return _run(module, model, make, newest, stage_one_sound=False)


def run_sound_given(model: SmallModel, scene: Scene, *, newest: bool) -> Trace:
    """A2VidPipelineTwoStage: a two-stage run to the sound of a file."""
    from ltx_pipelines import a2vid_two_stage as module

    def make(lora):
        pipeline = module.A2VidPipelineTwoStage(
            str(model.checkpoint), [lora(1.0)], str(model.upsampler), str(model.gemma), (), device=torch.device("cpu")
        )
        guided = dev_request(scene)
        guided.pop("audio_guider_params")
        return pipeline(
            **request(scene), **guided, audio_path=str(scene.sound.path), audio_start_time=scene.sound.start,
            audio_max_duration=scene.frames / scene.fps,
        )  # fmt: skip

    trace = _run(module, model, make, newest)
    # The pipeline cuts what it encoded to the film's length.
    trace[GIVEN] = trace[GIVEN][:, :, : round(scene.frames / scene.fps * 25)]
    return trace


def run_ic_lora(model: SmallModel, scene: Scene, *, newest: bool) -> Trace:
    """ICLoraPipeline: a distilled checkpoint, the LoRA and the references in stage one alone."""
    from ltx_core.loader import LTXV_LORA_COMFY_RENAMING_MAP, LoraPathStrengthAndSDOps
    from ltx_pipelines import ic_lora as module
    from ltx_pipelines.utils import media_io

    lora = LoraPathStrengthAndSDOps(str(model.ic_lora), 1.0, LTXV_LORA_COMFY_RENAMING_MAP)
    mask = scene.attention_mask

    def make(_lora):
        pipeline = module.ICLoraPipeline(
            str(model.checkpoint), str(model.upsampler), str(model.gemma), [lora], device=torch.device("cpu")
        )
        return pipeline(
            **request(scene), video_conditioning=[(str(i), guide.strength) for i, guide in enumerate(scene.guides)],
            conditioning_attention_strength=scene.attention_strength,
            conditioning_attention_mask=None if mask is None else mask[None, None],
        )  # fmt: skip

    def frames(path: str, frame_cap: int, device) -> Iterator[Tensor]:
        return iter(scene.guides[int(path)].frames[:frame_cap, None])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(media_io, "decode_video_from_file", frames)
        # It decodes stage two's sound in every version.
        return _run(module, model, make, newest, stage_one_sound=False)


def run_retake(model: SmallModel, scene: Scene, *, newest: bool, distilled: bool = False) -> Trace:
    """RetakePipeline: one stage at the film's own size, with guidance or as a distilled model.

    A stream that is not made anew has an empty region, as 1.0 does it.  (Since 1.1 it begins as noise instead, which is
    a defect.)
    """
    from ltx_pipelines import retake as module

    film = scene.film

    def make(_lora):
        pipeline = module.RetakePipeline(str(model.checkpoint), str(model.gemma), (), device=torch.device("cpu"))
        return pipeline(
            "no file", scene.prompt, *film.window, scene.seed, **({} if distilled else dev_request(scene)),
            regenerate_video=film.new_picture, regenerate_audio=film.new_sound, distilled=distilled,
        )  # fmt: skip

    with pytest.MonkeyPatch.context() as patch:
        _footage(patch, module, film, scene.fps)
        return _run(module, model, make, newest)


def _footage(patch: pytest.MonkeyPatch, module, film: Footage, fps: float) -> None:
    from ltx_core.types import Audio
    from ltx_pipelines.utils import media_io

    frames, height, width, _ = film.frames.shape
    patch.setattr(module, "get_videostream_metadata", lambda _path: (fps, frames, width, height))
    patch.setattr(media_io, "decode_video_from_file", lambda **_: iter(film.frames[:, None]))
    patch.setattr(module, "decode_audio_from_file", lambda *_: Audio(film.sound[None], film.rate))


def newest_cross_timestep(patch: pytest.MonkeyPatch) -> None:
    """Audio-video attention's scales and shifts from the modality's own timesteps, gates from the other's sigma."""
    from ltx_core.model.transformer.transformer_args import MultiModalTransformerArgsPreprocessor as Preprocessor

    prepare = Preprocessor.prepare

    def prepare_newest(self, modality, cross_modality=None):
        args = prepare(self, modality, cross_modality)
        if cross_modality is None:
            return args
        own, _ = self._prepare_cross_attention_timestep(
            timestep=modality.timesteps,
            timestep_scale_multiplier=self.simple_preprocessor.timestep_scale_multiplier,
            batch_size=args.x.shape[0],
            hidden_dtype=modality.latent.dtype,
        )
        return replace(args, cross_scale_shift_timestep=own)

    patch.setattr(Preprocessor, "prepare", prepare_newest)


def request(scene: Scene) -> dict:
    from ltx_pipelines.utils.args import ImageConditioningInput

    return {
        "prompt": scene.prompt,
        "seed": scene.seed,
        "height": scene.height,
        "width": scene.width,
        "num_frames": scene.frames,
        "frame_rate": scene.fps,
        # crf 0 skips the H.264 round trip: see test_image_compression.py
        "images": [ImageConditioningInput(str(p.path), p.frame, p.strength, 0) for p in scene.images],
    }


def dev_request(scene: Scene) -> dict:
    from ltx_core.components.guiders import MultiModalGuiderParams

    guiders = {
        f"{name}_guider_params": MultiModalGuiderParams(
            cfg_scale=scales.cfg,
            stg_scale=scales.stg,
            rescale_scale=scales.rescale,
            modality_scale=scales.modality,
            stg_blocks=list(scene.stg_blocks),
        )
        for name, scales in (("video", scene.video), ("audio", scene.audio))
    }
    return {"negative_prompt": scene.negative_prompt, "num_inference_steps": scene.steps, **guiders}


def _run(module, model: SmallModel, make: Callable, newest: bool, stage_one_sound: bool = True) -> Trace:
    from ltx_core.loader import LTXV_LORA_COMFY_RENAMING_MAP, LoraPathStrengthAndSDOps

    def lora(strength: float):
        return LoraPathStrengthAndSDOps(str(model.lora), strength, LTXV_LORA_COMFY_RENAMING_MAP)

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        vendor_on_cpu.adapt(module, model.gemma, patch.setattr)
        if newest:
            _newest(patch)
        trace = _recorded(patch, module, stage_one_sound=newest and stage_one_sound)
        chunks, audio = make(lora)
        trace[EIGHT_BIT] = torch.cat(list(chunks))
        trace["waveform"] = audio.waveform[None]
    return trace


def _recorded(patch: pytest.MonkeyPatch, module, stage_one_sound: bool) -> Trace:
    trace: Trace = {}
    stages = iter(("one", "two"))

    def watch(name: str, keep: Callable) -> None:
        function = getattr(module, name)

        def watched(*arguments, **keywords):
            result = function(*arguments, **keywords)
            keep(result)
            return result

        patch.setattr(module, name, watched)

    def keep_contexts(outputs) -> None:
        for sign, output in zip(("positive", "negative"), outputs, strict=False):
            trace[f"{sign} video context"] = output.video_encoding
            trace[f"{sign} audio context"] = output.audio_encoding

    def keep_stage(states) -> None:
        stage = next(stages)
        for name, state in zip(("video", "audio"), states, strict=False):
            trace[f"stage {stage} {name} latent"] = state.latent

    watch("encode_prompts", keep_contexts)
    if hasattr(module, "denoise_video_only"):
        watch("vae_encode_audio", lambda latent: trace.update({GIVEN: latent}))
        watch("denoise_video_only", lambda state: keep_stage([state]))
    elif hasattr(module, "denoise_audio_video"):
        watch("denoise_audio_video", keep_stage)
    if hasattr(module, "upsample_video"):
        watch("upsample_video", lambda latent: trace.update({"upsampled video latent": latent}))
    elif hasattr(module, "_encode_video_for_retake"):
        watch("_encode_video_for_retake", lambda latent: trace.update({GIVEN_VIDEO: latent}))
        watch("_encode_audio_for_retake", lambda latent: trace.update({GIVEN: latent}))

    decode_video = module.vae_decode_video

    def decode_video_watched(latent, decoder, *arguments, **keywords) -> Iterator[Tensor]:
        trace.setdefault("stage one video latent", latent)

        def keep_frames(_module, _inputs, pixels):
            trace["frames"] = ((pixels[0].permute(1, 2, 3, 0) + 1) / 2).clamp(0, 1)

        with _hook(decoder, keep_frames):
            yield from decode_video(latent, decoder, *arguments, **keywords)

    patch.setattr(module, "vae_decode_video", decode_video_watched)
    if (decode_audio := getattr(module, "vae_decode_audio", None)) is not None:

        def decode_chosen_audio(latent, *arguments):
            trace.setdefault("stage one audio latent", latent)
            return decode_audio(trace["stage one audio latent"] if stage_one_sound else latent, *arguments)

        patch.setattr(module, "vae_decode_audio", decode_chosen_audio)
    return trace


@contextmanager
def _hook(module: nn.Module, function: Callable) -> Iterator[None]:
    handle = module.register_forward_hook(function)
    try:
        yield
    finally:
        handle.remove()


def _newest(patch: pytest.MonkeyPatch) -> None:
    from ltx_core.components.noisers import GaussianNoiser
    from ltx_core.conditioning.types.keyframe_cond import VideoConditionByKeyframeIndex
    from ltx_core.conditioning.types.latent_cond import VideoConditionByLatentIndex
    from ltx_core.conditioning.types.reference_video_cond import VideoConditionByReferenceLatent

    def noise(self, state, noise_scale=1.0):
        drawn = torch.randn(*state.latent.shape, dtype=state.latent.dtype, generator=self.generator)
        mixed = torch.lerp(state.latent.float(), drawn.float(), noise_scale)
        latent = torch.lerp(state.clean_latent.float(), mixed, state.denoise_mask)
        return replace(state, latent=latent.to(state.latent.dtype))

    patch.setattr(GaussianNoiser, "__call__", noise)

    for condition in (VideoConditionByLatentIndex, VideoConditionByKeyframeIndex, VideoConditionByReferenceLatent):
        patch.setattr(condition, "apply_to", _condition_clean_tokens(condition.apply_to))
    newest_cross_timestep(patch)
    _newest_sigma(patch)


def _newest_sigma(patch: pytest.MonkeyPatch) -> None:
    """Whatever reads the noise level of a stream that is kept as a whole reads 0."""
    from ltx_pipelines.utils import helpers

    make = helpers.modality_from_latent_state

    def make_newest(state, context, sigma, *enabled, **named):
        return make(state, context, sigma if state.denoise_mask.any() else torch.zeros_like(sigma), *enabled, **named)

    patch.setattr(helpers, "modality_from_latent_state", make_newest)


def _condition_clean_tokens(apply_to: Callable) -> Callable:
    def apply(self, latent_state, latent_tools):
        state = apply_to(self, latent_state, latent_tools)
        old = latent_state.latent.shape[1]
        appended = torch.zeros_like(state.latent[:, old:])
        positions = state.positions.clone()
        if hasattr(self, "frame_idx"):
            positions[:, 0, old:, 1] = (self.frame_idx + 1) / latent_tools.fps
        return replace(state, latent=torch.cat((latent_state.latent, appended), dim=1), positions=positions)

    return apply
