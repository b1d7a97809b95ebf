"""Runs the pipeline classes of the vendor's newest source, v1.2.0, with a small LTX-2.5 on a CPU in float32.

That version is no package: the source is fetched by hand, and its place is an argument (`check_vendor_source.py`).
Its packages have the names of 1.0.0's, so that a process runs one of the two.

What is replaced in it, in a process of its own:

* The pipeline modules' `torch.bfloat16` reads as float32 (their classes write the dtype down); LoRAs are added in
  float32, and noise of ancestral steps and of res_2s is in the dtype of the classes.
* OpenImageIO, which reads films of high dynamic range, is an empty module.
* Gemma is transformers' text model alone, with the weights of the file: theirs is that model within one that sees and
  hears, which encoding a prompt never calls.  Tokenizer and `encode` are the vendor's.
* What reads the rate, the frames and the sound of a film's file gets the film itself.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ltx_duo.benchmarks.real_run.vendor import sources
from ltx_duo.benchmarks.real_run.vendor_on_cpu import Float32Torch
from ltx_duo.scripts.small_model_parts.sizes import GEMMA_4_CONFIG
from ltx_duo.scripts.small_model_parts.write_split import SplitFiles

from .scene import EIGHT_BIT, GIVEN, GIVEN_VIDEO, HQ_LORA_STRENGTHS, Scene, Trace
from .vendor_pipeline import dev_request, request

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Source:
    """The vendor's checkout beside a small model: `ic_lora` is the LoRA as one that reads references."""

    files: SplitFiles
    tokenizer: Path
    ic_lora: Path


def importable(checkout: Path) -> None:
    """Puts the vendor's packages before all others; SystemExit where ltx-core 1.0.0 has been imported already."""
    if "ltx_core" in sys.modules:
        raise SystemExit("ltx_core has been imported already: run check_vendor_source.py alone")
    sys.path[:0] = [str(path) for path in sources(checkout)]
    sys.modules.setdefault("OpenImageIO", ModuleType("OpenImageIO"))


def with_assets(path: Path) -> None:
    """Rewrites a text encoder with the files beside its tokenizer, without which the vendor does not begin to read it:
    empty ones, since nothing of them is needed."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    save_file(load_file(path), path, metadata | dict.fromkeys(("tokenizer_config.json", "processor_config.json"), "{}"))


def run_two_stage(source: Source, scene: Scene) -> Trace:
    from ltx_pipelines import ti2vid_two_stages as module

    def make():
        return module.TI2VidTwoStagesPipeline(
            _paths(source), [_lora(source.files.lora)], str(source.files.upsampler), [], device=CPU
        )

    return _run(module, source, make, request(scene) | dev_request(scene) | _generated(scene))


def run_distilled(source: Source, scene: Scene) -> Trace:
    from ltx_pipelines import distilled as module

    def make():
        return module.DistilledPipeline(_paths(source), str(source.files.upsampler), [], device=CPU)

    return _run(module, source, make, request(scene) | _generated(scene))


def run_hq(source: Source, scene: Scene) -> Trace:
    from ltx_pipelines import ti2vid_two_stages_hq as module

    def make():
        return module.TI2VidTwoStagesHQPipeline(
            _paths(source), [_lora(source.files.lora)], *HQ_LORA_STRENGTHS, str(source.files.upsampler), (), device=CPU
        )

    return _run(module, source, make, request(scene) | dev_request(scene))


def run_keyframes(source: Source, scene: Scene) -> Trace:
    from ltx_pipelines import keyframe_interpolation as module

    def make():
        return module.KeyframeInterpolationPipeline(
            _paths(source), [_lora(source.files.lora)], str(source.files.upsampler), [], device=CPU
        )

    return _run(module, source, make, request(scene) | dev_request(scene))


def run_one_stage(source: Source, scene: Scene) -> Trace:
    from ltx_pipelines import ti2vid_one_stage as module

    def make():
        return module.TI2VidOneStagePipeline(_paths(source), [], device=CPU)

    return _run(module, source, make, request(scene) | dev_request(scene))


def run_sound_given(source: Source, scene: Scene) -> Trace:
    from ltx_pipelines import a2vid_two_stage as module

    def make():
        return module.A2VidPipelineTwoStage(
            _paths(source), [_lora(source.files.lora)], str(source.files.upsampler), [], device=CPU
        )

    given = {
        "audio_path": str(scene.sound.path), "audio_start_time": scene.sound.start,
        "audio_max_duration": scene.frames / scene.fps,
    }  # fmt: skip
    guided = dev_request(scene)
    guided.pop("audio_guider_params")
    trace = _run(module, source, make, request(scene) | guided | given)
    trace[GIVEN] = trace[GIVEN][:, :, : round(scene.frames / scene.fps * 25)]
    # The file's own samples come back, which is another test's.
    return {name: tensor for name, tensor in trace.items() if "stage" not in name or "audio" not in name}


def run_sound_only(source: Source, scene: Scene) -> Trace:
    """T2AOneStagePipeline: the sound's layers alone, without the modality scale, as its command line has it."""
    from ltx_pipelines import t2a_one_stage as module

    def make():
        return module.T2AOneStagePipeline(_paths(source), [], device=CPU)

    guided = dev_request(replace(scene, audio=replace(scene.audio, modality=1.0)))
    guided.pop("video_guider_params")
    own = {"prompt": scene.prompt, "seed": scene.seed, "num_frames": scene.frames, "frame_rate": scene.fps}
    with pytest.MonkeyPatch.context() as patch:
        _adapt(patch, module, source)
        pipeline = make()
        trace = _recorded(pipeline)
        with torch.no_grad():
            trace["waveform"] = pipeline(**own, **guided).waveform[None]
    return {name: tensor for name, tensor in trace.items() if "video" not in name}


def run_ic_lora(source: Source, scene: Scene) -> Trace:
    from ltx_pipelines import ic_lora as module
    from ltx_pipelines import iclora_utils

    def make():
        return module.ICLoraPipeline(_paths(source), str(source.files.upsampler), [_lora(source.ic_lora)], device=CPU)

    def frames(path: str, frame_cap: int, device):
        return iter(scene.guides[int(path)].frames[:frame_cap, None])

    mask = scene.attention_mask
    asked = {
        "video_conditioning": [(str(i), guide.strength) for i, guide in enumerate(scene.guides)],
        "conditioning_attention_strength": scene.attention_strength,
        "conditioning_attention_mask": None if mask is None else mask[None, None],
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(iclora_utils, "decode_video_by_frame", frames)
        return _run(module, source, make, request(scene) | asked)


def run_retake(source: Source, scene: Scene, *, distilled: bool = False) -> Trace:
    """A stream that is not made anew begins as noise there, which is a defect: scenes have both made anew."""
    from ltx_core.types import Audio, VideoPixelShape
    from ltx_pipelines import retake as module
    from ltx_pipelines.utils import helpers

    film = scene.film
    frames, height, width, _ = film.frames.shape

    def make():
        return module.RetakePipeline(_paths(source), [], device=CPU, distilled=distilled)

    asked = {
        "video_path": "no file", "prompt": scene.prompt, "start_time": film.window[0], "end_time": film.window[1],
        "seed": scene.seed, **({} if distilled else dev_request(scene)),
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        shape = VideoPixelShape(1, frames, height, width, scene.fps)
        patch.setattr(module, "get_videostream_metadata", lambda *_, **__: shape)
        patch.setattr(helpers, "get_videostream_fps", lambda _path: scene.fps)
        patch.setattr(helpers, "decode_video_from_file", lambda **_: iter(film.frames[:, None]))
        patch.setattr(helpers, "decode_audio_from_file", lambda *_, **__: Audio(film.sound[None], film.rate))
        return _run(module, source, make, asked)


RUNS: dict[str, Callable[[Source, Scene], Trace]] = {
    "two-stage": run_two_stage,
    "distilled": run_distilled,
    "HQ": run_hq,
    "keyframes": run_keyframes,
    "one stage": run_one_stage,
    "sound-given": run_sound_given,
    "retake": run_retake,
    "distilled retake": partial(run_retake, distilled=True),
    "IC-LoRA": run_ic_lora,
}


def _generated(scene: Scene) -> dict:
    return {"generated_keyframes": list(scene.generated)}


def _paths(source: Source):
    from ltx_pipelines.utils.model_paths import ModelPaths

    files = source.files
    return ModelPaths.from_split(
        transformer_path=str(files.transformer),
        text_encoder_path=str(files.text_encoder),
        video_vae_path=str(files.video_vae),
        audio_vae_path=str(files.audio_vae),
    )


def _lora(path: Path):
    from ltx_core.loader import LTXV_LORA_COMFY_RENAMING_MAP, LoraPathStrengthAndSDOps

    return LoraPathStrengthAndSDOps(str(path), 1.0, LTXV_LORA_COMFY_RENAMING_MAP)


@torch.no_grad()
def _run(module, source: Source, make: Callable, asked: dict) -> Trace:
    with pytest.MonkeyPatch.context() as patch:
        _adapt(patch, module, source)
        pipeline = make()
        trace = _recorded(pipeline)
        frames, audio, *_ = pipeline(**asked, tiling_config=None)
        trace["frames"] = torch.cat(list(frames))
    trace[EIGHT_BIT] = (trace["frames"] * 255).to(torch.uint8)
    trace["waveform"] = audio.waveform.reshape(1, *audio.waveform.shape[-2:])
    return trace


def _adapt(patch: pytest.MonkeyPatch, module, source: Source) -> None:
    from ltx_core.loader import fuse_loras
    from ltx_core.text_encoders.gemma.encoders.base_encoder import LTXGemmaTextEncoder
    from ltx_core.text_encoders.gemma.tokenizer import LTXGemmaTokenizer, PaddingSide
    from ltx_pipelines.utils import blocks
    from transformers import AutoTokenizer, Gemma4UnifiedTextConfig, Gemma4UnifiedTextModel

    patch.setattr(module, "torch", Float32Torch())
    object.__setattr__(fuse_loras.bf16_fuse_rule, "aggregation_dtype", torch.float32)
    if hasattr(module, "res2s_audio_video_denoising_loop"):
        loop = partial(module.res2s_audio_video_denoising_loop, model_dtype=torch.float32)
        patch.setattr(module, "res2s_audio_video_denoising_loop", loop)

    def gemma(_self) -> nn.Module:
        text = Gemma4UnifiedTextModel(Gemma4UnifiedTextConfig(**GEMMA_4_CONFIG["text_config"])).eval()
        state = load_file(source.files.text_encoder).items()
        text.load_state_dict({n.removeprefix("model."): t.float() for n, t in state if n.startswith("model.")})
        words = LTXGemmaTokenizer(AutoTokenizer.from_pretrained(source.tokenizer), 1024, padding_side=PaddingSide.LEFT)
        return LTXGemmaTextEncoder(_Within(text), words, dtype=torch.float32)

    patch.setattr(blocks, "get_gemma_ops", lambda _path: (None, ()))
    patch.setattr(blocks.PromptEncoder, "_build_text_encoder", gemma)


class _Within(nn.Module):
    """A text model where the vendor looks for that of its larger one."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model, self.device, self.config = model, CPU, SimpleNamespace(model_type="gemma4_unified")


def _recorded(pipeline) -> Trace:
    """What the pipeline's blocks give back, under the names of our own run."""
    trace: Trace = {}
    stages = iter(("one", "two"))

    def watch(name: str, keep: Callable) -> None:
        if (block := getattr(pipeline, name, None)) is None:
            return

        class Watched:
            def __call__(self, *arguments, **named):
                result = block(*arguments, **named)
                keep(result)
                return result

            def __getattr__(self, attribute: str):
                return getattr(block, attribute)

        setattr(pipeline, name, Watched())

    def keep_contexts(outputs) -> None:
        for sign, output in zip(("positive", "negative"), outputs, strict=False):
            trace[f"{sign} video context"], trace[f"{sign} audio context"] = (
                output.video_encoding,
                output.audio_encoding,
            )

    def keep_stage(states) -> None:
        stage = next(stages)
        for name, state in zip(("video", "audio"), states, strict=True):
            if state is not None:
                trace[f"stage {stage} {name} latent"] = state.latent

    watch("prompt_encoder", keep_contexts)
    for name in ("stage", "stage_1", "stage_2"):
        watch(name, keep_stage)
    watch("upsampler", lambda latent: trace.update({"upsampled video latent": latent}))
    watch("audio_conditioner", lambda latent: trace.update({GIVEN: latent}))
    # Images come as a list of conditions.
    watch("image_conditioner", lambda made: trace.update({GIVEN_VIDEO: made} if isinstance(made, Tensor) else {}))
    return trace
