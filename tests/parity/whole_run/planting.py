"""What a planted mistake may spoil, and how far it moves a final result."""

import copy
from collections.abc import Mapping
from dataclasses import replace

import pytest
from torch import nn

from ltx_duo.ltx_core import two_stage

from .scene import bar

FINAL = ("stage two video latent", "stage two audio latent", "frames", "waveform")


class Run:
    """One run of ours that a plant may spoil: its components, its request, its settings, and a monkeypatch."""

    def __init__(self, components: two_stage.Components, patch: pytest.MonkeyPatch):
        self.components = components
        self.patch = patch
        self.settings = {}

    def spoil(self, component: str) -> nn.Module:
        """A copy of a component for this run alone."""
        module = copy.deepcopy(getattr(self.components, component))
        self.components = replace(self.components, **{component: module})
        return module


def times_the_bar(errors: Mapping[str, float]) -> float:
    """By how many times its bar the worst of the final results is off."""
    return max(errors[name] / bar(name) for name in FINAL if name in errors)
