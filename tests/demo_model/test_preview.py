"""The small model's decoder for previews, as it is shipped: what it shows can be recognised."""

import pytest
import torch

from ltx_duo.demo_model.detectors import seen
from ltx_duo.demo_model.training.losses import psnr
from ltx_duo.demo_model.training.preview import FILE, enlarged, shown
from ltx_duo.demo_model.training.sizes import MODEL_VERSION
from ltx_duo.demo_model.training.write import FILES
from ltx_duo.demo_model.world import draw_scene, render
from ltx_duo.ltx_core.checkpoint import Checkpoint, Component
from ltx_duo.ltx_core.loading import load_component
from ltx_duo.ltx_core.safetensors_file import SafetensorsFile
from ltx_duo.ltx_core.video_vae.preview import LATENTS_OF, load_preview_decoder
from ltx_duo.scripts.demo.models import TRAINED

BETTER = 5.0  # decibels, than each picture's mean colour
CLIPS = {128: 16, 256: 6}  # at least; by the size of stage one and the final one


@pytest.fixture(scope="module")
def file() -> SafetensorsFile:
    return SafetensorsFile.open(TRAINED / FILE)


@pytest.fixture(scope="module")
def video_vae() -> tuple[torch.nn.Module, torch.nn.Module]:
    checkpoint = Checkpoint.open(TRAINED / FILES["checkpoint"])
    sides = (Component.VIDEO_ENCODER, Component.VIDEO_DECODER)
    return tuple(load_component(checkpoint, side, dtype=torch.float32) for side in sides)


def test_is_small_and_says_whose_latents_it_decodes(file):
    assert file.metadata[LATENTS_OF] == MODEL_VERSION
    assert file.path.stat().st_size < 150_000


@pytest.mark.parametrize("size", CLIPS)
@torch.no_grad()
def test_is_far_nearer_to_the_decoded_film_than_one_colour(size, file, video_vae, lots):
    decoder, (encode, decode) = load_preview_decoder(file), video_vae
    found, colours = [], 0
    for _ in range(CLIPS[size]):
        scene = draw_scene(lots)
        latent = encode(render([scene], size, size))
        film = decode(latent)[0].transpose(0, 1)
        made = enlarged(decoder(latent[0].transpose(0, 1)), size)
        film = film[shown(len(film))]
        alone = film.mean(dim=(2, 3), keepdim=True).expand_as(film)
        found.append(float((psnr(made, film) - psnr(alone, film)).mean()))
        colours += seen((made.movedim(1, -1).clamp(-1, 1) + 1) / 2).colour == scene.colour
    assert sum(found) / len(found) >= BETTER
    assert colours >= 0.85 * CLIPS[size]
