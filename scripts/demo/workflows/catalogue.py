"""What the shipped workflows hold."""

from . import texts
from .canvas import Group, Node, Note, Workflow
from .model_files import DEV, DISTILLED, GEMMA, GEMMA_FP4, LORA, UPSAMPLER, ModelFile

MODELS, INPUTS, SAMPLING, RESULT, CORE = "#3f789e", "#8AA", "#a1309b", "#88A", "#566"
PREVIEW = "latents/preview"

# Left edges of the columns, and their widths.
FIRST, SECOND, THIRD, FOURTH, FIFTH = 0, 380, 780, 1150, 1510
WIDE, PROMPT_WIDE, STAGE_WIDE, STEP_WIDE, RESULT_WIDE = 330, 350, 320, 310, 340
REPORT = 50  # what a node needs to show what it does and did


def models(checkpoint: str = DEV.name, lora: bool = True) -> Group:
    nodes = [Node("model", "LTXDuoModelLoader", "models", {"checkpoint": checkpoint}, spare=REPORT)]
    if lora:
        nodes.append(Node("lora", "LTXDuoLoraLoader", "models", {"lora": LORA.name}, {"model": ("model", 0)}))
    nodes.append(Node("vae", "LTXDuoVAELoader", "models", {"checkpoint": checkpoint}))
    encoder = {"text_encoder": GEMMA, "projection": checkpoint}
    nodes.append(Node("text encoder", "LTXDuoTextEncoderLoader", "models", encoder))
    return Group("Models", MODELS, FIRST, WIDE, tuple(nodes))


def prompt(text: str, height: int, **values) -> Node:
    links = {"text_encoder": ("text encoder", 0)}
    return Node("prompt", "LTXDuoTextEncode", "inputs", {"prompt": text, **values}, links, height)


def load_image(name: str = "image", height: int = 240) -> Node:
    return Node(name, "LoadImage", "inputs", {"image": "example.png"}, height=height)


def condition(name: str, image: str, frame: int, after: str | None = None) -> Node:
    links = {"image": (image, 0), **({"conditions": (after, 0)} if after else {})}
    return Node(name, "LTXDuoImageCondition", "inputs", {"frame": frame}, links)


def load_audio(height: int = 200) -> Node:
    return Node("audio", "LoadAudio", "inputs", {"audio": "speech.wav"}, height=height)


GUIDANCE = Node("guidance", "LTXDuoGuidance", "sampling", {"preset": "from the model"})

UPSAMPLER_LOADER = Node("upsampler", "LTXDuoUpsamplerLoader", "models", {"upsampler": UPSAMPLER.name})


def stage_one(model: str = "lora", negative: tuple[str, int] | None = ("prompt", 1), **links) -> Node:
    inputs = {"model": (model, 0), "vae": ("vae", 0), "positive": ("prompt", 0), **links}
    if negative:
        inputs["negative"] = negative
    return Node("stage one", "LTXDuoStageOneSampler", "sampling", {}, inputs, spare=REPORT, control="randomize")


def stage_two(model: str = "lora", source: str = "stage one", audio: str = "stage one", **links) -> tuple[Node, Node]:
    inputs = {"model": (model, 0), "vae": ("vae", 0), "positive": ("prompt", 0), "latent": ("upsample", 0), **links}
    enlarge = {"latent": (source, 0), "upsampler": ("upsampler", 0), "vae": inputs["vae"]}
    return (
        Node("upsample", "LTXDuoLatentUpsampler", "sampling", {}, enlarge, spare=REPORT),
        Node("stage two", "LTXDuoStageTwoSampler", "sampling", {"audio": audio}, inputs, spare=REPORT),
    )


def decode(source: str = "stage two", **links) -> Node:
    inputs = {"latent": (source, 0), "vae": ("vae", 0), **links}
    return Node("decode", "LTXDuoAVDecode", "result", {}, inputs, spare=REPORT)


def save(prefix: str = "video/ltx-duo", source: str = "decode", height: int = 480) -> Node:
    return Node("save", "SaveVideo", "result", {"filename_prefix": prefix}, {"video": (source, 0)}, height)


def notes(name: str, files: tuple[ModelFile, ...] = texts.TWO_STAGE_FILES) -> tuple[Note, Note]:
    return (
        Note("How to use", texts.HOW[name], (THIRD, 890), (680, 200)),
        Note("Files", texts.files(files), (FIRST, 890), (730, 200)),
    )


IMAGE_TO_VIDEO = Workflow(
    "image-to-video",
    (
        models(),
        Group("Prompt and image", INPUTS, SECOND, PROMPT_WIDE, (
            prompt(texts.LAKE, 255), load_image(height=295), condition("condition", "image", 0),
        )),
        Group("Stage one: half size", SAMPLING, THIRD, STAGE_WIDE, (
            stage_one(conditions=("condition", 0), guidance=("guidance", 0)), GUIDANCE,
        )),
        Group("Stage two: final size", SAMPLING, FOURTH, STEP_WIDE, (
            UPSAMPLER_LOADER, *stage_two(conditions=("condition", 0)),
        )),
        Group("Result", RESULT, FIFTH, RESULT_WIDE, (decode(), save())),
    ),
    notes("image-to-video"),
)  # fmt: skip

TEXT_TO_VIDEO = Workflow(
    "text-to-video",
    (
        models(),
        Group("Prompt", INPUTS, SECOND, PROMPT_WIDE, (prompt(texts.MUSICIAN, 420),)),
        Group("Stage one: half size", SAMPLING, THIRD, STAGE_WIDE, (stage_one(guidance=("guidance", 0)), GUIDANCE)),
        Group("Stage two: final size", SAMPLING, FOURTH, STEP_WIDE, (UPSAMPLER_LOADER, *stage_two())),
        Group("Result", RESULT, FIFTH, RESULT_WIDE, (decode(), save())),
    ),
    notes("text-to-video"),
)

SOUND_TO_VIDEO = Workflow(
    "sound-to-video",
    (
        models(),
        # Below the sampler, where guidance lies elsewhere, is the row of conditions.
        Group("Prompt and guidance", INPUTS, SECOND, PROMPT_WIDE, (prompt(texts.SPEECH, 300), GUIDANCE)),
        Group("Stage one: half size", SAMPLING, THIRD, STAGE_WIDE, (
            stage_one(conditions=("sound", 0), guidance=("guidance", 0), frames=("sound", 1)),
        )),
        Group("Stage two: final size", SAMPLING, FOURTH, STEP_WIDE, (
            UPSAMPLER_LOADER, *stage_two(conditions=("sound", 0)),
        )),
        Group("Result", RESULT, FIFTH, RESULT_WIDE, (decode(), save(height=280))),
        Group("A sound and an image: one chain of conditions, for both samplers", INPUTS, FIRST, 250, (
            load_image(height=200),
            condition("condition", "image", 0),
            load_audio(),
            Node("sound", "LTXDuoSoundCondition", "inputs", {},
                 {"audio": ("audio", 0), "conditions": ("condition", 0)}),
        ), y=874, row=True),
    ),
    (
        Note("How to use", texts.HOW["sound-to-video"], (THIRD, 510), (STAGE_WIDE, 260)),
        Note("Files", texts.files(texts.TWO_STAGE_FILES), (FOURTH, 880), (700, 210)),
    ),
)  # fmt: skip

FIRST_AND_LAST_FRAME = Workflow(
    "first-and-last-frame",
    (
        models(),
        Group("Prompt", INPUTS, SECOND, PROMPT_WIDE, (prompt(texts.TRANSITION, 420),)),
        Group("Stage one: half size", SAMPLING, THIRD, STAGE_WIDE, (stage_one(conditions=("last condition", 0)),)),
        Group("Stage two: final size", SAMPLING, FOURTH, STEP_WIDE, (
            UPSAMPLER_LOADER, *stage_two(conditions=("last condition", 0)),
        )),
        Group("Result", RESULT, FIFTH, RESULT_WIDE, (decode(), save(height=280))),
        Group("First and last frame: one chain of conditions, for both samplers", INPUTS, FIRST, 250, (
            load_image("first image", 200),
            condition("first condition", "first image", 0),
            load_image("last image", 200),
            condition("last condition", "last image", -1, after="first condition"),
        ), y=874, row=True),
    ),
    (
        Note("How to use", texts.HOW["first-and-last-frame"], (THIRD, 510), (STAGE_WIDE, 260)),
        Note("Files", texts.files(texts.TWO_STAGE_FILES), (FOURTH, 880), (700, 210)),
    ),
)  # fmt: skip

DISTILLED_MODEL = Workflow(
    "distilled",
    (
        models(DISTILLED.name, lora=False),
        Group("Prompt", INPUTS, SECOND, PROMPT_WIDE, (prompt(texts.KITCHEN, 420, negative_prompt=""),)),
        Group("Stage one: half size, 8 steps", SAMPLING, THIRD, STAGE_WIDE, (stage_one("model", negative=None),)),
        Group("Stage two: final size, 3 steps", SAMPLING, FOURTH, STEP_WIDE, (
            UPSAMPLER_LOADER, *stage_two("model", audio="stage two"),
        )),
        Group("Result", RESULT, FIFTH, RESULT_WIDE, (decode(), save())),
    ),
    notes("distilled", texts.DISTILLED_FILES),
)  # fmt: skip

PREVIEW_FIRST = Workflow(
    "preview-first",
    (
        models(lora=False),
        Group("Prompt", INPUTS, SECOND, PROMPT_WIDE, (prompt(texts.MUSICIAN, 420),)),
        Group("Stage one: half size", SAMPLING, THIRD, STAGE_WIDE, (
            stage_one("model", guidance=("guidance", 0)), GUIDANCE,
        )),
        Group("Keep it", RESULT, FOURTH, STEP_WIDE, (
            Node("keep", "LTXDuoSaveLatent", "result", {"filename_prefix": PREVIEW}, {"latent": ("stage one", 0)}),
            decode("stage one"),
        )),
        Group("Preview", RESULT, FIFTH, RESULT_WIDE, (save("video/ltx-duo-preview"),)),
    ),
    notes("preview-first", texts.PREVIEW_FILES),
)  # fmt: skip

CONTINUE_FROM_PREVIEW = Workflow(
    "continue-from-preview",
    (
        models(),
        Group("The same prompt", INPUTS, SECOND, PROMPT_WIDE, (prompt(texts.MUSICIAN, 420, negative_prompt=""),)),
        Group("The preview that you liked", INPUTS, THIRD, STAGE_WIDE, (
            Node("preview", "LTXDuoLoadLatent", "inputs", {"file": f"{PREVIEW}_00001_.latent [output]"}),
        )),
        Group("Stage two: final size", SAMPLING, FOURTH, STEP_WIDE, (UPSAMPLER_LOADER, *stage_two(source="preview"))),
        Group("Result", RESULT, FIFTH, RESULT_WIDE, (decode(), save())),
    ),
    notes("continue-from-preview"),
)  # fmt: skip

MIXED_WITH_NATIVE = Workflow(
    "mixed-with-native",
    (
        models(),
        Group("Prompt", INPUTS, SECOND, PROMPT_WIDE, (prompt(texts.MUSICIAN, 420),)),
        Group("Stage one, with core's schedule", SAMPLING, THIRD, STAGE_WIDE, (
            stage_one(sigmas=("schedule", 0)),
            Node("schedule", "LTXVScheduler", "core", {"steps": 30}),
            Node("stage two sigmas", "ManualSigmas", "core", {"sigmas": "0.909375, 0.725, 0.421875, 0.0"}),
        )),
        Group("Stage two, taken apart by core", SAMPLING, FOURTH, STEP_WIDE, (
            UPSAMPLER_LOADER,
            *stage_two(sigmas=("stage two sigmas", 0)),
            Node("apart", "LTXVSeparateAVLatent", "core", {}, {"av_latent": ("stage two", 0)},
                 title="Separate AV Latent"),
        )),
        Group("Core decodes the sound", CORE, FIFTH, RESULT_WIDE, (
            decode("apart"),
            Node("audio vae", "LTXVAudioVAELoader", "core", {"ckpt_name": DEV.name}),
            Node("sound", "LTXVAudioVAEDecode", "core", {}, {"samples": ("apart", 1), "audio_vae": ("audio vae", 0)}),
            Node("video", "CreateVideo", "core", {"fps": 24.0}, {"images": ("decode", 1), "audio": ("sound", 0)}),
            save(source="video", height=280),
        )),
    ),
    notes("mixed-with-native"),
)  # fmt: skip


CORE_LINKS = {"vae": ("checkpoint", 2), "positive": ("timed", 0)}


def core_text(name: str, words: str, height: int) -> Node:
    return Node(name, "CLIPTextEncode", "core", {"text": words}, {"clip": ("text encoder", 0)}, height)


FROM_CORE_LOADERS = Workflow(
    "from-core-loaders",
    (
        Group("ComfyUI's own loaders", CORE, FIRST, WIDE, (
            Node("checkpoint", "CheckpointLoaderSimple", "core", {"ckpt_name": DEV.name}),
            Node("lora", "LoraLoaderModelOnly", "core", {"lora_name": LORA.name}, {"model": ("checkpoint", 0)}),
            Node("text encoder", "LTXAVTextEncoderLoader", "core",
                 {"text_encoder": GEMMA_FP4.name, "ckpt_name": DEV.name}),
            Node("audio vae", "LTXVAudioVAELoader", "core", {"ckpt_name": DEV.name}),
            Node("upsampler", "LatentUpscaleModelLoader", "core", {"model_name": UPSAMPLER.name}),
        )),
        Group("Prompts, at the film's frame rate", CORE, SECOND, PROMPT_WIDE, (
            core_text("prompt", texts.LAKE, 215),
            core_text("negative prompt", texts.NEGATIVE, 155),
            Node("timed", "LTXVConditioning", "core", {"frame_rate": 24.0},
                 {"positive": ("prompt", 0), "negative": ("negative prompt", 0)}),
        )),
        Group("Stage one: half size", SAMPLING, THIRD, STAGE_WIDE, (
            stage_one("checkpoint", **CORE_LINKS, negative=("timed", 1), conditions=("condition", 0),
                      guidance=("guidance", 0)),
            GUIDANCE,
        )),
        Group("Stage two: final size, with the LoRA", SAMPLING, FOURTH, STEP_WIDE, (
            *stage_two(**CORE_LINKS, conditions=("condition", 0)),
        )),
        Group("Result", RESULT, FIFTH, RESULT_WIDE, (
            decode(vae=("checkpoint", 2), audio_vae=("audio vae", 0)), save(),
        )),
        Group("Image", INPUTS, FIRST, 280, (
            load_image(height=250), condition("condition", "image", 0),
        ), y=796, row=True),
    ),
    (
        Note("How to use", texts.HOW["from-core-loaders"], (THIRD, 890), (340, 200)),
        Note("Files", texts.files(texts.TWO_STAGE_FILES, GEMMA_FP4), (FOURTH, 890), (700, 200)),
    ),
)  # fmt: skip

WORKFLOWS = (
    IMAGE_TO_VIDEO, TEXT_TO_VIDEO, SOUND_TO_VIDEO, FIRST_AND_LAST_FRAME, DISTILLED_MODEL, PREVIEW_FIRST,
    CONTINUE_FROM_PREVIEW, MIXED_WITH_NATIVE, FROM_CORE_LOADERS,
)  # fmt: skip
