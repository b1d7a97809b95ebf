"""The trained pieces' files together: the engine opens them as an LTX-2.3 and finds in them what was trained."""

import pytest
import torch

from ltx_duo.demo_model.training import audio_vae, network, video_vae, vocoder, write
from ltx_duo.demo_model.training.checkpoints import save_tensors, weights_path
from ltx_duo.demo_model.training.run import Run, new_run
from ltx_duo.demo_model.training.sizes import TEXT_CHANNELS, model_config, upsampler_config
from ltx_duo.demo_model.training.text_features import Components
from ltx_duo.ltx_core.checkpoint import Checkpoint, Component
from ltx_duo.ltx_core.loading import load_component
from ltx_duo.ltx_core.upsampler import LatentUpsampler, UpsamplerParams
from ltx_duo.ltx_core.variant import Variant

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
        "final-size": network.TextToAV(config, COMPONENTS),
    }
    network.initialise(pieces["final-size"], torch.Generator().manual_seed(0))
    pieces["video-vae"].set_statistics(torch.linspace(-1, 1, 128), torch.linspace(0.5, 2, 128))
    states = {name: piece.state_dict() for name, piece in pieces.items()}
    width = TEXT_CHANNELS * STATES
    states["final-size"] |= vars(Components(torch.zeros(width), torch.randn(width, COMPONENTS)))
    states["lora"] = {f"diffusion_model.patchify_proj.lora_{side}.weight": torch.ones(2, 2) for side in "AB"}
    for name, tensors in states.items():
        save_tensors(weights_path(run.out, name), tensors)
    write.train(run)
    return run, pieces


@pytest.mark.parametrize(
    ("component", "piece", "inside"),
    [
        (Component.VIDEO_ENCODER, "video-vae", "encoder"),
        (Component.VIDEO_DECODER, "video-vae", "decoder"),
        (Component.AUDIO_ENCODER, "audio-vae", "encoder"),
        (Component.AUDIO_DECODER, "audio-vae", "decoder"),
        (Component.VOCODER, "vocoder", ""),
        (Component.TRANSFORMER, "final-size", "transformer"),
        (Component.VIDEO_CONNECTOR, "final-size", "video_connector"),
        (Component.AUDIO_CONNECTOR, "final-size", "audio_connector"),
        (Component.UPSAMPLER, "upsampler", ""),
    ],
)
def test_engine_loads_what_was_trained(written, component, piece, inside):
    run, pieces = written
    file = "upsampler" if component is Component.UPSAMPLER else "checkpoint"
    loaded = load_component(Checkpoint.open(run.out / write.FILES[file]), component).state_dict()
    expected = pieces[piece].get_submodule(inside).state_dict()
    assert loaded.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(loaded[name].float(), tensor.bfloat16().float(), rtol=0, atol=0, msg=name)


def test_files_say_what_they_are(written):
    run, _ = written
    checkpoint = Checkpoint.open(run.out / write.FILES["checkpoint"])
    assert checkpoint.variant is Variant.V2_3
    assert checkpoint.config == model_config(small=True)
    assert Component.TEXT_PROJECTION in checkpoint.key_maps
    assert Component.LORA in Checkpoint.open(run.out / write.FILES["lora"]).key_maps


def test_missing_piece_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="train the piece final-size first"):
        write.train(new_run(tmp_path, "cpu", small=True))
