"""Runs ComfyUI's own audio VAE and vocoder in a process of its own: `python comfyui_audio.py COMFYUI_DIR IN OUT`.

IN (safetensors): metadata `config`; tensors `model.<ComfyUI's names>`, `latent`, `waveform` (16 kHz).
OUT: `mel` decoded from the latent, `sound` decoded from it, `encoded` latent of the waveform.
"""

import contextlib
import sys

import torch
from safetensors import safe_open
from safetensors.torch import save_file

comfyui, source, target = sys.argv[1:4]
sys.argv = sys.argv[:1]
sys.path.insert(0, comfyui)
with contextlib.suppress(ImportError):
    import torchvision_cpu_ops  # noqa: F401  (a CPU-only torchvision may need it)
import comfy.cli_args  # noqa: E402

comfy.cli_args.args.cpu = True
from comfy.ldm.lightricks.vae.audio_vae import AudioVAE  # noqa: E402

with safe_open(source, "pt") as file, torch.no_grad():
    tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    model = AudioVAE(file.metadata()).eval()
    weights = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
    model.load_state_dict(weights, strict=True)
    latent = tensors["latent"]
    mel = model.autoencoder.decode(
        model.normalizer.denormalize(latent), target_shape=model.target_shape_from_latents(latent.shape)
    )
    results = {"mel": mel, "sound": model.decode(latent), "encoded": model.encode(tensors["waveform"], 16000)}
save_file({name: tensor.contiguous() for name, tensor in results.items()}, target)
