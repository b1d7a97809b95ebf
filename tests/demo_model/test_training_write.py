"""The trained pieces' files together: the engine opens them as an LTX-2.3 and finds in them what was trained."""

import copy

import pytest
import torch

from ltx_duo.demo_model.training import audio_vae, ic_lora, network, video_vae, vocoder, write
from ltx_duo.demo_model.training.checkpoints import save_tensors, weights_path
from ltx_duo.demo_model.training.run import Run, new_run
from ltx_duo.demo_model.training.sizes import TEXT_CHANNELS, model_config, upsampler_config
from ltx_duo.demo_model.training.text_features import Components
from ltx_duo.ltx_core.checkpoint import Checkpoint, Component
from ltx_duo.ltx_core.generation import Generation
from ltx_duo.ltx_core.loading import load_component
from ltx_duo.ltx_core.upsampler import LatentUpsampler, UpsamplerParams, upsample_latent

STATES, COMPONENTS = 19, 8


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Run, dict[str, torch.nn.Module]]:
    """A run whose pieces are as they begin, and those pieces."""
    run = new_run(tmp_path_factory.mktemp("written"), "cpu", small=True)
    config = model_config(small=True)
    pieces = {
        "video-vae": video_vae.VideoAutoencoder(config),
        "audio-vae": audio_vae.AudioAutoencoder(config),
        "vocoder": vocoder.new_vocoder(config),
        "upsampler": LatentUpsampler(UpsamplerParams.from_config(upsampler_config(small=True))),
        "given": network.TextToAV(config, COMPONENTS),
    }
    network.initialise(pieces["given"], torch.Generator().manual_seed(0))
    pieces["video-vae"].set_statistics(torch.linspace(-1, 1, 128), torch.linspace(0.5, 2, 128))
    states = {name: piece.state_dict() for name, piece in pieces.items()}
    width = TEXT_CHANNELS * STATES
    states["given"] |= vars(Components(torch.zeros(width), torch.randn(width, COMPONENTS)))
    pair = {f"diffusion_model.patchify_proj.lora_{side}.weight": torch.ones(2, 2) for side in "AB"}
    for name, tensors in states.items():
        save_tensors(weights_path(run.out, name), tensors)
    save_tensors(weights_path(run.out, "lora"), pair)
    save_tensors(weights_path(run.out, "ic-lora"), pair, ic_lora.METADATA)
    write.train(run)
    return run, pieces


@pytest.mark.parametrize(
    ("component", "piece", "inside"),
    [
        (Component.AUDIO_ENCODER, "audio-vae", "encoder"),
        (Component.AUDIO_DECODER, "audio-vae", "decoder"),
        (Component.VOCODER, "vocoder", ""),
        (Component.TRANSFORMER, "given", "transformer"),
        (Component.VIDEO_CONNECTOR, "given", "video_connector"),
        (Component.AUDIO_CONNECTOR, "given", "audio_connector"),
    ],
)
def test_engine_loads_what_was_trained(written, component, piece, inside):
    run, pieces = written
    loaded = load_component(Checkpoint.open(run.out / write.FILES["checkpoint"]), component).state_dict()
    expected = pieces[piece].get_submodule(inside).state_dict()
    assert loaded.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(loaded[name].float(), tensor.bfloat16().float(), rtol=0, atol=0, msg=name)


@torch.no_grad()
def test_latents_of_all_sizes_give_the_same_pictures(written, rng):
    """The written video VAE and upsampler do bit for bit what was trained, by latents whose channels differ in size."""
    run, pieces = written
    files = {file: Checkpoint.open(run.out / write.FILES[file]) for file in ("checkpoint", "upsampler")}
    loaded = {
        component: load_component(files[file], component, dtype=torch.float32)
        for component, file in (
            (Component.VIDEO_ENCODER, "checkpoint"),
            (Component.VIDEO_DECODER, "checkpoint"),
            (Component.UPSAMPLER, "upsampler"),
        )
    }
    rounded = (copy.deepcopy(pieces[name]).to(torch.bfloat16).float() for name in ("video-vae", "upsampler"))
    autoencoder, upsampler = rounded
    encoder, decoder = loaded[Component.VIDEO_ENCODER], loaded[Component.VIDEO_DECODER]
    statistics, trained = encoder.per_channel_statistics, autoencoder.encoder.per_channel_statistics
    ratio = statistics.get_buffer("std-of-means") / trained.get_buffer("std-of-means")
    assert ratio.unique().tolist() == [0.5, 1, 2, 4]

    pixels = 2 * torch.rand(1, 3, 9, 64, 64, generator=rng) - 1
    assert torch.equal(encoder(pixels), autoencoder.encoder(pixels))
    latent = torch.randn(1, 128, 2, 2, 2, generator=rng)
    assert torch.equal(decoder(latent), autoencoder.decoder(latent))
    larger = upsample_latent(loaded[Component.UPSAMPLER], statistics, latent)
    assert torch.equal(larger, upsample_latent(upsampler, trained, latent))


def test_files_say_what_they_are(written):
    run, _ = written
    checkpoint = Checkpoint.open(run.out / write.FILES["checkpoint"])
    assert checkpoint.generation is Generation.V2_3
    assert checkpoint.config == model_config(small=True)
    assert Component.TEXT_PROJECTION in checkpoint.key_maps
    loras = [Checkpoint.open(run.out / write.FILES[name]) for name in ("lora", "ic-lora")]
    assert all(Component.LORA in lora.key_maps for lora in loras)
    assert [lora.metadata.get("reference_downscale_factor") for lora in loras] == [None, "2"]


def test_missing_piece_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="train the piece given first"):
        write.train(new_run(tmp_path, "cpu", small=True))
