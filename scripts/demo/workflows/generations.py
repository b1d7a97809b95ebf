"""The basic workflows with LTX-2.5's and LTX-2.0's files; the others run with these files too."""

from . import texts
from .canvas import Column, Group, Node, Note, Workflow
from .model_files import (
    DEV_2_0,
    DEV_2_5,
    DEV_BF16_2_0,
    DEV_BF16_2_5,
    DIFFUSION_VAE_2_5,
    DISTILLED_2_5,
    DISTILLED_BF16_2_5,
    DURATION_HEAD,
    HUB,
    LIGHTRICKS_2_5,
    OF_2_0,
    OF_2_5,
    TEXT_ENCODER_BF16_2_5,
    ModelFile,
)
from .pieces import (
    FILES,
    GUIDANCE,
    HOW,
    INPUTS,
    NOTES_WIDE,
    PROMPT_WIDE,
    RESULT_COLUMN,
    SAMPLING,
    STAGE_WIDE,
    STEP_WIDE,
    cards,
    condition,
    distilled_steps,
    load_image,
    models,
    prompt,
    stage_one,
    stage_two,
)

OWN_2_5 = OF_2_5.text_encoder, OF_2_5.video_vae, OF_2_5.audio_vae, OF_2_5.upsampler
CARDS_NOTE_2_5 = cards(300, texts.CARDS_2_5)  # below stage two: beside the many files it has no room

IMAGE = (
    "## Image to video with {0}\n\n"
    "Load an image, describe **what moves and what is heard**, press Run.\n\n"
    "- Width and height: multiples of 64. Frames: 8n+1 (97, 121, 241).\n"
    "- Stage one makes picture and sound at half size, stage two refines the picture at the size you asked for.\n"
)
HOW_IMAGE_2_5 = IMAGE.format("LTX-2.5") + (
    "- All other workflows run with these files too: choose them in their loaders."
)
HOW_TEXT_2_5 = (
    "## Text to video with LTX-2.5\n\n"
    "Describe the scene, **what moves and what is heard**, speech in quotes; press Run.\n\n"
    "- The film gets **the length that its prompt asks for**, from *shortest* to *longest* of LTX Prompt Length. For "
    "your own length disconnect *frames*.\n"
    "- What happens one after the other makes a longer film than a single moment."
)
HOW_DISTILLED_2_5 = (
    "## LTX-2.5, distilled: 8 + 3 steps\n\n"
    "The fastest way: one pass a step, **no guidance and no negative prompt**.\n\n"
    "- The model is known by *distilled* in its file name; the steps of the sampler are not used.\n"
    "- Stage one draws new noise at each step (ancestral Euler), as the vendor's pipeline does for LTX-2.5.\n"
    "- The distilled LoRA is not needed. The sound comes from stage two."
)
HOW_IMAGE_2_0 = IMAGE.format("LTX-2.0") + ("- *steps* is 40, the vendor's number for LTX-2.0. The sound has 24 kHz.")


def _table(needed: tuple[ModelFile, ...]) -> str:
    rows = (f"| {_link(file)} | {file.folder} | {file.size} |" for file in needed)
    return "| file | folder in models | size |\n|---|---|---|\n" + "\n".join(rows) + "\n\n"


def _link(file: ModelFile) -> str:
    return f"[{file.name.removesuffix('.safetensors')}]({file.page})"


def files_2_5(needed: tuple[ModelFile, ...], large: ModelFile) -> str:
    return (
        _table(needed) + f"[The repository]({HUB}/{LIGHTRICKS_2_5}) asks you to accept its licence once, signed in.\n\n"
        "The text encoder is chosen **twice**: text encoder, projection.\n\n"
        f"For the publisher's own numbers, or ComfyUI before 0.30: {_link(large)}, {large.size}, and "
        f"{_link(TEXT_ENCODER_BF16_2_5)}, {TEXT_ENCODER_BF16_2_5.size}. For a finer, slower decoding: "
        f"{_link(DIFFUSION_VAE_2_5)}."
    )


FILES_NOTE_2_0 = (
    _table((DEV_2_0, OF_2_0.lora, OF_2_0.upsampler, OF_2_0.text_encoder))
    + "The checkpoint is chosen in **three** loaders: model, VAE, projection.\n\n"
    f"For the publisher's own numbers: {_link(DEV_BF16_2_0)}, {DEV_BF16_2_0.size}."
)


def notes(how: str, files: str, heights: tuple[int, int] = (330, 560), *more: Note) -> Column:
    return Column(NOTES_WIDE, (Note("How to use", how, heights[0]), Note("Files", files, heights[1]), *more))


def image_to_video(name: str, column: Column, loaders: Column, *below: Note, **values) -> Workflow:
    """`below`: notes below stage two."""
    return Workflow(name, (
        column,
        loaders,
        Column(PROMPT_WIDE, (
            Group("Prompt and image", INPUTS, (
                prompt(texts.LAKE, 300), load_image(), condition("condition", "image", 0),
            )),
        )),
        Column(STAGE_WIDE, (
            Group("Stage one: half size", SAMPLING, (
                stage_one(values=values, conditions=("condition", 0), guidance=("guidance", 0)), GUIDANCE,
            )),
        )),
        Column(STEP_WIDE, (Group("Stage two: final size", SAMPLING, stage_two(conditions=("condition", 0))), *below)),
        RESULT_COLUMN,
    ))  # fmt: skip


IMAGE_TO_VIDEO_2_5 = image_to_video(
    "image-to-video-2-5",
    notes(HOW_IMAGE_2_5, files_2_5((DEV_2_5, OF_2_5.lora, *OWN_2_5), DEV_BF16_2_5)),
    models(DEV_2_5, beside=OF_2_5),
    CARDS_NOTE_2_5,
)

IMAGE_TO_VIDEO_2_0 = image_to_video(
    "image-to-video-2-0",
    notes(HOW_IMAGE_2_0, FILES_NOTE_2_0, (HOW, FILES), cards(390, texts.CARDS_2_0)),
    models(DEV_2_0, beside=OF_2_0),
    steps=40,
)

TEXT_TO_VIDEO_2_5 = Workflow("text-to-video-2-5", (
    notes(HOW_TEXT_2_5, files_2_5((DEV_2_5, OF_2_5.lora, *OWN_2_5, DURATION_HEAD), DEV_BF16_2_5)),
    models(DEV_2_5, beside=OF_2_5),
    Column(PROMPT_WIDE, (
        Group("Prompt, and the length that it asks for", INPUTS, (
            prompt(texts.MUSICIAN),
            Node("length", "LTXDuoPromptLength", "inputs", {"duration_head": DURATION_HEAD.name, "longest": 10.0},
                 {"model": ("model", 0), "positive": ("prompt", 0)}, report=True),
        )),
    )),
    Column(STAGE_WIDE, (
        Group("Stage one: half size", SAMPLING, (
            stage_one(frames=("length", 0), fps=("length", 1), guidance=("guidance", 0)), GUIDANCE,
        )),
    )),
    Column(STEP_WIDE, (Group("Stage two: final size", SAMPLING, stage_two()), CARDS_NOTE_2_5)),
    RESULT_COLUMN,
))  # fmt: skip

DISTILLED_MODEL_2_5 = Workflow("distilled-2-5", (
    notes(HOW_DISTILLED_2_5, files_2_5((DISTILLED_2_5, *OWN_2_5), DISTILLED_BF16_2_5)),
    models(DISTILLED_2_5, lora=False, beside=OF_2_5), *distilled_steps(CARDS_NOTE_2_5),
))  # fmt: skip

GENERATIONS = (IMAGE_TO_VIDEO_2_5, TEXT_TO_VIDEO_2_5, DISTILLED_MODEL_2_5, IMAGE_TO_VIDEO_2_0)
