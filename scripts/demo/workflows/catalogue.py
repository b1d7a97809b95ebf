"""What the shipped workflows hold."""

from . import texts
from .canvas import Column, Group, Node, Workflow
from .generations import GENERATIONS
from .model_files import DEV, DISTILLED, GEMMA, LORA, UPSAMPLER
from .pieces import (
    CORE,
    GIVEN_WIDE,
    GUIDANCE,
    INPUTS,
    PARTS,
    PREVIEW,
    PROMPT_WIDE,
    RESULT,
    RESULT_COLUMN,
    RESULT_WIDE,
    SAMPLING,
    STAGE_WIDE,
    STEP_WIDE,
    WIDE,
    cards,
    condition,
    decode,
    distilled_steps,
    files,
    from_film,
    given_film,
    guidance,
    how,
    load_audio,
    load_image,
    models,
    notes,
    painting,
    prompt,
    save,
    stage_one,
    stage_two,
)
from .references import REFERENCE_CONTROL, REFERENCE_EDIT, REFERENCE_INPAINT, REFERENCE_VOICE
from .sounds import TEXT_TO_SOUND

IMAGE_TO_VIDEO = Workflow("image-to-video", (
    notes("image-to-video"),
    models(),
    Column(PROMPT_WIDE, (
        Group("Prompt and image", INPUTS, (
            prompt(texts.LAKE, 300), load_image(), condition("condition", "image", 0),
        )),
    )),
    Column(STAGE_WIDE, (
        Group("Stage one: half size", SAMPLING, (
            stage_one(conditions=("condition", 0), guidance=("guidance", 0)), GUIDANCE,
        )),
    )),
    Column(STEP_WIDE, (
        Group("Stage two: final size", SAMPLING, stage_two(conditions=("condition", 0))),
    )),
    RESULT_COLUMN,
))  # fmt: skip

TEXT_TO_VIDEO = Workflow("text-to-video", (
    notes("text-to-video"),
    models(),
    Column(PROMPT_WIDE, (Group("Prompt", INPUTS, (prompt(texts.MUSICIAN),)),)),
    Column(STAGE_WIDE, (Group("Stage one: half size", SAMPLING, (stage_one(guidance=("guidance", 0)), GUIDANCE)),)),
    Column(STEP_WIDE, (Group("Stage two: final size", SAMPLING, stage_two()),)),
    RESULT_COLUMN,
))  # fmt: skip

SOUND_TO_VIDEO = Workflow("sound-to-video", (
    models(),
    Column(PROMPT_WIDE, (
        Group("Prompt and guidance", INPUTS, (prompt(texts.SPEECH, 300), GUIDANCE)),
        files(),
    )),
    Column(GIVEN_WIDE, (
        # One chain of conditions, for both samplers.
        Group("A sound and an image", INPUTS, (
            load_image(),
            condition("condition", "image", 0),
            load_audio(),
            Node("sound", "LTXDuoSoundCondition", "inputs", {},
                 {"audio": ("audio", 0), "conditions": ("condition", 0)}),
        )),
    )),
    Column(STAGE_WIDE, (
        Group("Stage one: half size", SAMPLING, (
            stage_one(conditions=("sound", 0), guidance=("guidance", 0), frames=("sound", 1)),
        )),
        cards(),
    )),
    Column(STEP_WIDE, (
        Group("Stage two: final size", SAMPLING, stage_two(conditions=("sound", 0))),
        how("sound-to-video"),
    )),
    RESULT_COLUMN,
))  # fmt: skip

FIRST_AND_LAST_FRAME = Workflow("first-and-last-frame", (
    models(),
    Column(STAGE_WIDE, (
        Group("Prompt", INPUTS, (prompt(texts.TRANSITION, 300),)),
        Group("First frame", INPUTS, (
            load_image("first image"), condition("first condition", "first image", 0),
        )),
    )),
    Column(GIVEN_WIDE, (
        Group("Last frame, after the first", INPUTS, (
            load_image("last image"), condition("last condition", "last image", -1, after="first condition"),
        )),
        cards(),
    )),
    Column(PROMPT_WIDE, (  # the table of files asks for it
        Group("Stage one: half size", SAMPLING, (stage_one(conditions=("last condition", 0)),)),
        files(),
    )),
    Column(STEP_WIDE, (
        Group("Stage two: final size", SAMPLING, stage_two(conditions=("last condition", 0))),
        how("first-and-last-frame"),
    )),
    RESULT_COLUMN,
))  # fmt: skip

DISTILLED_MODEL = Workflow("distilled", (
    notes("distilled", texts.DISTILLED_FILES), models(DISTILLED, lora=False), *distilled_steps(),
))  # fmt: skip

HIGH_QUALITY = Workflow("high-quality", (
    notes("high-quality"),
    models(strengths=(0.25, 0.5)),
    Column(PROMPT_WIDE, (Group("Prompt", INPUTS, (prompt(texts.MUSICIAN),)),)),
    Column(STAGE_WIDE, (
        Group("Stage one: half size, res_2s", SAMPLING, (
            stage_one(values={"steps": 15, "sampler": "res_2s", "schedule": "by size"}, guidance=("guidance", 0)),
            guidance("high quality"),
        )),
    )),
    Column(STEP_WIDE, (Group("Stage two: final size, res_2s", SAMPLING, stage_two(sampler="res_2s")),)),
    RESULT_COLUMN,
))  # fmt: skip

KEYFRAMES = Workflow("keyframes", (
    models(),
    Column(STAGE_WIDE, (
        Group("Prompt", INPUTS, (prompt(texts.TRANSITION, 300),)),
        Group("First keyframe", INPUTS, (
            load_image("first image"), condition("first condition", "first image", 0, first_frame="keyframe"),
        )),
    )),
    Column(GIVEN_WIDE, (
        Group("Next keyframe", INPUTS, (
            load_image("last image"), condition("last condition", "last image", -1, after="first condition"),
        )),
        cards(),
    )),
    Column(PROMPT_WIDE, (  # the table of files asks for it
        Group("Stage one: half size", SAMPLING, (stage_one(conditions=("last condition", 0)),)),
        files(),
    )),
    Column(STEP_WIDE, (
        Group("Stage two: final size", SAMPLING, stage_two(audio="stage two", conditions=("last condition", 0))),
        how("keyframes", 345),
    )),
    RESULT_COLUMN,
))  # fmt: skip

ONE_STAGE = Workflow("one-stage", (
    notes("one-stage", texts.PREVIEW_FILES),
    models(lora=False, upsampler=False),
    Column(PROMPT_WIDE, (Group("Prompt", INPUTS, (prompt(texts.MUSICIAN),)),)),
    Column(STAGE_WIDE, (
        Group("One stage at the asked size", SAMPLING, (
            stage_one("model", values={"width": 960, "height": 640, "size": "full"}, guidance=("guidance", 0)),
            GUIDANCE,
        )),
    )),
    Column(RESULT_WIDE, (Group("Result", RESULT, (decode("stage one"), save())),)),
))  # fmt: skip

DISTILLED_LORA = Workflow("distilled-lora", (
    notes("distilled-lora"),
    models(strengths=(0.5, 0.5)),
    Column(PROMPT_WIDE, (Group("Prompt", INPUTS, (prompt(texts.KITCHEN, negative_prompt=""),)),)),
    Column(STAGE_WIDE, (
        Group("Stage one: half size, 8 steps", SAMPLING, (
            stage_one(negative=None, values={"schedule": "distilled"}, guidance=("guidance", 0)), guidance("none"),
        )),
    )),
    Column(STEP_WIDE, (Group("Stage two: final size, 3 steps", SAMPLING, stage_two(audio="stage two")),)),
    RESULT_COLUMN,
))  # fmt: skip

PREVIEW_FIRST = Workflow("preview-first", (
    notes("preview-first", texts.PREVIEW_FILES),
    models(lora=False, upsampler=False),
    Column(PROMPT_WIDE, (Group("Prompt", INPUTS, (prompt(texts.MUSICIAN),)),)),
    Column(STAGE_WIDE, (
        Group("Stage one: half size", SAMPLING, (stage_one("model", guidance=("guidance", 0)), GUIDANCE)),
    )),
    Column(STEP_WIDE, (
        Group("Keep it", RESULT, (
            Node("keep", "LTXDuoSaveLatent", "result", {"filename_prefix": PREVIEW}, {"latent": ("stage one", 0)},
                 report=True),
            decode("stage one"),
        )),
    )),
    Column(RESULT_WIDE, (Group("Preview", RESULT, (save("video/ltx-duo-preview"),)),)),
))  # fmt: skip

CONTINUE_FROM_PREVIEW = Workflow("continue-from-preview", (
    notes("continue-from-preview"),
    models(),
    Column(PROMPT_WIDE, (
        Group("The same prompt", INPUTS, (prompt(texts.MUSICIAN, negative_prompt=""),)),
        Group("The preview that you liked", INPUTS, (
            Node("preview", "LTXDuoLoadLatent", "inputs", {"file": f"{PREVIEW}_00001_.latent [output]"},
                 report=True),
        )),
    )),
    Column(STEP_WIDE, (Group("Stage two: final size", SAMPLING, stage_two(source="preview")),)),
    RESULT_COLUMN,
))  # fmt: skip

MIXED_WITH_NATIVE = Workflow("mixed-with-native", (
    models(),
    Column(PROMPT_WIDE, (
        Group("Prompt", INPUTS, (prompt(texts.MUSICIAN, 330),)),
        files(),
        cards(),
    )),
    Column(STAGE_WIDE, (
        Group("Stage one, with core's schedule", SAMPLING, (
            stage_one(sigmas=("schedule", 0)),
            Node("schedule", "LTXVScheduler", "core", {"steps": 30}),
            Node("stage two sigmas", "ManualSigmas", "core", {"sigmas": "0.909375, 0.725, 0.421875, 0.0"}),
        )),
    )),
    Column(STEP_WIDE, (
        Group("Stage two", SAMPLING, stage_two(sigmas=("stage two sigmas", 0))),
        how("mixed-with-native"),
    )),
    Column(GIVEN_WIDE, (
        Group("Core decodes the sound", CORE, (
            Node("apart", "LTXVSeparateAVLatent", "core", {}, {"av_latent": ("stage two", 0)},
                 title="Separate AV Latent"),
            Node("audio vae", "LTXVAudioVAELoader", "core", {"ckpt_name": DEV.name}),
            Node("sound", "LTXVAudioVAEDecode", "core", {}, {"samples": ("apart", 1), "audio_vae": ("audio vae", 0)}),
            Node("video", "CreateVideo", "core", {"fps": 24.0}, {"images": ("decode", 1), "audio": ("sound", 0)}),
        )),
    )),
    Column(RESULT_WIDE, (Group("Result", RESULT, (decode("apart"), save(source="video"))),)),
))  # fmt: skip


CORE_LINKS = {"vae": ("checkpoint", 2), "positive": ("timed", 0)}


def core_text(name: str, words: str, height: int) -> Node:
    return Node(name, "CLIPTextEncode", "core", {"text": words}, {"clip": ("text encoder", 0)}, height)


FROM_CORE_LOADERS = Workflow("from-core-loaders", (
    Column(WIDE, (
        Group("ComfyUI's own loaders", CORE, (
            Node("checkpoint", "CheckpointLoaderSimple", "core", {"ckpt_name": DEV.name}),
            Node("lora", "LoraLoaderModelOnly", "core", {"lora_name": LORA.name}, {"model": ("checkpoint", 0)}),
            Node("text encoder", "LTXAVTextEncoderLoader", "core", {"text_encoder": GEMMA.name, "ckpt_name": DEV.name}),
            Node("audio vae", "LTXVAudioVAELoader", "core", {"ckpt_name": DEV.name}),
            Node("upsampler", "LatentUpscaleModelLoader", "core", {"model_name": UPSAMPLER.name}),
        )),
    )),
    Column(PROMPT_WIDE, (
        Group("Prompts, at the film's frame rate", CORE, (
            core_text("prompt", texts.LAKE, 215),
            core_text("negative prompt", texts.NEGATIVE, 155),
            Node("timed", "LTXVConditioning", "core", {"frame_rate": 24.0},
                 {"positive": ("prompt", 0), "negative": ("negative prompt", 0)}),
        )),
        files(loaders="checkpoint, text encoder, audio VAE"),
    )),
    Column(GIVEN_WIDE, (
        Group("Image", INPUTS, (load_image(), condition("condition", "image", 0))),
        cards(),
    )),
    Column(STAGE_WIDE, (
        Group("Stage one: half size", SAMPLING, (
            stage_one("checkpoint", **CORE_LINKS, negative=("timed", 1), conditions=("condition", 0),
                      guidance=("guidance", 0)),
            GUIDANCE,
        )),
    )),
    Column(STEP_WIDE, (
        Group("Stage two, with the LoRA", SAMPLING, stage_two(**CORE_LINKS, conditions=("condition", 0))),
        how("from-core-loaders"),
    )),
    Column(RESULT_WIDE, (
        Group("Result", RESULT, (decode(vae=("checkpoint", 2), audio_vae=("audio vae", 0)), save())),
    )),
))  # fmt: skip

FILM_SOUND = Workflow("film-sound", (
    notes("film-sound", texts.PREVIEW_FILES),
    models(lora=False, upsampler=False),
    given_film("LTXDuoFilmSound", "Prompt and film", words=texts.FOOTSTEPS),
    Column(STAGE_WIDE, (Group("Stage one is enough", SAMPLING, (stage_one("model", **from_film()),)),)),
    Column(RESULT_WIDE, (Group("Result", RESULT, (decode("stage one"), save())),)),
))  # fmt: skip


def of_film(name: str, kind: str, words: str) -> Workflow:
    """A film, of which the node `kind` says what is made anew, in both stages."""
    return Workflow(name, (
        notes(name),
        models(),
        given_film(kind, "Prompt and film", words=words),
        Column(STAGE_WIDE, (Group("Stage one: half size", SAMPLING, (stage_one(**from_film()),)),)),
        Column(STEP_WIDE, (Group("Stage two: final size", SAMPLING, stage_two(conditions=("given", 0))),)),
        RESULT_COLUMN,
    ))  # fmt: skip


RETAKE = of_film("retake", "LTXDuoRetake", texts.RETAKEN)
EXTEND = of_film("extend", "LTXDuoExtend", texts.GOING_ON)

REGION = Workflow("region", (
    models(),
    given_film("LTXDuoRegion", "Prompt and film", PARTS, words=texts.PAINTED, mask=("mask", 1)),
    Column(GIVEN_WIDE, (painting("parts"), cards())),
    Column(PROMPT_WIDE, (  # the table of files asks for it
        Group("Stage one: half size", SAMPLING, (stage_one(**from_film()),)),
        files(),
    )),
    Column(STEP_WIDE, (
        Group("Stage two: final size", SAMPLING, stage_two(conditions=("given", 0))),
        how("region", 345),
    )),
    RESULT_COLUMN,
))  # fmt: skip

WORKFLOWS = (
    IMAGE_TO_VIDEO, TEXT_TO_VIDEO, SOUND_TO_VIDEO, TEXT_TO_SOUND, FIRST_AND_LAST_FRAME, FILM_SOUND, RETAKE, EXTEND,
    REGION, REFERENCE_CONTROL, REFERENCE_EDIT, REFERENCE_INPAINT, REFERENCE_VOICE, DISTILLED_MODEL, DISTILLED_LORA,
    HIGH_QUALITY, KEYFRAMES, ONE_STAGE, PREVIEW_FIRST, CONTINUE_FROM_PREVIEW, MIXED_WITH_NATIVE, FROM_CORE_LOADERS,
    *GENERATIONS,
)  # fmt: skip
