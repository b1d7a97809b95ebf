"""What `clean_background` does, for the help page of LTX Stage Two Sampler: a frame that stays of a film, as stage two
leaves it with and without.

    .local/venv/bin/python scripts/pictures/clean_background.py

Writes web/docs/clean-background.jpg with the small trained model; a minute or two on a CPU.  Needs what
`bash scripts/setup.sh demo` prepares.
"""

import sys
from functools import partial
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

PACK = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PACK / "scripts"))
import small_model  # noqa: E402

small_model.load_pack()
from ltx_duo.demo_model import write_given  # noqa: E402
from ltx_duo.ltx_core import two_stage  # noqa: E402
from ltx_duo.ltx_core.loading_components import load_components  # noqa: E402
from ltx_duo.ltx_core.lora import LoRA  # noqa: E402
from ltx_duo.ltx_core.request import StagedLoRA  # noqa: E402
from ltx_duo.ltx_core.sampling.conditions import GivenFilm, GivenSound  # noqa: E402
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry  # noqa: E402
from ltx_duo.ltx_core.sampling.schedule import ltx2_sigmas  # noqa: E402
from ltx_duo.scripts.demo import models  # noqa: E402

SEED, STEPS, KEPT_FRAME, FPS, WINDOW = 10, 12, 7, 24.0, (0.4, 1.0)
GAP, CAPTION = 6, 34


def main() -> None:
    found = models.trained()
    components = load_components(found["checkpoint"], found["text encoder"], found["upsampler"], dtype=torch.float32)
    lora = StagedLoRA(LoRA.open(found["distilled LoRA"]), 0.0, 1.0)
    frames = torch.from_numpy(write_given.wrong_colour()).float() / 255
    sound = GivenSound(torch.from_numpy(write_given.sound_of(write_given.STAR)), write_given.RATE)
    film = GivenFilm(frames, FPS, sound, windows=(WINDOW,))
    height, width = frames.shape[1:3]
    request = two_stage.Request(
        prompt="a red star moving to the left, high tone",
        negative_prompt="",
        geometry=LatentGeometry(width, height, film.total, FPS),
        seed=SEED,
        film=film,
        stage_one_sigmas=ltx2_sigmas(STEPS),
    )
    shown, preset = [frames[KEPT_FRAME]], two_stage.stage_two
    for clean in (True, False):
        two_stage.stage_two = partial(preset, clean_background=clean)
        latent = two_stage.generate(components, request, loras=[lora]).stage_two.video
        shown.append(two_stage.decode_video(components.video_decoder, latent)[KEPT_FRAME])
    target = PACK / "web" / "docs" / "clean-background.jpg"
    draw(shown, ("the film", "stage two, on", "stage two, off")).save(target, quality=90)
    print(target)


def draw(pictures: list[torch.Tensor], captions: tuple[str, ...]) -> Image.Image:
    """Pictures (H, W, 3) in 0..1 beside each other, each above its caption."""
    height, width = pictures[0].shape[:2]
    page = Image.new("RGB", (len(pictures) * (width + GAP) + GAP, height + GAP + CAPTION), "#1c1c28")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(17)
    for number, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        left = GAP + number * (width + GAP)
        page.paste(Image.fromarray((picture.clamp(0, 1) * 255).round().byte().numpy()), (left, GAP))
        pen.text((left + width // 2, height + GAP + CAPTION // 2), caption, "#f6f6fa", font, "mm")
    return page


if __name__ == "__main__":
    main()
