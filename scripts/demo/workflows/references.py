"""The workflows in which a LoRA reads something beside the film: an IC-LoRA a film, an ID-LoRA a voice."""

from . import texts
from .canvas import Column, Group, Node, Note, Workflow
from .model_files import CONTROL, DISTILLED, INPAINT, NIGHT, VOICE, ModelFile
from .pieces import (
    GIVEN_WIDE,
    GUIDANCE,
    INPUTS,
    PARTS,
    PROMPT_WIDE,
    RESULT,
    RESULT_COLUMN,
    RESULT_WIDE,
    SAMPLING,
    SHORT_PROMPT,
    STAGE_WIDE,
    STEP_WIDE,
    WIDE,
    cards,
    condition,
    decode,
    files,
    from_film,
    how,
    load_audio,
    load_image,
    load_video,
    models,
    notes,
    painting,
    prompt,
    save,
    stage_one,
    stage_two,
)

GREEN = 0x66FF00
NARROW, NOTE_NARROW = 245, 275  # of columns of small nodes, and of one with a note below


def reading(lora: ModelFile, upsampler: bool = True, below: tuple[Note, ...] = ()) -> Column:
    """The distilled model with an IC-LoRA in stage one alone, as Lightricks' pipeline has it, and notes below."""
    (group,) = models(DISTILLED, lora=False, upsampler=upsampler).parts
    model, *rest = group.nodes
    strengths = {"lora": lora.name, "strength_stage_one": 1.0, "strength_stage_two": 0.0}
    reads = Node("lora", "LTXDuoLoraLoader", "models", strengths, {"model": ("model", 0)}, report=True)
    return Column(WIDE, (Group(group.title, group.colour, (model, reads, *rest)), *below))


def green_over(source: str) -> tuple[Node, ...]:
    """The frames of `source` with what is masked in the green that the IC-LoRA for it knows, as a film."""
    over = {"destination": (source, 0), "source": ("green", 0), "mask": ("masked", 0)}
    return (
        # The margin's mask, and the painted one on top of it.
        Node("masked", "MaskComposite", "core", {"operation": "add"},
             {"destination": (source, 1), "source": ("mask", 1)}),
        Node("green", "EmptyImage", "core", {"width": 64, "height": 64, "color": GREEN}),
        Node("painted", "ImageCompositeMasked", "core", {"resize_source": True}, over),
        Node("read", "CreateVideo", "core", {}, {"images": ("painted", 0), "fps": ("parts", 2)}),
    )  # fmt: skip


# More columns than other workflows have: notes lie below groups, else the canvas were too small to be read.
REFERENCE_CONTROL = Workflow("reference-control", (
    reading(CONTROL),
    Column(PROMPT_WIDE, (
        Group("Prompt and film", INPUTS, (prompt(texts.CONTROLLED, SHORT_PROMPT, negative_prompt=""), load_video())),
        files(texts.CONTROL_FILES),
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
        cards(),
    )),
    Column(STEP_WIDE, (
        Group("Stage two: final size, 3 steps", SAMPLING, stage_two(audio="stage two", conditions=("given", 0))),
        how("reference-control"),
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

REFERENCE_INPAINT = Workflow("reference-inpaint", (
    reading(INPAINT, upsampler=False, below=(how("reference-inpaint", 345),)),
    Column(PROMPT_WIDE, (
        Group("Prompt and film", INPUTS, (prompt(texts.PAINTED, SHORT_PROMPT, negative_prompt=""), load_video())),
        files(texts.INPAINT_FILES),
    )),
    Column(NARROW, (
        painting(
            "margin",
            PARTS,
            Node("margin", "ImagePadForOutpaint", "core", {"feathering": 0}, {"image": ("parts", 0)}),
        ),
    )),
    Column(NARROW, (
        Group("In green, for the IC-LoRA", INPUTS, green_over("margin")),
    )),
    Column(NOTE_NARROW, (
        Group("What stays, and what is read", INPUTS, (
            Node("whole", "CreateVideo", "core", {},
                 {"images": ("margin", 0), "audio": ("parts", 1), "fps": ("parts", 2)}),
            Node("given", "LTXDuoRegion", "inputs", {}, {"video": ("whole", 0), "mask": ("masked", 0)}, report=True),
            Node("reference", "LTXDuoReferenceVideo", "inputs", {}, {"video": ("read", 0), "conditions": ("given", 0)}),
        )),
        cards(400),
    )),
    Column(STAGE_WIDE, (
        Group("One stage at the asked size", SAMPLING, (
            stage_one(negative=None, values={"size": "full"}, **{**from_film(), "conditions": ("reference", 0)}),
        )),
    )),
    Column(PROMPT_WIDE, (Group("Result", RESULT, (decode("stage one"), save())),)),
))  # fmt: skip

REFERENCE_VOICE = Workflow("reference-voice", (
    models(),
    Column(PROMPT_WIDE, (
        Group("Prompt and image", INPUTS, (
            prompt(texts.SPOKEN, 190), load_image(height=340), condition("condition", "image", 0),
        )),
        files(texts.VOICE_FILES),
    )),
    Column(GIVEN_WIDE, (
        Group("A voice and its LoRA", INPUTS, (
            load_audio(),
            Node("voice", "LTXDuoReferenceVoice", "inputs", {},
                 {"audio": ("audio", 0), "conditions": ("condition", 0)}, report=True),
            Node("voice lora", "LTXDuoLoraLoader", "models",
                 {"lora": VOICE.name, "strength_stage_one": 1.0, "strength_stage_two": 0.0},
                 {"model": ("lora", 0)}, report=True),
        )),
        cards(),
    )),
    Column(STAGE_WIDE, (
        Group("Stage one: half size", SAMPLING, (
            stage_one("voice lora", conditions=("voice", 0), guidance=("guidance", 0)), GUIDANCE,
        )),
    )),
    Column(STEP_WIDE, (
        Group("Stage two: final size", SAMPLING, stage_two("voice lora", conditions=("condition", 0))),
        how("reference-voice", 355),
    )),
    RESULT_COLUMN,
))  # fmt: skip
