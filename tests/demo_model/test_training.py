"""The training's pieces at tiny sizes: each runs, learns, and goes on after a stop as if there had been none."""

import dataclasses
import json
import shutil

import pytest
import torch

from ltx_duo.demo_model.training import audio_vae, preview, upsampler, video_vae, vocoder
from ltx_duo.demo_model.training.checkpoints import load_tensors, load_weights
from ltx_duo.demo_model.training.losses import edge_loss, moment_penalty, psnr, spectral_loss
from ltx_duo.demo_model.training.muon import orthogonal
from ltx_duo.demo_model.training.run import Run, new_run
from ltx_duo.demo_model.training.sizes import model_config

PIECES = {module.PIECE: module for module in (video_vae, audio_vae, vocoder, upsampler, preview)}
# What the loop calls a piece that it trains in parts.
PARTS = {vocoder.PIECE: (vocoder.NARROW, vocoder.WIDE)}
NEEDED = {"vocoder": audio_vae.PIECE, "upsampler": video_vae.PIECE, "preview": video_vae.PIECE}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Run:
    """A run in which all pieces were trained without a stop."""
    run = new_run(tmp_path_factory.mktemp("whole"), "cpu", small=True)
    for module in PIECES.values():
        module.train(run)
    return run


@pytest.mark.parametrize("piece", PIECES)
def test_piece_reduces_its_loss_and_shows_what_it_makes(whole, piece):
    for part in PARTS.get(piece, (piece,)):
        tensors, about = load_tensors(whole.out / f"{part}.state.safetensors")
        curve = json.loads(about["history"])
        terms = [name for name in curve if name not in ("step", "spread")]
        first, last = (sum(curve[name][place] for name in terms) for place in (0, -1))
        assert last < 0.9 * first
        assert all(tensor.isfinite().all() for tensor in tensors.values())
        assert (whole.out / f"{part}-loss.png").stat().st_size > 1000
    assert (whole.out / f"{piece}-samples.png").stat().st_size > 1000
    assert json.loads((whole.out / f"{piece}.json").read_text())


@pytest.mark.parametrize("piece", PIECES)
def test_piece_that_was_stopped_goes_on_bit_for_bit(whole, piece, tmp_path):
    if piece in NEEDED:
        shutil.copy(whole.out / f"{NEEDED[piece]}.safetensors", tmp_path)
    stopped = dataclasses.replace(whole, out=tmp_path, seconds=0)
    PIECES[piece].train(stopped)
    parts = PARTS.get(piece, (piece,))
    step = load_tensors(tmp_path / f"{parts[0]}.state.safetensors")[1]["step"]
    assert step == "1" and not (tmp_path / f"{piece}.json").exists()

    PIECES[piece].train(dataclasses.replace(whole, out=tmp_path))
    for name in (f"{piece}.safetensors", *(f"{part}.state.safetensors" for part in parts)):
        (tensors, about), (expected, whole_about) = load_tensors(tmp_path / name), load_tensors(whole.out / name)
        assert about == whole_about and tensors.keys() == expected.keys()
        assert all(torch.equal(tensor, expected[key]) for key, tensor in tensors.items())


@pytest.mark.parametrize("piece", NEEDED)
def test_piece_says_which_one_it_needs(piece, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"train the piece {NEEDED[piece]} first"):
        PIECES[piece].train(new_run(tmp_path, "cpu", small=True))


@pytest.mark.parametrize("piece", [video_vae.PIECE, audio_vae.PIECE])
def test_no_weight_of_an_autoencoder_is_left_out(whole, piece):
    """None of the engine's modules keeps a gradient back."""
    kind = {video_vae.PIECE: video_vae.VideoAutoencoder, audio_vae.PIECE: audio_vae.AudioAutoencoder}[piece]
    whole.seed_weights(piece)
    first = kind(model_config(small=True))
    after = load_weights(whole.out, piece, kind(model_config(small=True)))
    pairs = zip(first.named_parameters(), after.parameters(), strict=True)
    assert [name for (name, before), value in pairs if torch.equal(before, value)] == []


def test_latents_are_normalised_by_the_statistics(whole):
    model = video_vae.trained(whole)
    mean, deviation = video_vae.latent_statistics(whole, model, (32, 64), 8, 4)
    assert mean.abs().max() < 0.02 and (deviation - 1).abs().max() < 0.02


def test_a_single_image_is_the_first_latent_frame_of_its_clip(whole):
    model = video_vae.trained(whole)
    clips = video_vae.render(whole.scenes("any", 0, 2), 64, 64, 9)
    torch.testing.assert_close(model.encoder(clips[:, :, :1]), model.encoder(clips)[:, :, :1], rtol=0, atol=1e-5)


def test_scenes_and_noise_belong_to_seed_piece_and_step(whole):
    def drawn(run: Run, piece: str, step: int | str):
        return run.scenes(piece, step, 3), torch.rand(4, generator=run.generator(piece, step)).tolist()

    assert drawn(whole, "a", 1) == drawn(dataclasses.replace(whole), "a", 1)
    others = [drawn(whole, "a", 2), drawn(whole, "b", 1), drawn(dataclasses.replace(whole, seed=1), "a", 1)]
    assert drawn(whole, "a", 1) not in others


def test_moment_penalty_is_zero_for_unit_normal_values_only(rng):
    values = torch.randn(64, 3, 1024, generator=rng)
    assert moment_penalty(values, (0, 2)) < 1e-3
    assert moment_penalty(values + 0.5, (0, 2)) > 0.1
    assert moment_penalty(values * 3, (0, 2)) > 0.1


def test_edge_loss_ignores_a_constant_error_and_sees_a_blurred_edge():
    edge = torch.zeros(1, 3, 1, 8, 8)
    edge[..., 4:] = 1
    assert edge_loss(torch.full_like(edge, 0.3)) == 0
    assert edge_loss(edge) > 0.1


def test_spectral_loss_hears_pitch_and_loudness_but_not_phase():
    seconds = torch.arange(16000) / 16000
    tone = torch.sin(2 * torch.pi * 400 * seconds)[None, None]
    shifted = torch.cos(2 * torch.pi * 400 * seconds)[None, None]
    windows = (256, 1024)
    same = spectral_loss(shifted, tone, windows)
    assert same < 0.3 * spectral_loss(tone * 0.5, tone, windows)
    assert same < 0.3 * spectral_loss(torch.sin(2 * torch.pi * 500 * seconds)[None, None], tone, windows)
    silence = torch.zeros_like(tone, requires_grad=True)
    spectral_loss(silence, tone, windows).backward()
    assert silence.grad.isfinite().all()


@pytest.mark.parametrize("shape", [(24, 100), (100, 24)])
def test_muon_updates_have_equal_singular_values(rng, shape):
    matrices = torch.randn(3, *shape, generator=rng) * torch.logspace(0, -1, shape[1])
    values = torch.linalg.svdvals(orthogonal(matrices))
    assert values.min() > 0.3 and values.max() < 1.3
    largest, smallest = (torch.linalg.svdvals(matrices)[:, place] for place in (0, -1))
    assert (largest / smallest > 3).all()


def test_psnr_counts_pictures_from_minus_one_to_one():
    black = torch.full((2, 3, 1, 4, 4), -1.0)
    torch.testing.assert_close(psnr(black + 0.2, black), torch.full((2,), 20.0))
