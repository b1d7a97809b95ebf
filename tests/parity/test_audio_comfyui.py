"""Audio VAE and vocoder together against ComfyUI's own, which runs in a process of its own."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from ltx_duo.ltx_core.audio_vae import AudioDecoder, AudioEncoder, AudioVAEParams, waveform_to_mel
from ltx_duo.ltx_core.vocoder import VocoderParams, build_vocoder

ROOT = Path(__file__).parents[2]
COMFYUI = Path(os.environ.get("COMFYUI_DIR") or ROOT / ".local" / "comfyui-0.30.0")
CONFIG_23 = json.loads((ROOT / "tests" / "data" / "ltx-2.3-config.json").read_text())
STATISTICS = "per_channel_statistics."


def small_config() -> dict:
    # ComfyUI has 128 statistics whatever the config says, so the width stays and the depth shrinks.
    config = copy.deepcopy(CONFIG_23)
    config["audio_vae"]["model"]["params"]["ddconfig"].update(ch_mult=[1, 1, 1], num_res_blocks=1)
    config["vocoder"]["vocoder"]["upsample_initial_channel"] = 64
    config["vocoder"]["bwe"]["upsample_initial_channel"] = 32
    return config


def test_audio_equals_comfyui(tmp_path, parity, rng, randomise):
    config = small_config()
    params = AudioVAEParams.from_config(config)
    encoder = randomise(AudioEncoder(params), rng)
    decoder = randomise(AudioDecoder(params), rng)
    vocoder = randomise(build_vocoder(VocoderParams.from_config(config)), rng)
    statistics = {
        "mean-of-means": torch.randn(128, generator=rng),
        "std-of-means": 0.5 + torch.rand(128, generator=rng),
    }
    for module in (encoder, decoder):
        module.per_channel_statistics.load_state_dict(statistics, strict=True)
    latent = torch.randn(2, 8, 3, 16, generator=rng)
    waveform = torch.randn(2, 2, 4000, generator=rng) * 0.2
    mel = decoder(latent)
    for network, spectrum in ((vocoder.vocoder, mel), (vocoder.bwe_generator, vocoder.mel_stft(vocoder.vocoder(mel)))):
        network.conv_post.weight.mul_(0.02)
        network.conv_post.weight.mul_(0.3 / network(spectrum).std().clamp_min(1e-3))

    tensors = {f"model.vocoder.{name}": tensor for name, tensor in vocoder.state_dict().items()}
    for part, module in (("encoder", encoder), ("decoder", decoder)):
        for name, tensor in module.state_dict().items():
            path = name if name.startswith(STATISTICS) else f"{part}.{name}"
            tensors[f"model.autoencoder.{path}"] = tensor
    tensors |= {"latent": latent, "waveform": waveform}
    source, target = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, source, {"config": json.dumps(config)})
    script = Path(__file__).with_name("comfyui_audio.py")
    run = subprocess.run(
        [sys.executable, script, COMFYUI, source, target], capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stderr[-4000:]
    expected = load_file(target)

    name = "ComfyUI 0.30.0"
    parity.check("audio decoder", name, mel, expected["mel"], 1e-5)
    parity.check("audio encoder with mel front end", name, encoder(waveform_to_mel(waveform, 16000, params)),
                 expected["encoded"], 1e-5)  # fmt: skip
    parity.check("audio decoder and vocoder", name, vocoder(mel), expected["sound"], 1e-5)
    assert expected["sound"].std() > 0.05 and (expected["sound"].abs() == 1).float().mean() < 0.6
