"""Memory of activations: what `ltx_core.execution.memory_estimates` predicts, and what is measured.

    python benchmarks/memory.py [--part transformer ...] [--out FILE]

Prints a JSON line for each case: predicted and measured MiB and measured / predicted.  The components have the official
sizes and random weights; the transformer has few blocks, since its activations do not depend on how many there are.
`--cpu` proves that the script works: small sizes, and storages counted instead of allocations.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from contenders import in_fp8  # noqa: E402
from live_memory import peak_bytes  # noqa: E402
from workload import CASES, Scene, config, randomise  # noqa: E402

from ltx_duo.ltx_core import two_stage  # noqa: E402
from ltx_duo.ltx_core.audio_vae import AudioDecoder, AudioEncoder, AudioVAEParams, waveform_to_mel  # noqa: E402
from ltx_duo.ltx_core.execution import memory_estimates  # noqa: E402
from ltx_duo.ltx_core.execution.diffusion_estimate import diffusion_decoder  # noqa: E402
from ltx_duo.ltx_core.execution.splitting import Pieces, PiecewiseModel  # noqa: E402
from ltx_duo.ltx_core.text.encoder import TextEncoder  # noqa: E402
from ltx_duo.ltx_core.text.gemma_params import GemmaParams  # noqa: E402
from ltx_duo.ltx_core.text.params import FeatureExtractorParams  # noqa: E402
from ltx_duo.ltx_core.transformer.model import AVTransformer  # noqa: E402
from ltx_duo.ltx_core.transformer.params import TransformerParams  # noqa: E402
from ltx_duo.ltx_core.upsampler import LatentUpsampler, UpsamplerParams  # noqa: E402
from ltx_duo.ltx_core.video_vae import VideoDecoder, VideoEncoder, VideoVAEParams  # noqa: E402
from ltx_duo.ltx_core.video_vae.diffusion_decoder import DiffusionVideoDecoder  # noqa: E402
from ltx_duo.ltx_core.video_vae.diffusion_params import DiffusionDecoderParams  # noqa: E402
from ltx_duo.ltx_core.video_vae.diffusion_tiling import DIFFUSION_TILING, decode_by_diffusion  # noqa: E402
from ltx_duo.ltx_core.video_vae.tiling import Tiling, largest_tile  # noqa: E402
from ltx_duo.ltx_core.vocoder.model import Vocoder  # noqa: E402
from ltx_duo.ltx_core.vocoder.params import VocoderParams  # noqa: E402
from ltx_duo.scripts.small_model_parts.sizes import diffusion_vae_config, model_config  # noqa: E402

# Case name, predicted bytes, and the call to measure.
Case = tuple[str, float, Callable[[], object]]
UPSAMPLER = {"_class_name": "LatentUpsampler", "in_channels": 128, "mid_channels": 1024, "num_blocks_per_stage": 4,
             "dims": 3, "spatial_upsample": True, "temporal_upsample": False, "spatial_scale": 2.0,
             "rational_resampler": False}  # fmt: skip
PUBLISHED_DIFFUSION = {"_class_name": "CausalDiffusionVAE", "model_output_type": "x0",
                       "decoder": {"default_num_inference_steps": 1}}  # fmt: skip
GEMMA = {"model_type": "gemma3", "text_config": {
    "model_type": "gemma3_text", "vocab_size": 262208, "hidden_size": 3840, "intermediate_size": 15360,
    "num_hidden_layers": 48, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256,
    "query_pre_attn_scalar": 256, "sliding_window": 1024, "sliding_window_pattern": 6, "rope_theta": 1000000,
    "rope_local_base_freq": 10000, "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "rms_norm_eps": 1e-06,
    "max_position_embeddings": 131072, "attention_bias": False, "hidden_activation": "gelu_pytorch_tanh",
}}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Machine:
    """Where and at which sizes to measure."""

    device: str
    dtype: torch.dtype
    small: bool

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def config(self) -> dict:
        """The official one; on the CPU the small model's."""
        return model_config() if self.small else config()

    @property
    def copies(self) -> memory_estimates.Copies:
        """On the CPU nothing is counted but tensors."""
        return dataclasses.replace(memory_estimates.COPIES, fixed=0) if self.small else memory_estimates.COPIES

    def random(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape, device=self.device, dtype=self.dtype)

    def module(self, module: torch.nn.Module) -> torch.nn.Module:
        return randomise(module, 0).eval()


def transformer_cases(machine: Machine) -> Iterator[Case]:
    settings = config(4, small=machine.small)
    params = TransformerParams.from_config(settings)
    model = machine.module(AVTransformer(params, dtype=machine.dtype, device=machine.device))
    yield from _transformer_cases(machine, params, model, fp8=False)
    if not machine.small:
        yield from _transformer_cases(machine, params, in_fp8(model), fp8=True)


def _transformer_cases(machine: Machine, params: TransformerParams, model: AVTransformer, fp8: bool) -> Iterator[Case]:
    for name in ["small"] if machine.small else ["small", "stage-one", "stage-two"]:
        scene = Scene.draw(CASES[name], params, machine.device, machine.dtype, 0, 16 if machine.small else 1024)
        geometry = scene.case.geometry
        ropes = model.rope_tables(geometry.video_positions(machine.device), geometry.audio_positions(machine.device))
        for pieces in (Pieces(4), Pieces(2), Pieces(1), Pieces(1, 4), Pieces(1, 16)):
            rows = min(pieces.together, len(scene.passes()))
            if rows < pieces.together:
                continue
            predicted = memory_estimates.transformer(
                params, geometry, rows, 0, machine.itemsize, pieces.chunks, fp8, copies=machine.copies
            )
            piecewise = PiecewiseModel(model, pieces)
            label = f"{name}{', fp8' * fp8}, {pieces.together} together, {pieces.chunks} chunks"

            def call(piecewise=piecewise, scene=scene, ropes=ropes):
                return piecewise(*scene.inputs(ropes), scene.passes())

            yield label, predicted, call


def decoder_cases(machine: Machine) -> Iterator[Case]:
    params = VideoVAEParams.from_config(machine.config)
    decoder = machine.module(VideoDecoder(params, dtype=machine.dtype, device=machine.device))
    sizes = [(17, 128, 192)] if machine.small else [(49, 512, 768), (121, 512, 768), (121, 1024, 1536)]
    tilings = [Tiling(128, 32, 16, 8)] if machine.small else [Tiling(), Tiling(512, 64, 48, 24), Tiling(256, 64, 24, 8)]
    for frames, height, width in sizes:
        latent = machine.random(1, 128, (frames - 1) // 8 + 1, height // 32, width // 32)
        size = (frames, height, width)
        yield (
            f"whole {size}",
            memory_estimates.video_decoder(params, *size, machine.itemsize, machine.copies),
            lambda latent=latent: two_stage.decode_video(decoder, latent),
        )
        for tiling in tilings:
            tile = largest_tile(latent.shape, tiling)
            predicted = memory_estimates.tiled_decoder(params, size, tile, machine.itemsize, machine.copies)
            yield (
                f"{size} in tiles {tile}",
                predicted,
                lambda latent=latent, tiling=tiling: two_stage.decode_video(decoder, latent, tiling),
            )


def diffusion_cases(machine: Machine) -> Iterator[Case]:
    config = diffusion_vae_config(model_config()["vae"]) if machine.small else PUBLISHED_DIFFUSION
    params = DiffusionDecoderParams.from_config({"vae": config})
    decoder = machine.module(DiffusionVideoDecoder(params, dtype=machine.dtype, device=machine.device))
    sizes = [(17, 128, 192)] if machine.small else [(49, 512, 768), (121, 512, 768), (121, 1024, 1536)]
    small = Tiling(128, 32, 16, 8)
    tilings = [None, small] if machine.small else [None, DIFFUSION_TILING, Tiling(320, 160, 80, 40)]
    for frames, height, width in sizes:
        latent = machine.random(1, 128, (frames - 1) // 8 + 1, height // 32, width // 32)
        for tiling in tilings:
            yield (
                f"{(frames, height, width)} {'whole' if tiling is None else f'in tiles of {tiling.spatial_tile}'}",
                diffusion_decoder(params, frames, height, width, tiling, machine.itemsize, machine.copies),
                lambda latent=latent, tiling=tiling: decode_by_diffusion(decoder, latent, None, tiling),
            )


def encoder_cases(machine: Machine) -> Iterator[Case]:
    params = VideoVAEParams.from_config(machine.config)
    encoder = machine.module(VideoEncoder(params, dtype=machine.dtype, device=machine.device))
    for frames, height, width in (
        [(1, 128, 192), (9, 64, 96)] if machine.small else [(1, 512, 768), (1, 1024, 1536), (1, 2176, 3840)]
    ):
        pixels = machine.random(1, 3, frames, height, width)
        yield (
            f"{(frames, height, width)}",
            memory_estimates.video_encoder(params, frames, height, width, machine.itemsize, machine.copies),
            lambda pixels=pixels: encoder(pixels),
        )


def upsampler_cases(machine: Machine) -> Iterator[Case]:
    params = UpsamplerParams.from_config({**UPSAMPLER, "mid_channels": 64} if machine.small else UPSAMPLER)
    module = machine.module(LatentUpsampler(params, dtype=machine.dtype, device=machine.device))
    for frames, height, width in [(3, 8, 12)] if machine.small else [(16, 16, 24), (31, 16, 24), (16, 34, 60)]:
        latent = machine.random(1, 128, frames, height, width)
        yield (
            f"to {(frames, 2 * height, 2 * width)} cells",
            memory_estimates.upsampler(params, frames, 2 * height, 2 * width, machine.itemsize, machine.copies),
            lambda latent=latent: module(latent),
        )


def text_cases(machine: Machine) -> Iterator[Case]:
    for layers in (6, 18):
        yield from _text_cases(machine, layers)


def _text_cases(machine: Machine, layers: int) -> Iterator[Case]:
    settings = GEMMA["text_config"] | {"num_hidden_layers": layers}
    if machine.small:
        settings |= {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 2,
                     "num_key_value_heads": 1, "head_dim": 16}  # fmt: skip
    params = GemmaParams.from_hf_config({**GEMMA, "text_config": settings})
    projection = FeatureExtractorParams.from_config(machine.config, params.hidden_size, params.layers + 1)
    encoder = machine.module(TextEncoder(params, projection, dtype=machine.dtype, device=machine.device))
    for tokens in [32] if machine.small else [64, 256, 1024]:
        ids = torch.randint(0, 500, (1, tokens), device=machine.device)
        predicted = memory_estimates.text_encoder(params, tokens, machine.itemsize, machine.copies)
        yield f"{tokens} tokens, {params.layers} layers", predicted, lambda ids=ids: encoder.features(ids)


def heard_cases(machine: Machine) -> Iterator[Case]:
    params = AudioVAEParams.from_config(machine.config)
    encoder = machine.module(AudioEncoder(params, device=machine.device))
    for latents in [2] if machine.small else [32, 126, 501]:
        waveform = torch.randn(1, 2, latents * 640, device=machine.device)
        yield (
            f"{latents} latents",
            memory_estimates.audio_encoder(params, latents, machine.copies),
            lambda waveform=waveform: encoder(waveform_to_mel(waveform, 16000, params)),
        )


def sound_cases(machine: Machine) -> Iterator[Case]:
    settings = machine.config
    decoder = machine.module(AudioDecoder(AudioVAEParams.from_config(settings), device=machine.device))
    vocoder = machine.module(Vocoder(VocoderParams.from_config(settings), device=machine.device))
    for latents in [2] if machine.small else [32, 126, 501]:
        latent = torch.randn(1, 8, latents, 16, device=machine.device)
        yield (
            f"{latents} latents",
            memory_estimates.audio_decoder(latents, machine.copies),
            lambda latent=latent: two_stage.decode_audio(decoder, vocoder, latent),
        )


PARTS = {"transformer": transformer_cases, "video decoder": decoder_cases, "diffusion decoder": diffusion_cases,
         "video encoder": encoder_cases,
         "upsampler": upsampler_cases, "text encoder": text_cases, "sound encoder": heard_cases,
         "sound": sound_cases}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--part", choices=PARTS, action="append", help="only these; all by default")
    parser.add_argument("--cpu", action="store_true", help="small sizes on the CPU: does the script work?")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    machine = Machine("cpu", torch.float32, True) if arguments.cpu else Machine("cuda", torch.bfloat16, False)
    report = {"machine": "cpu" if arguments.cpu else torch.cuda.get_device_name(), "torch": torch.__version__,
              "copies": dataclasses.asdict(memory_estimates.COPIES), "parts": {}}  # fmt: skip

    def save() -> None:
        if arguments.out:
            arguments.out.write_text(json.dumps(report, indent=1) + "\n")

    with torch.inference_mode():
        for part in arguments.part or PARTS:
            rows = report["parts"][part] = []
            for name, predicted, call in PARTS[part](machine):
                try:
                    measured = peak_bytes(call, machine.device)
                except torch.OutOfMemoryError:
                    measured = float("nan")
                rows.append(row(part, name, predicted, measured))
                sys.stdout.write(json.dumps(rows[-1]) + "\n")
                sys.stdout.flush()
                save()
            if not arguments.cpu:
                torch.cuda.empty_cache()


def row(part: str, name: str, predicted: float, measured: float) -> dict:
    mib = 2**20
    return {
        "part": part,
        "case": name,
        "predicted_mib": round(predicted / mib, 1),
        "measured_mib": None if measured != measured else round(measured / mib, 1),
        "ratio": None if measured != measured else round(measured / predicted, 3),
    }


if __name__ == "__main__":
    main()
