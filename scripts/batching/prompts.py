"""A job as a prompt for ComfyUI, out of a workflow in API format: the one place that knows both."""

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...ltx_core.generation import named_generation
from ...ltx_core.variants import Kind, ModelVariant, kind_of_name, variant_of
from .faults import BatchError, JobFault
from .jobs import MODALITIES, NO_GUIDANCE, SCALES, TILES, WHOLE, Job
from .requests import guidance_of

# Written again here: nodes/names.py lies in a package that only ComfyUI can import.
MODEL_LOADER, TEXT_ENCODE, GUIDANCE = "LTXDuoModelLoader", "LTXDuoTextEncode", "LTXDuoGuidance"
IMAGE_CONDITION, SOUND_CONDITION = "LTXDuoImageCondition", "LTXDuoSoundCondition"
STAGE_ONE, STAGE_TWO, DECODE = "LTXDuoStageOneSampler", "LTXDuoStageTwoSampler", "LTXDuoAVDecode"
SAVE = "SaveVideo"
SIZE = ("width", "height", "frames", "fps", "seed")
NO_CRF = -1  # of LTX Image Condition: what the model learned with
TILING = {WHOLE: "off", TILES: "custom"}
SOUND_OF = {True: "stage one", False: "stage two"}

Prompt = dict[str, dict[str, Any]]


def read_workflow(path: Path) -> Prompt:
    """A workflow that jobs can be put into; BatchError says what it lacks."""
    try:
        prompt = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BatchError(f"The workflow {path} cannot be read: {error}.") from None
    api = isinstance(prompt, dict) and all(
        isinstance(node, dict) and "class_type" in node and isinstance(node.get("inputs"), dict)
        for node in prompt.values()
    )
    if not api:
        raise BatchError(f"{path} is not in API format: give a file as in workflows/api, or as Export (API) saves it.")
    for kind in (TEXT_ENCODE, STAGE_ONE, STAGE_TWO, SAVE):
        if len(_nodes(prompt, kind)) != 1:
            raise BatchError(f"{path} has {len(_nodes(prompt, kind))} nodes of the type {kind}, expected one.")
    linked = [slot for slot in SIZE if not isinstance(_inputs(prompt, STAGE_ONE).get(slot), int | float)]
    if linked:
        raise BatchError(
            f"{path}: {', '.join(linked)} of {STAGE_ONE} is no number. Take a workflow such as "
            "text-to-video.api.json; jobs bring their sound and images with them."
        )
    return prompt


def defaults_of(workflow: Prompt) -> dict[str, Any]:
    """Size, length, frame rate and seed where a job says nothing: as the workflow has them."""
    inputs = _inputs(workflow, STAGE_ONE)
    return {slot: inputs[slot] for slot in SIZE}


def variant_for(workflow: Prompt) -> ModelVariant:
    """The recipe of the workflow's model, as far as its loader says which it is."""
    loaders = _nodes(workflow, MODEL_LOADER)
    inputs = workflow[loaders[0]]["inputs"] if loaders else {}
    kind, file = inputs.get("kind"), inputs.get("checkpoint")
    file = file if isinstance(file, str) else ""
    chosen = Kind(kind) if kind in {kind.value for kind in Kind} else kind_of_name(file)
    return variant_of(chosen, named_generation(file))


def filled(workflow: Prompt, job: Job, files: Sequence[str], prefix: str) -> Prompt:
    """The workflow with a filled job in it; JobFault for what the workflow cannot take.

    files: the job's images and, last, its sound, as they are called in the server's input folder.  prefix: of the film.
    """
    prompt = copy.deepcopy(workflow)
    one, two = _inputs(prompt, STAGE_ONE), _inputs(prompt, STAGE_TWO)
    text = _inputs(prompt, TEXT_ENCODE)
    text["prompt"] = job.prompt
    if job.negative_prompt is not None:
        if "negative" not in one:
            raise JobFault("negative_prompt does nothing: the workflow's stage one takes no negative prompt")
        text["negative_prompt"] = job.negative_prompt
    one |= {slot: getattr(job, slot) for slot in SIZE}
    if job.steps is not None:
        if "sigmas" in one:
            raise JobFault("steps does nothing: the workflow gives stage one its sigmas")
        one["steps"] = job.steps
    if job.stage_one_sound is not None:
        two["audio"] = SOUND_OF[job.stage_one_sound]
    if job.tiling is not None:
        if not _nodes(prompt, DECODE):
            raise JobFault(f"tiling does nothing: the workflow has no {DECODE}")
        _inputs(prompt, DECODE)["tiling"] = TILING[job.tiling]
    if job.guidance is not None:
        one["guidance"] = [_add(prompt, GUIDANCE, _guidance(job, variant_for(workflow))), 0]
    if files:
        if "conditions" in one or "conditions" in two:
            raise JobFault("the workflow has images or a sound of its own: take one without, or leave the job's out")
        one["conditions"] = two["conditions"] = _conditions(prompt, job, files)
    _inputs(prompt, SAVE)["filename_prefix"] = prefix
    _set(prompt, job.inputs)
    return prompt


def _guidance(job: Job, variant: ModelVariant) -> dict[str, Any]:
    """All inputs of LTX Guidance."""
    wanted = guidance_of(job, variant)
    blocks = "auto" if wanted.stg_blocks is None else ", ".join(map(str, wanted.stg_blocks))
    scales = {
        f"{modality}_{scale}": getattr(getattr(wanted, modality), scale) for modality in MODALITIES for scale in SCALES
    }
    preset = NO_GUIDANCE if job.guidance == NO_GUIDANCE else "custom"
    reused = {"skip_step": wanted.skip_step, "reuse_guidance": wanted.reuse}
    return {"preset": preset, **scales, "stg_blocks": blocks, **reused}


def _conditions(prompt: Prompt, job: Job, files: Sequence[str]) -> list:
    """The link to the chain of a job's images and sound."""
    chain: dict[str, Any] = {}
    for image, file in zip(job.images, files, strict=False):
        loaded = _add(prompt, "LoadImage", {"image": file})
        crf = NO_CRF if image.crf is None else image.crf
        inputs = {"image": [loaded, 0], "frame": image.frame, "strength": image.strength, "crf": crf}
        chain = {"conditions": [_add(prompt, IMAGE_CONDITION, inputs | chain), 0]}
    if job.sound is not None:
        loaded = _add(prompt, "LoadAudio", {"audio": files[-1]})
        inputs = {"audio": [loaded, 0], "start": job.sound.start, "fps": job.fps}
        chain = {"conditions": [_add(prompt, SOUND_CONDITION, inputs | chain), 0]}
    return chain["conditions"]


def _set(prompt: Prompt, values: Mapping[str, Any]) -> None:
    """NODE.INPUT -> value, NODE being a node's type or its number."""
    for name, value in values.items():
        node, _, slot = name.partition(".")
        found = [key for key, entry in prompt.items() if node in (key, entry["class_type"])]
        if len(found) != 1:
            raise JobFault(
                f"set has {name!r}, but {len(found)} nodes of the workflow are {node!r}: use a number of one"
            )
        if slot not in prompt[found[0]]["inputs"]:
            raise JobFault(f"set has {name!r}, but the workflow's {node} has no input {slot!r}")
        prompt[found[0]]["inputs"][slot] = value


def _nodes(prompt: Prompt, kind: str) -> list[str]:
    return [key for key, node in prompt.items() if node["class_type"] == kind]


def _inputs(prompt: Prompt, kind: str) -> dict[str, Any]:
    (key,) = _nodes(prompt, kind)
    return prompt[key]["inputs"]


def _add(prompt: Prompt, kind: str, inputs: dict[str, Any]) -> str:
    key = f"batch-{len(prompt)}"
    prompt[key] = {"class_type": kind, "inputs": inputs}
    return key
