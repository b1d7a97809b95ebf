"""The transformer against diffusers': every guidance pass, image tokens, keyframes, LTX-2.3, 2.0 and 2.5."""

import copy
import dataclasses
import json
import sys
from pathlib import Path

import pytest
import torch

from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.transformer.inputs import GuidancePass, ModalityInput
from ltx_duo.ltx_core.transformer.model import AVTransformer
from ltx_duo.ltx_core.transformer.params import TransformerParams

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from diffusers_peer import diffusers_name, settings  # noqa: E402

DIFFUSERS = "diffusers 0.42.1"
TOLERANCE = 1e-5
PERTURBED = 1
SCALE = 1000
GEOMETRY = LatentGeometry(width=128, height=64, frames=17, fps=24.0)
OFFICIAL = json.loads((Path(__file__).parents[1] / "data" / "ltx-2.3-config.json").read_text())


def small_params(version: str) -> TransformerParams:
    config = copy.deepcopy(OFFICIAL)
    config["transformer"] |= {
        "num_layers": 3,
        "num_attention_heads": 4,
        "attention_head_dim": 28,  # as in the real model, two angles more than three axes take
        "cross_attention_dim": 112,
        "audio_num_attention_heads": 4,
        "audio_attention_head_dim": 16,
        "audio_cross_attention_dim": 64,
    }
    if version == "2.0":
        config["transformer"] |= {
            "apply_gated_attention": False,
            "cross_attention_adaln": False,
            "caption_proj_before_connector": False,
            "caption_channels": 48,
        }
    if version.startswith("2.5"):
        config["transformer"] |= {"ff_bias": False, "use_keyframes_abs_pos_embedding": True}
    if version == "2.5's form without prompt timesteps":
        config["transformer"] |= {"audio_ff_bias": False, "use_prompt_adaln_single": False}
    return TransformerParams.from_config(config)


def diffusers_model(params: TransformerParams) -> torch.nn.Module:
    from diffusers import LTX2VideoTransformer3DModel

    return LTX2VideoTransformer3DModel(**settings(params)).eval()


class Scene:
    """Random noisy tokens and prompts at true positions; with an image, masks of 0, 1 and between and a keyframe."""

    def __init__(self, rng, params: TransformerParams, *, image: bool):
        video_positions, audio_positions = GEOMETRY.video_positions(), GEOMETRY.audio_positions()
        if image:
            video_positions = torch.cat((video_positions, GEOMETRY.keyframe_positions(8)), dim=2)
        self.positions = (video_positions, audio_positions)
        tokens, audio_tokens, frame = video_positions.shape[2], audio_positions.shape[2], GEOMETRY.frame_tokens
        mask = torch.ones(1, tokens)
        if image:
            mask[:, :frame] = torch.tensor([0.0, 0.35]).repeat(frame // 2)
            mask[:, -frame:] = 0.1
        # In text-to-video both modalities share one sigma, as in every pipeline.
        sigmas = torch.rand(2, 1, generator=rng) * 0.8 + 0.1
        self.sigmas = (sigmas[0], sigmas[1] if image else sigmas[0])
        self.timesteps = (mask * self.sigmas[0], torch.ones(1, audio_tokens) * self.sigmas[1])
        self.tokens = (
            torch.randn(1, tokens, 128, generator=rng),
            torch.randn(1, audio_tokens, 128, generator=rng),
        )
        # Of 2.5: the first frame, and with an image half of the keyframe, as if that were generated.
        self.single_frames = torch.arange(tokens) < frame
        self.single_frames[tokens - frame // 2 :] |= image
        widths = [params.caption_channels or stream.context_dim for stream in (params.video, params.audio)]
        positive, negative = ([torch.randn(1, 9, w, generator=rng) for w in widths] for _ in range(2))
        blocks = frozenset({PERTURBED})
        self.passes = (
            GuidancePass("cond", *positive),
            GuidancePass("negative", *negative),
            GuidancePass("perturbed", *positive, perturbed_video_blocks=blocks, perturbed_audio_blocks=blocks),
            GuidancePass("isolated", *positive, isolated=True),
        )

    def ours(self, model: AVTransformer):
        ropes = model.rope_tables(*self.positions)
        marks = (self.single_frames, None)
        modalities = zip(self.tokens, self.timesteps, self.sigmas, ropes, marks, strict=True)
        inputs = (ModalityInput(*own, single_frames=mark) for *own, mark in modalities)
        return model(*inputs, self.passes)

    def theirs(self, model, guidance_pass: GuidancePass, *, cross_timestep: bool):
        return model(
            hidden_states=self.tokens[0],
            audio_hidden_states=self.tokens[1],
            encoder_hidden_states=guidance_pass.video_context,
            audio_encoder_hidden_states=guidance_pass.audio_context,
            timestep=self.timesteps[0] * SCALE,
            audio_timestep=self.timesteps[1] * SCALE,
            sigma=self.sigmas[0] * SCALE,
            audio_sigma=self.sigmas[1] * SCALE,
            video_coords=self.positions[0],
            audio_coords=self.positions[1],
            video_keyframes_mask=self.single_frames[None, :, None].float(),
            isolate_modalities=guidance_pass.isolated,
            spatio_temporal_guidance_blocks=sorted(guidance_pass.perturbed_video_blocks),
            use_cross_timestep=cross_timestep,
            return_dict=False,
        )


@pytest.mark.parametrize(
    ("version", "timestep", "image"),
    [
        ("2.3", "other", False),
        ("2.3", "other", True),
        ("2.3", "own", False),
        # Diffusers' rule for 2.0 takes even the gate from the modality's own timestep: no difference without images.
        ("2.0", "own", False),
        ("2.0", "other", True),
        ("2.5", "other", False),
        ("2.5", "other", True),
        ("2.5's form without prompt timesteps", "other", True),
    ],
)
def test_velocity_of_every_pass(version, timestep, image, rng, parity, randomise):
    params = dataclasses.replace(small_params(version), cross_timestep=timestep)
    ours = randomise(AVTransformer(params), rng).eval()
    theirs = diffusers_model(params)
    theirs.load_state_dict({diffusers_name(k): v for k, v in ours.state_dict().items()}, strict=True)
    scene = Scene(rng, params, image=image)
    name = f"transformer {version} ({timestep} cross timestep), {'image and keyframe' if image else 'text'}"
    for guidance_pass, velocities in zip(scene.passes, scene.ours(ours), strict=True):
        references = scene.theirs(theirs, guidance_pass, cross_timestep=timestep == "other")
        for modality, velocity, reference in zip(("video", "audio"), velocities, references, strict=True):
            what = f"{name}, {guidance_pass.name}: {modality} velocity"
            parity.check(what, DIFFUSERS, velocity, reference, TOLERANCE)


def test_positions(parity):
    """Video tokens' and audio latents' bounds in pixels and seconds."""
    model = diffusers_model(small_params("2.3"))
    video = model.rope.prepare_video_coords(
        1, GEOMETRY.latent_frames, GEOMETRY.latent_height, GEOMETRY.latent_width, torch.device("cpu"), fps=GEOMETRY.fps
    )
    audio = model.audio_rope.prepare_audio_coords(1, GEOMETRY.audio_frames, torch.device("cpu"))
    parity.check("video positions", DIFFUSERS, GEOMETRY.video_positions(), video, 0)
    parity.check("audio positions", DIFFUSERS, GEOMETRY.audio_positions(), audio, 0)
