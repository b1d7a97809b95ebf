"""What the shipped workflows hold."""

from . import texts
from .canvas import Column, Group, Node, Note, Workflow
from .model_files import DEV, DISTILLED, GEMMA, LORA, UPSAMPLER, ModelFile

MODELS, INPUTS, SAMPLING, RESULT, CORE = "#3f789e", "#8AA", "#a1309b", "#88A", "#566"
PREVIEW = "latents/preview"

# Widths of the columns.
NOTES_WIDE, WIDE, PROMPT_WIDE, GIVEN_WIDE, STAGE_WIDE, STEP_WIDE, RESULT_WIDE = 330, 330, 350, 300, 320, 310, 370
# Heights of what is as tall as one wants: texts and pictures.
PROMPT, SHORT_PROMPT, PICTURE, CLIP, PLAYER, FILM = 420, 230, 350, 340, 210, 440
HOW, FILES, CARDS, STILL, SMALL_PICTURE = 280, 365, 370, 200, 220


def models(
    checkpoint: ModelFile = DEV,
    lora: bool = True,
    upsampler: bool = True,
    strengths: tuple[float, float] | None = None,
) -> Column:
    """`strengths`: of the LoRA in both stages, where they are not the usual 0 and 1."""
    nodes = [Node("model", "LTXDuoModelLoader", "models", {"checkpoint": checkpoint.name}, report=True)]
    if lora:
        links = {"model": ("model", 0)}
        own = dict(zip(("strength_stage_one", "strength_stage_two"), strengths or (), strict=False))
        nodes.append(Node("lora", "LTXDuoLoraLoader", "models", {"lora": LORA.name, **own}, links, report=True))
    nodes.append(Node("vae", "LTXDuoVAELoader", "models", {"checkpoint": checkpoint.name}))
    encoder = {"text_encoder": GEMMA.name, "projection": checkpoint.name}
    nodes.append(Node("text encoder", "LTXDuoTextEncoderLoader", "models", encoder))
    if upsampler:
        nodes.append(Node("upsampler", "LTXDuoUpsamplerLoader", "models", {"upsampler": UPSAMPLER.name}))
    return Column(WIDE, (Group("Models", MODELS, tuple(nodes)),))


def prompt(text: str, height: int = PROMPT, **values) -> Node:
    links = {"text_encoder": ("text encoder", 0)}
    return Node("prompt", "LTXDuoTextEncode", "inputs", {"prompt": text, **values}, links, height)


def load_image(name: str = "image", height: int = PICTURE) -> Node:
    return Node(name, "LoadImage", "inputs", {"image": "example.png"}, height=height)


def condition(name: str, image: str, frame: int, after: str | None = None, **values) -> Node:
    links = {"image": (image, 0), **({"conditions": (after, 0)} if after else {})}
    return Node(name, "LTXDuoImageCondition", "inputs", {"frame": frame, **values}, links)


def load_video() -> Node:
    return Node("film", "LoadVideo", "inputs", {"file": "film.mp4"}, height=CLIP)


def given_film(kind: str, title: str, *, words: str, **links: tuple[str, int]) -> Column:
    """A prompt, a film, and the node that says what of the film is made anew; `from_film` has what it gives."""
    node = Node("given", kind, "inputs", {}, {"video": ("film", 0), **links}, report=True)
    # The film is the last: it grows with its player, which is as high as the film is.
    return Column(PROMPT_WIDE, (Group(title, INPUTS, (prompt(words, SHORT_PROMPT), node, load_video())),))


def from_film() -> dict[str, tuple[str, int]]:
    """Of stage one: the condition, and size, length and frame rate, which are the film's."""
    names = ("conditions", "width", "height", "frames", "fps")
    return {name: ("given", output) for output, name in enumerate(names)}


def load_audio() -> Node:
    return Node("audio", "LoadAudio", "inputs", {"audio": "speech.wav"}, height=PLAYER)


def guidance(preset: str = "from the model") -> Node:
    return Node("guidance", "LTXDuoGuidance", "sampling", {"preset": preset})


GUIDANCE = guidance()


def stage_one(
    model: str = "lora", negative: tuple[str, int] | None = ("prompt", 1), values: dict | None = None, **links
) -> Node:
    inputs = {"model": (model, 0), "vae": ("vae", 0), "positive": ("prompt", 0), **links}
    if negative:
        inputs["negative"] = negative
    return Node("stage one", "LTXDuoStageOneSampler", "sampling", values or {}, inputs, report=True, preview=True,
                control="randomize")  # fmt: skip


def stage_two(
    model: str = "lora", source: str = "stage one", audio: str = "stage one", sampler: str = "recipe", **links
) -> tuple[Node, Node]:
    inputs = {"model": (model, 0), "vae": ("vae", 0), "positive": ("prompt", 0), "latent": ("upsample", 0), **links}
    enlarge = {"latent": (source, 0), "upsampler": ("upsampler", 0), "vae": inputs["vae"]}
    return (
        Node("upsample", "LTXDuoLatentUpsampler", "sampling", {}, enlarge, report=True),
        Node(
            "stage two",
            "LTXDuoStageTwoSampler",
            "sampling",
            {"audio": audio, "sampler": sampler},
            inputs,
            report=True,
            preview=True,
        ),
    )


def decode(source: str = "stage two", **links) -> Node:
    inputs = {"latent": (source, 0), "vae": ("vae", 0), **links}
    return Node("decode", "LTXDuoAVDecode", "result", {}, inputs, report=True)


def save(prefix: str = "video/ltx-duo", source: str = "decode") -> Node:
    return Node("save", "SaveVideo", "result", {"filename_prefix": prefix}, {"video": (source, 0)}, FILM)


RESULT_COLUMN = Column(RESULT_WIDE, (Group("Result", RESULT, (decode(), save())),))


def how(name: str, height: int = HOW) -> Note:
    return Note("How to use", texts.HOW[name], height)


def files(needed: tuple[ModelFile, ...] = texts.TWO_STAGE_FILES, height: int = FILES, **more) -> Note:
    return Note("Files", texts.files(needed, **more), height)


def cards(height: int = CARDS) -> Note:
    return Note("Which graphics card", texts.CARDS, height)


def notes(name: str, needed: tuple[ModelFile, ...] = texts.TWO_STAGE_FILES) -> Column:
    return Column(NOTES_WIDE, (how(name), files(needed), cards()))


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
    notes("distilled", texts.DISTILLED_FILES),
    models(DISTILLED, lora=False),
    Column(PROMPT_WIDE, (Group("Prompt", INPUTS, (prompt(texts.KITCHEN, negative_prompt=""),)),)),
    Column(STAGE_WIDE, (Group("Stage one: half size, 8 steps", SAMPLING, (stage_one("model", negative=None),)),)),
    Column(STEP_WIDE, (
        Group("Stage two: final size, 3 steps", SAMPLING, stage_two("model", audio="stage two")),
    )),
    RESULT_COLUMN,
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
        Group("More keyframes", INPUTS, (
            load_image("middle image", SMALL_PICTURE),
            condition("middle condition", "middle image", 60, after="first condition"),
            load_image("last image", SMALL_PICTURE),
            condition("last condition", "last image", -1, after="middle condition"),
        )),
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

RETAKE = Workflow("retake", (
    notes("retake"),
    models(),
    given_film("LTXDuoRetake", "Prompt and film", words=texts.RETAKEN),
    Column(STAGE_WIDE, (Group("Stage one: half size", SAMPLING, (stage_one(**from_film()),)),)),
    Column(STEP_WIDE, (Group("Stage two: final size", SAMPLING, stage_two(conditions=("given", 0))),)),
    RESULT_COLUMN,
))  # fmt: skip

EXTEND = Workflow("extend", (
    notes("extend"),
    models(),
    given_film("LTXDuoExtend", "Prompt and film", words=texts.GOING_ON),
    Column(STAGE_WIDE, (Group("Stage one: half size", SAMPLING, (stage_one(**from_film()),)),)),
    Column(STEP_WIDE, (Group("Stage two: final size", SAMPLING, stage_two(conditions=("given", 0))),)),
    RESULT_COLUMN,
))  # fmt: skip

REGION = Workflow("region", (
    models(),
    given_film("LTXDuoRegion", "Prompt and film", words=texts.PAINTED, mask=("mask", 1)),
    Column(GIVEN_WIDE, (
        Group("What changes: paint it", INPUTS, (
            Node("parts", "GetVideoComponents", "core", {}, {"video": ("film", 0)}),
            Node("frame", "ImageFromBatch", "core", {}, {"image": ("parts", 0)}),
            Node("still", "PreviewImage", "core", {}, {"images": ("frame", 0)}, height=STILL),
            Node("mask", "LoadImage", "inputs", {"image": "painted.png"}, height=PICTURE),
        )),
    )),
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
    IMAGE_TO_VIDEO, TEXT_TO_VIDEO, SOUND_TO_VIDEO, FIRST_AND_LAST_FRAME, FILM_SOUND, RETAKE, EXTEND, REGION,
    DISTILLED_MODEL, DISTILLED_LORA, HIGH_QUALITY, KEYFRAMES, ONE_STAGE, PREVIEW_FIRST, CONTINUE_FROM_PREVIEW,
    MIXED_WITH_NATIVE, FROM_CORE_LOADERS,
)  # fmt: skip
