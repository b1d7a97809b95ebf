"""Drawn clips that only went through the autoencoders: no transformer can give more."""

import torch

from ltx_duo.demo_model.world import sound
from ltx_duo.demo_model.world.scenes import FPS
from ltx_duo.ltx_core import two_stage
from ltx_duo.ltx_core.audio_vae.mel import waveform_to_mel
from ltx_duo.ltx_core.checkpoint import Checkpoint, Component
from ltx_duo.ltx_core.loading import load_component

from .studio import DTYPE, SAMPLE_RATE, SIZE, Film, Model, Sketch, drawn
from .takes import Take


@torch.no_grad()
def through_autoencoders(model: Model, take: Take) -> Film:
    """A film whose stage two is the drawn clip and sound, encoded, and whose stage one is the clip at half the size."""
    c = model.components
    encoder = load_component(Checkpoint.open(model.files.checkpoint), Component.AUDIO_ENCODER, dtype=DTYPE)
    mel = waveform_to_mel(sound([take.scene]), SAMPLE_RATE, encoder.params)
    audio = encoder(mel)
    half, whole = (
        c.video_encoder(drawn(take.scene, size).permute(3, 0, 1, 2)[None] * 2 - 1) for size in (SIZE // 2, SIZE)
    )
    frames = two_stage.decode_video(c.video_decoder, whole)
    waveform = two_stage.decode_audio(c.audio_decoder, c.vocoder, audio)
    first, second = (two_stage.AVLatent(latent, audio) for latent in (half, whole))
    return Film(take, two_stage.Result(frames, FPS, waveform, SAMPLE_RATE, first, second), Sketch(take, first, c))
