"""Draws the thumbnails of the shipped workflows: a title and a sketch of what goes in and what comes out."""

from functools import partial
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter, ImageOps

from .card import ACCENT, FRAME, LAKE, TEXT, Card, night, photo, with_boat

GREEN = (102, 255, 0)
STILL = (74, 112)
RIVER = 11

HELP_PICTURES = ("two-stages", "image-conditions")


def draw(name: str, target: Path) -> None:
    """Writes the card of a workflow, or a picture for the help pages, as JPEG."""
    card = _CARDS[name]()
    card.image.save(target, quality=88)


def _image_to_video(model: str = "LTX-2.3", rate: int = 48) -> Card:
    card = Card("Image to video", f"two stages, picture and sound, {model}")
    card.picture((32, 190), photo(LAKE, (210, 140)))
    card.text((32, 340), "your image", 18)
    card.arrow((258, 260), 48)
    _result(card, LAKE, rate)
    return card


def _text_to_video() -> Card:
    card = Card("Text to video", "two stages, picture and sound, LTX-2.3")
    card.box((32, 190, 242, 330), ["A river at dusk,", "the camera glides", "forward ..."], 19)
    card.text((32, 340), "your prompt", 18)
    card.arrow((258, 260), 48)
    _result(card, RIVER)
    return card


def _sound_to_video() -> Card:
    card = Card("Sound to video", "speech, music, effects: the picture is made to them")
    card.sound((32, 200), 210)
    card.text((32, 246), "your sound", 18)
    card.picture((32, 290), photo(LAKE, (150, 100)))
    card.text((32, 400), "and an image, if you like", 18)
    card.arrow((258, 260), 48)
    card.film((320, 138), photo(LAKE, FRAME))
    card.sound((322, 450), 366)
    card.text((322, 490), "your sound, as it is", 18)
    return card


def _text_to_sound() -> Card:
    card = Card("Text to sound", "a sound without a picture: noises, voices, music")
    card.box((32, 190, 242, 330), ["Rain on a tin roof,", "thunder; an old man", "says ..."], 19)
    card.text((32, 340), "your prompt", 18)
    card.arrow((258, 260), 48)
    for row in range(2):
        card.sound((322, 215 + 90 * row), 366)
    card.text((322, 355), "48 kHz stereo sound", 18)
    card.text((32, 470), "a sixth of the model's weights", 22, TEXT)
    return card


def _film_sound() -> Card:
    card = Card("Sound for a film", "the picture stays as it is, what is heard is made to it")
    card.film((32, 190), photo(RIVER, (180, 120)))
    card.text((32, 372), "your film", 18)
    card.arrow((274, 260), 32)
    card.film((320, 138), photo(RIVER, FRAME))
    card.sound((322, 450), 366)
    card.text((322, 490), "the picture as it is, and a new sound", 18)
    return card


def _retake() -> Card:
    card = Card("Retake", "a few seconds of a film made anew; the rest stays as it is")
    card.strip(200, "OOONNNOO", photo(LAKE, STILL), night(photo(LAKE, STILL)))
    card.sound((32, 356), 656)
    card.window((276, 180), (276 + 3 * 82 - 4, 396))
    card.text((274, 408), "start", 18)
    card.text((516, 408), "end", 18, anchor="ra")
    card.text((32, 470), "picture, sound or both", 22, TEXT)
    return card


def _extend() -> Card:
    card = Card("Extend", "a film goes on, or begins earlier, with its sound")
    card.strip(200, "NOOOONNN", photo(RIVER, STILL), night(photo(RIVER, STILL)))
    card.sound((32, 356), 656)
    card.window((440, 180), (690, 396))
    card.window((30, 180), (112, 396))
    card.text((32, 408), "before", 18)
    card.text((688, 408), "after", 18, anchor="ra")
    card.text((360, 408), "your film", 18, anchor="ma")
    card.text((32, 470), "run it again for more", 22, TEXT)
    return card


def _region() -> Card:
    return _painted(Card("Region", "a part of a film's picture made anew, where you paint"), ACCENT, 0.8)


def _reference_inpaint() -> Card:
    return _painted(Card("Reference: inpaint", "an IC-LoRA fills what you paint, or a margin"), GREEN, 1.0)


def _reference_voice() -> Card:
    card = Card("Reference: voice", "a film that speaks with a voice that you give")
    card.sound((32, 190), 210)
    card.text((32, 230), "a voice, about 5 s", 18)
    card.box((32, 276, 242, 372), ["[SPEECH]:", "your words"], 20)
    card.arrow((258, 260), 48)
    card.film((320, 138), photo(RIVER, FRAME))
    card.sound((322, 450), 366)
    card.text((322, 490), "your words in that voice", 18)
    return card


def _reference_control() -> Card:
    card = Card("Reference: control", "a film that follows the edges, depth or poses of yours")
    given = photo(RIVER, (180, 120))
    edges = ImageOps.autocontrast(given.convert("L").filter(ImageFilter.FIND_EDGES)).convert("RGB")
    card.film((32, 190), edges)
    card.text((32, 372), "what leads", 18)
    card.arrow((274, 260), 32)
    _result(card, RIVER)
    return card


def _reference_edit() -> Card:
    card = Card("Reference: edit", "a film changed by an IC-LoRA, with its own sound")
    card.film((32, 190), photo(LAKE, (180, 120)))
    card.text((32, 372), "your film", 18)
    card.arrow((274, 260), 32)
    card.film((320, 138), night(photo(LAKE, FRAME)))
    card.sound((322, 450), 366)
    card.text((322, 490), "its own sound", 18)
    return card


def _first_and_last_frame() -> Card:
    card = Card("First and last frame", "a film between two images, with sound")
    first, last = photo(LAKE, (198, 132)), night(photo(RIVER, (198, 132)))
    card.picture((32, 190), first)
    card.picture((490, 190), last)
    for step, x in enumerate((244, 322, 400)):
        blend = Image.blend(first, last, (step + 1) / 4).resize((108, 72))
        card.picture((x, 220 + (step % 2) * 12), blend.crop((0, 0, 70, 72)))
    card.text((32, 334), "frame 0", 18)
    card.text((688, 334), "frame -1", 18, anchor="ra")
    card.arrow((32, 390), 656)
    card.sound((32, 460), 656)
    return card


def _distilled(line: str = "8 + 3 steps, no guidance, no negative prompt", seed: int = LAKE) -> Card:
    return _few_steps(Card("Distilled", line), ("stage one: 8 steps", "stage two: 3 steps"), seed)


def _prompts_length() -> Card:
    card = Card("Text to video", "as long as the prompt asks for, picture and sound, LTX-2.5")
    card.box((32, 190, 242, 330), ["One clap of thunder.", "Or: she stands up,", "goes out, comes back"], 18)
    card.text((32, 340), "your prompt", 18)
    card.arrow((258, 260), 48)
    one, other = photo(RIVER, STILL), night(photo(RIVER, STILL))
    for y, count, length in ((120, 1, "2 s"), (320, 4, "10 s")):
        for number in range(count):
            card.picture((340 + 82 * number, y), one if number < 2 else other)
        card.sound((342, y + 156), 82 * count - 8)
        card.text((340, y + 194) if count > 1 else (432, y + 46), length, 18)
    return card


def _distilled_lora() -> Card:
    card = Card("Distilled LoRA", "dev checkpoint, distilled LoRA at 0.5 in both stages: 8 + 3 steps")
    return _few_steps(card, ("8 steps, LoRA 0.5", "3 steps, LoRA 0.5"), RIVER)


def _high_quality() -> Card:
    card = Card("High quality", "res_2s, 15 steps that run the model twice")
    for row in range(2):
        card.bars((32, 170 + 64 * row), 8, ACCENT)
    card.text((32, 300), "stage one: two runs a step", 18)
    card.bars((32, 350), 7, (126, 166, 255))
    card.text((32, 416), "stage two: 7 runs", 18)
    card.arrow((258, 260), 48)
    _result(card, 3)
    return card


def _keyframes() -> Card:
    card = Card("Keyframes", "images beside the film, which moves from one to the next")
    lake = photo(LAKE, STILL)
    for number, image in enumerate((lake, with_boat(photo(LAKE, FRAME)).resize(STILL), night(lake))):
        x = 34 + 287 * number
        card.picture((x, 140), image)
        card.draw.line((x + 37, 260, x + 37, 318), fill=ACCENT, width=4)
    card.strip(330, "OOOONNNN", lake, night(lake))
    card.sound((32, 490), 656)
    return card


def _one_stage() -> Card:
    card = Card("One stage", "the asked size at once, without an upsampler")
    card.box((32, 214, 242, 306), ["Stage One", "size full"], 22)
    card.arrow((258, 260), 48)
    _result(card, RIVER)
    return card


def _preview_first() -> Card:
    card = Card("Preview first", "stage one alone: look at several, keep the best")
    for number, seed in enumerate((RIVER, LAKE, 3)):
        small = photo(seed, (198, 132)).resize((66, 44)).resize((198, 132), Image.Resampling.BICUBIC)
        x = 32 + 229 * number
        card.picture((x, 170), small.filter(ImageFilter.GaussianBlur(1)))
        card.text((x, 312), f"seed {number + 10}", 18)
    card.draw.rounded_rectangle((255, 164, 465, 308), 14, outline=ACCENT, width=5)
    card.box((212, 400, 508, 480), ["saved latent"], 24)
    card.draw.line((360, 336, 360, 396), fill=ACCENT, width=5)
    return card


def _continue_from_preview() -> Card:
    card = Card("Continue from preview", "stage two, from the latent that you kept")
    card.box((32, 215, 242, 305), ["saved latent"], 24)
    card.text((32, 320), "picture, sound, noise", 18)
    card.arrow((258, 260), 48)
    _result(card, LAKE)
    return card


def _mixed_with_native() -> Card:
    card = Card("Mixed with native nodes", "LTX Duo and ComfyUI's own LTX-2 nodes in one graph")
    left = (("LTXVScheduler", False), ("Stage One", True), ("Stage Two", True))
    right = (("Separate AV Latent", False), ("Audio-Video Decode", True), ("Audio VAE Decode", False))
    for column, (x, nodes) in enumerate(((32, left), (400, right))):
        for number, (name, ours) in enumerate(nodes):
            y = 150 + 124 * number
            card.box((x, y, x + 288, y + 72), [name], 22)
            card.text((x + 6, y + 78), "LTX Duo" if ours else "core", 16, ACCENT if ours else (126, 166, 255))
            if number < 2:
                card.draw.line((x + 144, y + 74, x + 144, y + 122), fill=ACCENT, width=4)
        if column == 0:
            card.draw.line((322, 434, 360, 434, 360, 186, 398, 186), fill=ACCENT, width=4, joint="curve")
    return card


def _from_core_loaders() -> Card:
    card = Card("From core's loaders", "your ComfyUI loaders, text encode and LoRAs; LTX Duo's two stages")
    for number, name in enumerate(("Load Checkpoint", "Load LoRA", "CLIP Text Encode", "Load Audio VAE")):
        y = 134 + 86 * number
        card.box((32, y, 246, y + 58), [name], 20)
    card.text((38, 456), "core", 16, (126, 166, 255))
    card.arrow((258, 260), 48)
    card.text((322, 490), "LTX Duo: picture and 48 kHz stereo sound", 18)
    card.film((320, 138), photo(LAKE, FRAME))
    card.sound((322, 450), 366)
    return card


def _two_stages() -> Card:
    card = Card("Two stages", "the size that you ask for is the final one")
    rows = (
        ("Stage One", "768 x 512: picture and sound, up to four passes a step", (36, 24)),
        ("Latent Upsampler", "1536 x 1024: the picture twice as wide and high", (54, 36)),
        ("Stage Two", "1536 x 1024: three steps, sound kept from stage one", (198, 132)),
    )
    for number, (name, line, detail) in enumerate(rows):
        y = 140 + 132 * number
        card.box((32, y, 262, y + 64), [name], 22)
        card.text((32, y + 72), line, 17)
        shown = (120, 80) if number == 0 else (168, 112)
        coarse = photo(LAKE, (198, 132)).resize(detail).resize(shown, Image.Resampling.BICUBIC)
        card.picture((520, y - 12), coarse)
        card.arrow((290, y + 32), 200)
    return card


def _painted(card: Card, colour, share: float) -> Card:
    """A film, of which a part is painted over, and what is made of it."""
    size = (240, 160)
    given = photo(LAKE, size)
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).ellipse((76, 60, 168, 138), fill=255)
    painted = Image.composite(Image.blend(given, Image.new("RGB", size, colour), share), given, mask)
    card.film((32, 160), painted)
    card.arrow((336, 266), 46)
    card.film((394, 160), with_boat(given))
    card.sound((32, 450), 656)
    card.text((32, 490), "everything that is not painted stays as it is", 18)
    return card


def _few_steps(card: Card, captions: tuple[str, str], seed: int) -> Card:
    card.bars((32, 180), 8, ACCENT)
    card.text((32, 246), captions[0], 18)
    card.bars((32, 310), 3, (126, 166, 255))
    card.text((32, 376), captions[1], 18)
    card.arrow((258, 260), 48)
    _result(card, seed)
    return card


def _result(card: Card, seed: int, rate: int = 48) -> None:
    """`rate`: of the sound, in kHz."""
    card.film((320, 138), photo(seed, FRAME))
    card.sound((322, 450), 366)
    card.text((322, 490), f"{rate} kHz stereo sound", 18)


_CARDS = {
    "image-to-video": _image_to_video,
    "text-to-video": _text_to_video,
    "sound-to-video": _sound_to_video,
    "text-to-sound": _text_to_sound,
    "first-and-last-frame": _first_and_last_frame,
    "film-sound": _film_sound,
    "retake": _retake,
    "extend": _extend,
    "region": _region,
    "reference-control": _reference_control,
    "reference-edit": _reference_edit,
    "reference-inpaint": _reference_inpaint,
    "reference-voice": _reference_voice,
    "distilled": _distilled,
    "distilled-lora": _distilled_lora,
    "high-quality": _high_quality,
    "keyframes": _keyframes,
    "one-stage": _one_stage,
    "preview-first": _preview_first,
    "continue-from-preview": _continue_from_preview,
    "mixed-with-native": _mixed_with_native,
    "from-core-loaders": _from_core_loaders,
    "image-to-video-2-5": partial(_image_to_video, "LTX-2.5"),
    "text-to-video-2-5": _prompts_length,
    "distilled-2-5": partial(_distilled, "LTX-2.5 in 8 + 3 steps, no guidance, no negative prompt", RIVER),
    "image-to-video-2-0": partial(_image_to_video, "LTX-2.0", 24),
    "two-stages": _two_stages,
    "image-conditions": _first_and_last_frame,
}
