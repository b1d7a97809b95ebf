"""The vendor's side: TI2VidTwoStagesPipeline of ltx-pipelines, 1.0 as PyPI has it or 1.2 from a checkout."""

import gc
import importlib
import importlib.metadata
import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from ...ltx_core.video_vae.tiling import DEFAULT_TILING
from . import vendor_on_cpu
from .made import FRAMES, LATENTS, SOUND, Clock, eight_bit, save
from .takes import Job, Scales, Take

SIDE = "vendor"
STREAMS = ("video", "audio")
# Of a checkout, else the folder itself holds the packages.
SOURCES = ("packages/ltx-core/src", "packages/ltx-pipelines/src")


def run(job: Job) -> None:
    if job.vendor is not None:
        sys.path[:0] = [str(path) for path in sources(job.vendor)]
    module = importlib.import_module("ltx_pipelines.ti2vid_two_stages")
    if job.device == "cpu":
        if _is_1_2(module):
            raise SystemExit(
                "on a CPU the vendor's 1.0 alone can be run: pip install ltx-core==1.0.0 ltx-pipelines==1.0.0"
            )
        vendor_on_cpu.adapt(module, job.files.gemma)
    # It collects garbage between its phases; what the imports have left need not be searched each time.
    gc.freeze()
    folder = job.out / SIDE
    folder.mkdir(parents=True)
    told = {"version": _version(job.vendor), "stages_load": _is_1_2(module)}
    (folder / "side.json").write_text(json.dumps(told) + "\n")
    for take in job.takes:
        _make(job, take, module)


def sources(folder: Path) -> list[Path]:
    """Where the packages lie in a checkout of Lightricks/LTX-2, or in a folder that holds both."""
    inside = [folder / source for source in SOURCES]
    return inside if all(path.is_dir() for path in inside) else [folder]


@torch.inference_mode()
def _make(job: Job, take: Take, module: ModuleType) -> None:
    clock, latents, heard = Clock(job.device), [], []

    def keep(call: Callable) -> Callable:
        def kept(*arguments, **options):
            states = call(*arguments, **options)
            latents.extend(state.latent for state in states)
            return states

        return clock.timed(kept)

    def listen(call: Callable) -> Callable:
        def listened(latent, *arguments, **options):
            heard.append(latent)
            return call(latent, *arguments, **options)

        return listened

    pipeline = _pipeline(job, module)
    if _is_1_2(module):
        pipeline.stage_1, pipeline.stage_2 = keep(pipeline.stage_1), keep(pipeline.stage_2)
        pipeline.audio_decoder = listen(pipeline.audio_decoder)
        frames, audio, *_ = pipeline(**_request(job, take, module))
    else:
        own = module.denoise_audio_video, module.vae_decode_audio
        module.denoise_audio_video, module.vae_decode_audio = keep(own[0]), listen(own[1])
        try:
            frames, audio = pipeline(**_request(job, take, module))
        finally:
            module.denoise_audio_video, module.vae_decode_audio = own
    frames = torch.cat([eight_bit(chunk.cpu()) for chunk in frames])
    # The sound is one of the latents that the stages gave, or a view of it.
    stage = "stage one" if torch.equal(heard[0], latents[1]) else "stage two"
    tensors = {name: latent.float() for name, latent in zip(LATENTS, latents, strict=True)}
    tensors |= {FRAMES: frames, SOUND: audio.waveform.float()}
    save(job.out / SIDE, take.name, tensors, clock.figures(audio.sampling_rate, stage))


def _pipeline(job: Job, module: ModuleType) -> Any:
    from ltx_core.loader import LTXV_LORA_COMFY_RENAMING_MAP, LoraPathStrengthAndSDOps

    files = job.files
    lora = [LoraPathStrengthAndSDOps(str(files.lora), 1.0, LTXV_LORA_COMFY_RENAMING_MAP)]
    place = {"loras": (), "device": torch.device(job.device)}
    if _is_1_2(module):
        paths = module.ModelPaths.from_monolith(str(files.checkpoint), str(files.gemma))
        return module.TI2VidTwoStagesPipeline(paths, lora, str(files.upsampler), **place)
    return module.TI2VidTwoStagesPipeline(
        str(files.checkpoint), lora, str(files.upsampler), str(files.gemma), **place
    )  # fmt: skip


def _request(job: Job, take: Take, module: ModuleType) -> dict[str, Any]:
    return {
        "prompt": take.text,
        "negative_prompt": job.negative_prompt,
        "seed": take.seed,
        "height": job.height,
        "width": job.width,
        "num_frames": job.frames,
        "frame_rate": job.fps,
        "num_inference_steps": job.steps,
        "video_guider_params": _guider(job.video, job.stg_blocks),
        "audio_guider_params": _guider(job.audio, job.stg_blocks),
        "images": [],
        "tiling_config": _tiling(module) if job.tiles else None,
    }


def _guider(scales: Scales, blocks: tuple[int, ...]) -> Any:
    from ltx_core.components.guiders import MultiModalGuiderParams

    return MultiModalGuiderParams(
        cfg_scale=scales.cfg,
        stg_scale=scales.stg,
        rescale_scale=scales.rescale,
        modality_scale=scales.modality,
        stg_blocks=list(blocks),
    )


def _tiling(module: ModuleType) -> Any:
    """Our tiles; from 1.1 on the vendor's own choice, by the memory that is free."""
    if hasattr(module, "AUTO_TILING"):
        return module.AUTO_TILING
    from ltx_core.model.video_vae.tiling import SpatialTilingConfig, TemporalTilingConfig, TilingConfig

    tiles = DEFAULT_TILING
    return TilingConfig(
        SpatialTilingConfig(tiles.spatial_tile, tiles.spatial_overlap),
        TemporalTilingConfig(tiles.temporal_tile, tiles.temporal_overlap),
    )


def _is_1_2(module: ModuleType) -> bool:
    return "model_paths" in inspect.signature(module.TI2VidTwoStagesPipeline).parameters


def _version(folder: Path | None) -> str:
    """Of the packages that were imported: from their metadata, or from the checkout's pyproject.toml."""
    project = None if folder is None else folder / "packages" / "ltx-pipelines" / "pyproject.toml"
    if project is not None and project.is_file():
        line = next((line for line in project.read_text().splitlines() if line.startswith("version")), "version = ?")
        return f"{line.split('=')[1].strip().strip(chr(34))} (checkout)"
    try:
        return importlib.metadata.version("ltx-pipelines")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
