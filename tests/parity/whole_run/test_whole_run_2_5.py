"""LTX-2.5 from the prompt's text to frames and waveform: our pipeline against diffusers' own."""

from dataclasses import replace

import pytest
import torch

from ltx_duo.ltx_core.loading_components import load_components
from ltx_duo.ltx_core.lora import LoRA
from ltx_duo.ltx_core.prompt_length import prompt_frames
from ltx_duo.ltx_core.request import Request, StagedLoRA
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.two_stage import generate
from ltx_duo.ltx_core.variants import Kind, variant_of
from ltx_duo.scripts.small_model_parts.sizes import ltx_2_5
from ltx_duo.scripts.small_model_parts.write_split import SplitFiles, split_files, write_split_files
from ltx_duo.tests.parity.whole_run import diffusers_parts, diffusers_pipeline, our_pipeline
from ltx_duo.tests.parity.whole_run.conftest import TOKENIZER
from ltx_duo.tests.parity.whole_run.scene import EIGHT_BIT, Scene, Trace, bar, errors

DIFFUSERS = "diffusers 0.42.1"


@pytest.fixture(scope="module")
def files(run_seed, tmp_path_factory) -> SplitFiles:
    folder = tmp_path_factory.mktemp("small-2.5")
    write_split_files(folder, ltx_2_5(), TOKENIZER, run_seed)
    return split_files("ltx-2.5-small").below(folder)


@pytest.fixture(scope="module")
def parts(files):
    return diffusers_parts.read(files, TOKENIZER)


@pytest.fixture(scope="module")
def components(files):
    """Of the dev model, and the same weights taken for a distilled one."""
    others = (files.video_vae, files.diffusion_vae, files.audio_vae, files.duration_head)
    dev = load_components(
        files.transformer, files.text_encoder, files.upsampler, others, dtype=torch.float32, device="cpu"
    )
    return {
        Kind.DEV: dev,
        Kind.DISTILLED: replace(dev, variant=variant_of(Kind.DISTILLED, dev.variant.generation)),
    }


def scene_of(scenes, name: str) -> Scene:
    """Images at the first frame of a latent one, where diffusers can place them; that of frame 0 is kept as it is, as
    diffusers blends a softer one in once more after the last step, which the vendor does not."""
    scene = scenes[name]
    images = (replace(i, strength=1.0) if i.frame == 0 else replace(i, frame=9) for i in scene.images)
    return replace(scene, images=tuple(images))


def our_trace(components, files: SplitFiles, scene: Scene, kind: Kind, **choices) -> Trace:
    """What the record of the model leaves out is not said either."""
    asked = {} if kind is Kind.DISTILLED else our_pipeline.dev_request(scene)
    request = Request(
        scene.prompt,
        LatentGeometry(scene.width, scene.height, scene.frames, scene.fps),
        seed=scene.seed,
        images=tuple(our_pipeline.given_image(picture) for picture in scene.images),
        generated_keyframes=scene.generated,
        **asked,
        **choices,
    )
    loras = [StagedLoRA(LoRA.open(files.lora), 0.0, 1.0)] if kind is Kind.DEV else []
    trace: Trace = {}
    transformer = components[kind].transformer
    with pytest.MonkeyPatch.context() as patch:
        # Diffusers modulates audio-video attention as the vendor's 1.0 did, which images make a difference to.
        patch.setattr(transformer, "params", replace(transformer.params, cross_timestep="other"))
        our_pipeline.record(patch, trace)
        result = generate(components[kind], request, loras=loras)
    for stage, latent in (("one", result.stage_one), ("two", result.stage_two)):
        trace[f"stage {stage} video latent"], trace[f"stage {stage} audio latent"] = latent.video, latent.audio
    trace["frames"], trace["waveform"] = result.frames, result.waveform
    trace[EIGHT_BIT] = (trace["frames"] * 255).to(torch.uint8)
    return trace


def check(what: str, ours: Trace, reference: Trace, parity) -> None:
    for name, expected in reference.items():
        row = f"whole run, {what}: {name}"
        if name == EIGHT_BIT:
            parity.add(f"{row} (levels of 255)", DIFFUSERS, errors(ours, reference)[name], bar(name))
        else:
            parity.check(row, DIFFUSERS, ours[name], expected, bar(name))


@pytest.mark.parametrize(
    ("name", "decoder"),
    [
        ("text", None),
        ("image", None),
        ("image and keyframe", None),
        ("image and keyframe", "diffusion"),
        ("image and generated keyframes", None),
    ],
)
def test_distilled(name, decoder, parts, files, components, scenes, parity):
    scene = scene_of(scenes, name)
    if decoder:
        # Diffusers does not enlarge a latent that is smaller than this decoder's kernels.
        scene = replace(scene, height=128)
        assert scene.frames == 17
    reference = diffusers_pipeline.run_distilled(parts, scene, by_diffusion=decoder is not None)
    ours = our_trace(components, files, scene, Kind.DISTILLED, video_decoder=decoder)
    check(f"distilled 2.5, {name}{f', {decoder} decoder' if decoder else ''}", ours, reference, parity)


def test_two_stage(parts, files, components, scenes, parity):
    scene = scene_of(scenes, "text")
    reference = diffusers_pipeline.run_two_stage(parts, files, scene)
    check("two-stage 2.5, text", our_trace(components, files, scene, Kind.DEV), reference, parity)


@pytest.mark.parametrize("fps", [24.0, 50.0])
def test_length_by_the_prompt(fps, parts, components, scenes):
    scene = replace(scenes["text"], fps=fps)
    assert prompt_frames(components[Kind.DEV], scene.prompt, fps) == diffusers_pipeline.frames_of_prompt(parts, scene)
