"""Jobs in the shipped workflows, as a ComfyUI server gets them."""

import json
from dataclasses import replace

import pytest

from ltx_duo.ltx_core.variants import Kind
from ltx_duo.scripts.batching import prompts
from ltx_duo.scripts.batching.faults import BatchError, JobFault
from ltx_duo.scripts.batching.jobs import ImageFile, Job, SoundFile
from ltx_duo.scripts.demo.server import PACK

API = PACK / "workflows" / "api"
JOB = Job(1, "a star", width=256, height=128, frames=17, fps=25.0, seed=3)


@pytest.fixture
def workflow() -> prompts.Prompt:
    return prompts.read_workflow(API / "text-to-video.api.json")


def inputs(prompt: prompts.Prompt, kind: str) -> dict:
    (found,) = [node["inputs"] for node in prompt.values() if node["class_type"] == kind]
    return found


def test_what_a_job_leaves_out_is_the_workflows(workflow):
    assert prompts.defaults_of(workflow) == {"width": 1536, "height": 1024, "frames": 121, "fps": 24.0, "seed": 10}
    prompt = prompts.filled(workflow, JOB, [], "films/star")
    one = inputs(prompt, prompts.STAGE_ONE)
    assert [one[slot] for slot in prompts.SIZE] == [256, 128, 17, 25.0, 3]
    assert inputs(prompt, prompts.TEXT_ENCODE)["prompt"] == "a star"
    assert inputs(prompt, prompts.SAVE)["filename_prefix"] == "films/star"
    changed = {key for key in prompt if prompt[key] != workflow[key]}
    assert {prompt[key]["class_type"] for key in changed} == {prompts.STAGE_ONE, prompts.TEXT_ENCODE, prompts.SAVE}
    assert workflow == prompts.read_workflow(API / "text-to-video.api.json")


def test_everything_that_a_job_may_say(workflow):
    job = replace(
        JOB,
        negative_prompt="dull",
        steps=4,
        stage_one_sound=False,
        tiling="whole",
        guidance={"video_cfg": 2.0, "stg_blocks": (1, 3)},
        inputs={"LTXDuoStageTwoSampler.noise": "new seed", "1.weight_dtype": "fp8"},
    )
    prompt = prompts.filled(workflow, job, [], "film")
    one, two = inputs(prompt, prompts.STAGE_ONE), inputs(prompt, prompts.STAGE_TWO)
    assert inputs(prompt, prompts.TEXT_ENCODE)["negative_prompt"] == "dull"
    assert (one["steps"], two["audio"], two["noise"]) == (4, "stage two", "new seed")
    assert inputs(prompt, prompts.DECODE)["tiling"] == "off"
    assert prompt["1"]["inputs"]["weight_dtype"] == "fp8"
    guidance = prompt[one["guidance"][0]]
    assert guidance["class_type"] == prompts.GUIDANCE
    assert guidance["inputs"] == inputs(workflow, prompts.GUIDANCE) | {
        "preset": "custom",
        "video_cfg": 2.0,
        "stg_blocks": "1, 3",
    }
    two = inputs(prompts.filled(workflow, replace(JOB, stage_one_sound=True), [], "film"), prompts.STAGE_TWO)
    assert two["audio"] == "stage one"
    tiles = prompts.filled(workflow, replace(JOB, tiling="tiles", guidance="none"), [], "film")
    assert inputs(tiles, prompts.DECODE)["tiling"] == "custom"
    assert tiles[inputs(tiles, prompts.STAGE_ONE)["guidance"][0]]["inputs"]["preset"] == "none"


def test_images_and_a_sound_become_a_chain(workflow):
    job = replace(JOB, images=(ImageFile("a.png"), ImageFile("b.png", -1, 0.5, 0)), sound=SoundFile("c.wav", start=1.0))
    prompt = prompts.filled(workflow, job, ["a.png", "b.png", "c.wav"], "film")
    links = [inputs(prompt, kind)["conditions"] for kind in (prompts.STAGE_ONE, prompts.STAGE_TWO)]
    assert links[0] == links[1]
    sound = prompt[links[0][0]]
    assert sound["class_type"] == prompts.SOUND_CONDITION
    assert (sound["inputs"]["start"], sound["inputs"]["fps"]) == (1.0, 25.0)
    assert prompt[sound["inputs"]["audio"][0]] == {"class_type": "LoadAudio", "inputs": {"audio": "c.wav"}}
    last = prompt[sound["inputs"]["conditions"][0]]["inputs"]
    first = prompt[last["conditions"][0]]["inputs"]
    assert (last["frame"], last["strength"], last["crf"]) == (-1, 0.5, 0)
    assert (first["frame"], first["strength"], first["crf"]) == (0, 1.0, -1)
    assert "conditions" not in first
    assert [prompt[node["image"][0]]["inputs"]["image"] for node in (first, last)] == ["a.png", "b.png"]


@pytest.mark.parametrize("kind", ["auto", "dev", "distilled"])
def test_the_recipe_is_the_models(kind, workflow):
    assert prompts.variant_for(workflow).kind is Kind.DEV
    distilled = prompts.read_workflow(API / "distilled.api.json")
    inputs(distilled, prompts.MODEL_LOADER)["kind"] = kind
    assert prompts.variant_for(distilled).kind is (Kind.DEV if kind == "dev" else Kind.DISTILLED)


@pytest.mark.parametrize(("file", "steps"), [("ltx-2-19b-dev.safetensors", 40), ("ltx-2.3-22b-dev.safetensors", 30)])
def test_the_recipe_is_that_of_the_generation(file, steps, workflow):
    inputs(workflow, prompts.MODEL_LOADER)["checkpoint"] = file
    assert prompts.variant_for(workflow).steps == steps


REFUSED = {
    "takes no negative prompt": ("distilled", {"negative_prompt": ""}),
    "gives stage one its sigmas": ("sigmas", {"steps": 4}),
    "images or a sound of its own": ("image-to-video", {"images": (ImageFile("a.png"),)}),
    "0 nodes of the workflow are 'Nothing'": ("text-to-video", {"inputs": {"Nothing.a": 1}}),
    "has no input 'nothing'": ("text-to-video", {"inputs": {"LTXDuoStageTwoSampler.nothing": 1}}),
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_the_workflow_cannot_take_is_refused(said, workflow):
    name, changes = REFUSED[said]
    if name == "sigmas":
        inputs(workflow, prompts.STAGE_ONE)["sigmas"] = ["99", 0]
    else:
        workflow = prompts.read_workflow(API / f"{name}.api.json")
    job = replace(JOB, **changes)
    with pytest.raises(JobFault, match=said):
        prompts.filled(workflow, job, [str(image.path) for image in job.images], "film")


def test_workflows_that_no_job_fits_into(tmp_path):
    with pytest.raises(BatchError, match=r"frames of LTXDuoStageOneSampler is no number.*text-to-video"):
        prompts.read_workflow(API / "sound-to-video.api.json")
    with pytest.raises(BatchError, match="0 nodes of the type LTXDuoStageTwoSampler"):
        prompts.read_workflow(API / "preview-first.api.json")
    with pytest.raises(BatchError, match="not in API format"):
        prompts.read_workflow(PACK / "workflows" / "text-to-video.json")
    with pytest.raises(BatchError, match="cannot be read"):
        prompts.read_workflow(tmp_path / "gone.json")
    (tmp_path / "list.json").write_text(json.dumps([1]))
    with pytest.raises(BatchError, match="not in API format"):
        prompts.read_workflow(tmp_path / "list.json")
