"""What the published files give back to the training is what it had written."""

import pytest
import torch

from ltx_duo.demo_model.training import network, published, sizes, upsampler, video_vae
from ltx_duo.demo_model.training.checkpoints import load_tensors, weights_path
from ltx_duo.demo_model.training.run import new_run
from ltx_duo.demo_model.training.sizes import model_config, upsampler_config
from ltx_duo.demo_model.training.spread import (
    gathered_autoencoder,
    gathered_upsampler,
    spread_autoencoder,
    spread_upsampler,
)
from ltx_duo.demo_model.training.text_features import Components
from ltx_duo.demo_model.training.write import FILES, autoencoder_parts, stored
from ltx_duo.ltx_core.checkpoint import Checkpoint, Component
from ltx_duo.ltx_core.loading import load_component
from ltx_duo.ltx_core.upsampler import LatentUpsampler, UpsamplerParams
from ltx_duo.scripts.demo.models import TRAINED

CHANNELS, COMPONENTS = 16, 12


def test_sizes_of_the_channels_come_off_to_the_bit():
    config = model_config(small=True)
    pairs = (
        (video_vae.VideoAutoencoder(config).state_dict(), spread_autoencoder, gathered_autoencoder),
        (
            LatentUpsampler(UpsamplerParams.from_config(upsampler_config(small=True))).state_dict(),
            spread_upsampler,
            gathered_upsampler,
        ),
    )
    for tensors, spread, gathered in pairs:
        there = spread(tensors)
        assert any(not torch.equal(there[name], tensor) for name, tensor in tensors.items())
        back = gathered(there)
        assert back.keys() == tensors.keys() and all(torch.equal(back[name], tensors[name]) for name in tensors)


def test_text_projection_goes_on_as_it_is(monkeypatch, rng):
    """Components and projections of the file's own weights give that file again, up to rounding."""
    monkeypatch.setattr(published, "TEXT_CHANNELS", CHANNELS)
    states = 3
    first = network.TextToAV(model_config(small=True), COMPONENTS)
    network.initialise(first, rng)
    for layer in (first.video_projection, first.audio_projection):
        layer.bias.data = torch.randn(layer.bias.shape, generator=rng)
    width = CHANNELS * states
    learnt = Components(torch.zeros(width), torch.randn(width, COMPONENTS, generator=rng))
    file = {name: tensor.detach() for name, tensor in first.official(learnt, CHANNELS)["text_projection"].items()}

    found = published.projections(file)
    again = network.TextToAV(model_config(small=True), found["basis"].shape[1])
    missing = again.load_state_dict({name: t for name, t in found.items() if "projection" in name}, strict=False)
    assert not missing.unexpected_keys
    written = again.official(Components(found["mean"], found["basis"]), CHANNELS)["text_projection"]
    for name, tensor in file.items():
        torch.testing.assert_close(written[name].detach(), tensor, rtol=1e-2, atol=1e-3 * float(tensor.abs().max()))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = new_run(tmp_path_factory.mktemp("published"), "cpu")
    published.train(run)
    return run


def test_autoencoders_are_written_again_to_the_bit(run):
    parts = autoencoder_parts(run)
    checkpoint = Checkpoint.open(TRAINED / FILES["checkpoint"])
    for component, part in (
        (Component.VIDEO_ENCODER, "video_encoder"),
        (Component.VIDEO_DECODER, "video_decoder"),
        (Component.AUDIO_ENCODER, "audio_encoder"),
        (Component.AUDIO_DECODER, "audio_decoder"),
        (Component.VOCODER, "vocoder"),
    ):
        loaded, written = load_component(checkpoint, component).state_dict(), stored(parts[part])
        assert loaded.keys() <= written.keys()
        assert all(torch.equal(written[name].to(tensor), tensor) for name, tensor in loaded.items())
    larger = stored(spread_upsampler(load_tensors(weights_path(run.out, upsampler.PIECE))[0]))
    file = load_component(Checkpoint.open(TRAINED / FILES["upsampler"]), Component.UPSAMPLER).state_dict()
    assert all(torch.equal(larger[name].to(tensor), tensor) for name, tensor in file.items())


def test_components_are_both_maps_together(run):
    tensors = load_tensors(weights_path(run.out, "final-size"))[0]
    widths = [len(tensors[f"{name}_projection.weight"]) for name in ("video", "audio")]
    assert tensors["basis"].shape == (sizes.TEXT_CHANNELS * 19, sum(widths))
