"""The workflows in which an IC-LoRA reads a film."""

from . import texts
from .canvas import Column, Group, Node, Workflow
from .model_files import CONTROL, DISTILLED, NIGHT, ModelFile
from .pieces import (
    GIVEN_WIDE,
    INPUTS,
    PROMPT_WIDE,
    RESULT,
    RESULT_COLUMN,
    RESULT_WIDE,
    SAMPLING,
    SHORT_PROMPT,
    STAGE_WIDE,
    STEP_WIDE,
    WIDE,
    decode,
    from_film,
    load_video,
    models,
    notes,
    prompt,
    save,
    stage_one,
    stage_two,
)


def reading(lora: ModelFile, upsampler: bool = True) -> Column:
    """The distilled model with an IC-LoRA in stage one alone, as Lightricks' pipeline has it."""
    (group,) = models(DISTILLED, lora=False, upsampler=upsampler).parts
    model, *rest = group.nodes
    strengths = {"lora": lora.name, "strength_stage_one": 1.0, "strength_stage_two": 0.0}
    reads = Node("lora", "LTXDuoLoraLoader", "models", strengths, {"model": ("model", 0)}, report=True)
    return Column(WIDE, (Group(group.title, group.colour, (model, reads, *rest)),))


PARTS = Node("parts", "GetVideoComponents", "core", {}, {"video": ("film", 0)})

REFERENCE_CONTROL = Workflow("reference-control", (
    notes("reference-control", texts.CONTROL_FILES),
    reading(CONTROL),
    Column(PROMPT_WIDE, (
        Group("Prompt and film", INPUTS, (prompt(texts.CONTROLLED, SHORT_PROMPT, negative_prompt=""), load_video())),
    )),
    Column(GIVEN_WIDE, (
        Group("What leads: the film's edges", INPUTS, (
            PARTS,
            Node("edges", "Canny", "core", {}, {"image": ("parts", 0)}),
            Node("control", "CreateVideo", "core", {}, {"images": ("edges", 0), "fps": ("parts", 2)}),
            Node("given", "LTXDuoReferenceVideo", "inputs", {}, {"video": ("control", 0)}),
        )),
    )),
    Column(STAGE_WIDE, (
        Group("Stage one: half size, 8 steps", SAMPLING, (stage_one(negative=None, **from_film()),)),
    )),
    Column(STEP_WIDE, (
        Group("Stage two: final size, 3 steps", SAMPLING, stage_two(audio="stage two", conditions=("given", 0))),
    )),
    RESULT_COLUMN,
))  # fmt: skip

REFERENCE_EDIT = Workflow("reference-edit", (
    notes("reference-edit", texts.EDIT_FILES),
    reading(NIGHT, upsampler=False),
    Column(PROMPT_WIDE, (
        Group("Prompt and film", INPUTS, (prompt(texts.NIGHT_FALLS, SHORT_PROMPT, negative_prompt=""), load_video())),
    )),
    Column(GIVEN_WIDE, (
        Group("The film, and its sound", INPUTS, (
            PARTS,
            Node("sound", "LTXDuoSoundCondition", "inputs", {}, {"audio": ("parts", 1), "fps": ("parts", 2)}),
            Node("given", "LTXDuoReferenceVideo", "inputs", {}, {"video": ("film", 0), "conditions": ("sound", 0)}),
        )),
    )),
    Column(STAGE_WIDE, (
        Group("One stage at the asked size", SAMPLING, (
            stage_one(negative=None, values={"size": "full"}, **from_film()),
        )),
    )),
    Column(RESULT_WIDE, (Group("Result", RESULT, (decode("stage one"), save())),)),
))  # fmt: skip
