"""As test_planted_mistakes.py, for what LTX-2.0 alone has: each wrong formula moves a final result beyond its bar."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ltx_duo.ltx_core import two_stage
from ltx_duo.ltx_core.text.feature_extractor_v20 import FeatureExtractorV20
from ltx_duo.ltx_core.transformer.model import CaptionProjection
from ltx_duo.ltx_core.vocoder import hifigan
from ltx_duo.tests.parity.whole_run import our_pipeline
from ltx_duo.tests.parity.whole_run.planting import Run, times_the_bar
from ltx_duo.tests.parity.whole_run.scene import bar, errors

MADE = "two-stage", "image and keyframe"


def normalised(run: Run, normalise: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """The projection's input is every state (1, T, hidden), normalised in that way."""

    def project(self, states):
        flat = torch.stack([normalise(state) for state in states], dim=-1).flatten(2)
        features = self.aggregate_embed(flat)
        return features, features

    run.patch.setattr(FeatureExtractorV20, "forward", project)


def states_normalised_token_by_token(run: Run) -> None:
    """As LTX-2.3 takes its mean over the channels of one token, instead of over the whole text."""

    def normalise(x):
        span = x.amax(dim=2, keepdim=True) - x.amin(dim=2, keepdim=True)
        return 8 * (x - x.mean(dim=2, keepdim=True)) / (span + 1e-6)

    normalised(run, normalise)


def states_normalised_as_in_2_3(run: Run) -> None:
    normalised(run, lambda x: x * (x.square().mean(dim=2, keepdim=True) + 1e-6).rsqrt())


def states_not_eight_times_as_large(run: Run) -> None:
    def normalise(x):
        return (x - x.mean()) / (x.amax() - x.amin() + 1e-6)

    normalised(run, normalise)


def states_in_layer_order(run: Run) -> None:
    """The text projection's inputs flattened layer by layer instead of channel by channel."""
    extractor = run.spoil("text_encoder").feature_extractor
    linear, states = extractor.aggregate_embed, extractor.params.states
    linear.weight.data = linear.weight.data.unflatten(1, (states, -1)).transpose(1, 2).flatten(1)


def one_connector_for_both(run: Run) -> None:
    """They are equally wide: the sound's text goes through the video's."""
    connect = two_stage.connect
    run.patch.setattr(two_stage, "connect", lambda video, audio, *texts: connect(video, video, *texts))


def text_projected_with_another_activation(run: Run) -> None:
    def project(self, features):
        return self.linear_2(F.silu(self.linear_1(features)))

    run.patch.setattr(CaptionProjection, "forward", project)


def text_projected_without_activation(run: Run) -> None:
    run.patch.setattr(CaptionProjection, "forward", lambda self, features: self.linear_2(self.linear_1(features)))


def decoder_padded_with_zeros(run: Run) -> None:
    for module in run.spoil("video_decoder").modules():
        if getattr(module, "reflect", False):
            module.reflect = False
            module.conv.padding = (0, 1, 1)


def decoder_enlarges_without_its_input(run: Run) -> None:
    for module in run.spoil("video_decoder").modules():
        if getattr(module, "repeats", 0):
            module.repeats = 0


def upsampler_blurs(run: Run) -> None:
    """The rational resampler's blur, which belongs to its other scales alone."""

    class Blur(nn.Module):
        def __init__(self, kernel):
            super().__init__()
            self.kernel = kernel

        def forward(self, x):
            return F.conv2d(x, self.kernel.expand(x.shape[1], -1, -1, -1), padding=2, groups=x.shape[1])

    resampler = run.spoil("upsampler").upsampler
    resampler.blur_down = Blur(resampler.blur_down.kernel)


def last_leak_like_the_others(run: Run) -> None:
    run.patch.setattr(hifigan, "_OUTPUT_LEAK", hifigan.LEAK)


def other_leaks_like_the_last(run: Run) -> None:
    run.patch.setattr(hifigan, "LEAK", hifigan._OUTPUT_LEAK)


def sound_clamped_instead_of_tanh(run: Run) -> None:
    object.__setattr__(run.spoil("vocoder").params, "final_activation", "clamp")


PLANTS: tuple[Callable[[Run], None], ...] = (
    states_normalised_token_by_token,
    states_normalised_as_in_2_3,
    states_not_eight_times_as_large,
    states_in_layer_order,
    one_connector_for_both,
    text_projected_with_another_activation,
    text_projected_without_activation,
    decoder_padded_with_zeros,
    decoder_enlarges_without_its_input,
    upsampler_blurs,
    last_leak_like_the_others,
    other_leaks_like_the_last,
    sound_clamped_instead_of_tanh,
)


@pytest.fixture
def compare(model_2_0, scenes, vendor_trace_2_0, components_2_0, monkeypatch) -> Callable[..., dict[str, float]]:
    def compare(plant: Callable[[Run], None]) -> dict[str, float]:
        name, scene = MADE
        run = Run(components_2_0, monkeypatch)
        plant(run)
        ours = our_pipeline.run(run.components, model_2_0, scenes[scene], name, stage_one_sound=True, **run.settings)
        return errors(ours, vendor_trace_2_0(name, scene, True))

    return compare


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_mistake_is_seen(plant, compare, parity):
    found = compare(plant)
    times = times_the_bar(found)
    parity.add_mistake("2.0: " + plant.__name__.replace("_", " "), times)
    assert times > 1, {name: f"{error:.1e}" for name, error in found.items()}


def test_without_a_mistake_all_is_well(compare):
    found = compare(lambda run: None)
    assert all(error <= bar(name) for name, error in found.items()), found
