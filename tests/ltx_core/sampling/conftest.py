"""A stand-in for the transformer: any velocity function, with every call recorded."""

from types import SimpleNamespace

import pytest
import torch


class ToyModel:
    """Calls `velocity(tokens, timesteps, guidance_pass)` for each modality and pass; keeps what it was given."""

    def __init__(self, velocity, num_layers=4):
        self.velocity = velocity
        self.params = SimpleNamespace(num_layers=num_layers)
        self.calls = []
        self.tables_made = 0

    def rope_tables(self, video_positions, audio_positions, reporter=None):
        self.tables_made += 1
        return ("video", video_positions), None if audio_positions is None else ("audio", audio_positions)

    def __call__(self, video, audio, passes, reporter=None):
        self.calls.append(SimpleNamespace(video=video, audio=audio, passes=list(passes)))
        return [
            tuple(None if m is None else self.velocity(m.tokens, m.timesteps, p) for m in (video, audio))
            for p in passes
        ]


@pytest.fixture
def toy_model():
    return ToyModel


@pytest.fixture
def garbage_model(rng):
    """A model that predicts large random velocities."""
    return ToyModel(lambda tokens, _t, _p: 50 * torch.randn(tokens.shape, generator=rng).to(tokens.dtype))
