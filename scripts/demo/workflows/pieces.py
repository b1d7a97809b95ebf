"""Pieces that several of the shipped workflows are made of."""

from . import texts
from .canvas import Column, Group, Node, Note
from .model_files import DEV, Beside, ModelFile

MODELS, INPUTS, SAMPLING, RESULT, CORE = "#3f789e", "#8AA", "#a1309b", "#88A", "#566"
PREVIEW = "latents/preview"

# Widths of the columns.
NOTES_WIDE, WIDE, PROMPT_WIDE, GIVEN_WIDE, STAGE_WIDE, STEP_WIDE, RESULT_WIDE = 330, 330, 350, 300, 320, 310, 370
# Heights of what is as tall as one wants: texts and pictures.  FILM has room for a square one.
PROMPT, SHORT_PROMPT, PICTURE, CLIP, PLAYER, FILM = 420, 230, 350, 340, 210, 470
HOW, FILES, CARDS, STILL = 280, 365, 370, 200

BESIDE = Beside()


def models(
    checkpoint: ModelFile = DEV,
    lora: bool = True,
    upsampler: bool = True,
    strengths: tuple[float, float] | None = None,
    beside: Beside = BESIDE,
) -> Column:
    """`strengths`: of the LoRA in both stages, where they are not the usual 0 and 1."""
    nodes = [Node("model", "LTXDuoModelLoader", "models", {"checkpoint": checkpoint.name}, report=True)]
    if lora:
        links = {"model": ("model", 0)}
        own = dict(zip(("strength_stage_one", "strength_stage_two"), strengths or (), strict=False))
        nodes.append(Node("lora", "LTXDuoLoraLoader", "models", {"lora": beside.lora.name, **own}, links, report=True))
    vae = {"checkpoint": (beside.video_vae or checkpoint).name}
    if beside.audio_vae is not None:
        vae["audio_file"] = beside.audio_vae.name
    nodes.append(Node("vae", "LTXDuoVAELoader", "models", vae))
    encoder = {"text_encoder": beside.text_encoder.name, "projection": (beside.projection or checkpoint).name}
    nodes.append(Node("text encoder", "LTXDuoTextEncoderLoader", "models", encoder))
    if upsampler:
        nodes.append(Node("upsampler", "LTXDuoUpsamplerLoader", "models", {"upsampler": beside.upsampler.name}))
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


PARTS = Node("parts", "GetVideoComponents", "core", {}, {"video": ("film", 0)})


def painting(source: str, *before: Node) -> Group:
    """The first frame of `source`, and the image on which is painted what changes."""
    return Group("What changes: paint it", INPUTS, (
        *before,
        Node("frame", "ImageFromBatch", "core", {}, {"image": (source, 0)}),
        Node("still", "PreviewImage", "core", {}, {"images": ("frame", 0)}, height=STILL),
        Node("mask", "LoadImage", "inputs", {"image": "painted.png"}, height=PICTURE),
    ))  # fmt: skip


def given_film(kind: str, title: str, *more: Node, words: str, **links: tuple[str, int]) -> Column:
    """A prompt, a film, `more`, and the node that says what of the film is made anew; `from_film` has what it gives."""
    node = Node("given", kind, "inputs", {}, {"video": ("film", 0), **links}, report=True)
    # The film is the last: it grows with its player, which is as high as the film is.
    return Column(PROMPT_WIDE, (Group(title, INPUTS, (prompt(words, SHORT_PROMPT), node, *more, load_video())),))


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


def distilled_steps(*below: Note) -> tuple[Column, ...]:
    """What follows the models where these are distilled; `below`: notes below stage two."""
    return (
        Column(PROMPT_WIDE, (Group("Prompt", INPUTS, (prompt(texts.KITCHEN, negative_prompt=""),)),)),
        Column(STAGE_WIDE, (Group("Stage one: half size, 8 steps", SAMPLING, (stage_one("model", negative=None),)),)),
        Column(STEP_WIDE, (
            Group("Stage two: final size, 3 steps", SAMPLING, stage_two("model", audio="stage two")), *below,
        )),
        RESULT_COLUMN,
    )  # fmt: skip


def how(name: str, height: int = HOW) -> Note:
    return Note("How to use", texts.HOW[name], height)


def files(needed: tuple[ModelFile, ...] = texts.TWO_STAGE_FILES, height: int = FILES, **more) -> Note:
    return Note("Files", texts.files(needed, **more), height)


def cards(height: int = CARDS, text: str = texts.CARDS) -> Note:
    return Note("Which graphics card", text, height)


def notes(name: str, needed: tuple[ModelFile, ...] = texts.TWO_STAGE_FILES, card: str = texts.CARDS) -> Column:
    return Column(NOTES_WIDE, (how(name), files(needed), cards(text=card)))
