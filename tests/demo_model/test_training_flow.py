"""What the transformer's training computes, against the formulas and against how inference does it."""

import random

import pytest
import torch

from ltx_duo.demo_model.training.capture import refill
from ltx_duo.demo_model.training.flat_adamw import BETAS, SIZE, FlatAdamW
from ltx_duo.demo_model.training.flow import (
    Kind,
    draw_batch,
    draw_first_frames,
    draw_sigmas,
    flow_loss,
    noisy,
    token_levels,
    velocities,
)  # fmt: skip
from ltx_duo.demo_model.training.latents import alike, geometry
from ltx_duo.demo_model.training.lora import Batch as LoraBatch
from ltx_duo.demo_model.training.lora import distillation_loss
from ltx_duo.demo_model.training.lora_layers import LoraOps, begin
from ltx_duo.demo_model.training.network import TextToAV, attention
from ltx_duo.demo_model.training.pools import Pools
from ltx_duo.demo_model.training.runs import Runs
from ltx_duo.demo_model.training.sizes import model_config
from ltx_duo.demo_model.training.text_features import Components, TextPool, principal_components
from ltx_duo.demo_model.world import draw_scene
from ltx_duo.ltx_core.kernels.norm import Norm, TokenVector, modulate, modulated_norm, residual, residual_norm
from ltx_duo.ltx_core.sampling.denoiser import guided_denoiser
from ltx_duo.ltx_core.sampling.euler import sample_euler
from ltx_duo.ltx_core.sampling.guidance import OFF, Contexts
from ltx_duo.ltx_core.sampling.noise import noised
from ltx_duo.ltx_core.sampling.patchify import unpatchify_video
from ltx_duo.ltx_core.sampling.schedule import STAGE_TWO, ltx2_sigmas
from ltx_duo.ltx_core.sampling.state import AVState, audio_state, video_state
from ltx_duo.ltx_core.text.feature_extractor import FeatureExtractor, flatten_states
from ltx_duo.ltx_core.text.params import FeatureExtractorParams
from ltx_duo.ltx_core.transformer.inputs import GuidancePass, ModalityInput
from ltx_duo.ltx_core.transformer.model import AVTransformer

COMPONENTS = 12


@pytest.fixture
def network(rng) -> TextToAV:
    """Random everywhere, so that nothing hides behind a zero."""
    module = TextToAV(model_config(small=True), COMPONENTS)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=rng) * (0.3 if p.ndim == 1 else p.shape[-1] ** -0.5))
    return module


@pytest.fixture
def data(rng) -> Pools:
    lengths = torch.tensor([3, 7, 5, 4, 1, 9])
    text = TextPool(torch.randn(29, COMPONENTS, generator=rng), lengths.cumsum(0) - lengths, lengths)
    videos = {32: torch.randn(1, 4, 5, 128, generator=rng)}
    return Pools(videos, torch.randn(1, 4, 34, 128, generator=rng), text, Components(torch.zeros(1), torch.zeros(1)))


def test_velocities_are_those_of_inference(network, data, rng):
    """Runs of tokens, shared captions and padded text change nothing but the speed."""
    kind = Kind(32, contexts=2, share=2, places=128)
    ropes = network.ropes(geometry(32), 128, torch.device("cpu"))
    batch = draw_batch(data, kind, 0.3, rng)
    video, audio = velocities(network, batch, kind, ropes)
    assert video.requires_grad
    levels = token_levels(batch.video_timesteps, 32).squeeze(-1)
    with torch.no_grad():
        for row in range(4):
            text = batch.text[row // 2, : batch.lengths[row // 2]][None]
            contexts = []
            for projection, connector in (
                (network.video_projection, network.video_connector),
                (network.audio_projection, network.audio_connector),
            ):
                features = projection(text)
                places = torch.cat((features, connector.learnable_registers[None, features.shape[1] :]), dim=1)
                contexts.append(connector.mix(places, connector.rope(128)))
            own = slice(row, row + 1)
            sigma = batch.sigmas[own]
            inputs = (
                ModalityInput(batch.video[own], levels[own], sigma, ropes.video),
                ModalityInput(batch.audio[own], sigma.expand(1, 34), sigma, ropes.audio),
            )
            expected = network.transformer(*inputs, [GuidancePass("cond", *contexts)])[0]
            torch.testing.assert_close(video[own].detach(), expected[0], rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(audio[own].detach(), expected[1], rtol=1e-3, atol=1e-4)


def test_noisy_tokens_and_target(rng):
    clean = torch.randn(2, 5, 128, generator=rng)
    levels = token_levels(torch.tensor([[0.0, 0.8], [0.2, 0.4]]), 32)
    assert levels[..., 0].tolist() == [pytest.approx(row) for row in ([0.0] + [0.8] * 4, [0.2] + [0.4] * 4)]
    mixed, velocity = noisy(clean, levels, rng)
    torch.testing.assert_close(mixed - levels * velocity, clean)
    assert torch.equal(mixed[0, 0], clean[0, 0]) and abs(float((velocity + clean).std()) - 1) < 0.1


def test_an_image_is_kept_as_inference_keeps_it(rng):
    """At strength s the first frame's tokens stand at noise level (1 - s) * sigma, not at sigma."""
    clean = torch.randn(1, 5, 128, generator=rng)
    noise = torch.randn(1, 5, 128, generator=rng)
    state = video_state(geometry(32), dtype=torch.float32)
    state.clean[:, :1] = clean[:, :1]
    state.denoise_mask[:, :1] = 1 - 0.7
    first = noised(state, noise, 1.0).latent[:, 0]
    torch.testing.assert_close(first, 0.7 * clean[:, 0] + 0.3 * noise[:, 0])
    torch.testing.assert_close(state.timesteps(torch.tensor([0.9]))[0, :2], torch.tensor([0.27, 0.9]))
    levels = draw_first_frames(torch.full((4000,), 0.9), rng, share=0.5)
    assert torch.all(levels[:, 1] == 0.9) and torch.all((levels[:, 0] >= 0) & (levels[:, 0] <= 0.9))
    assert abs(float((levels[:, 0] == 0).float().mean()) - 0.3) < 0.03
    assert abs(float((levels[:, 0] == 0.9).float().mean()) - 0.5) < 0.03


def test_noise_levels_cover_the_schedule(rng):
    """Every step of the schedule lies among levels that were often trained."""
    levels = draw_sigmas(4096, rng)
    assert levels.min() >= 0.01 and levels.max() <= 1
    counts = torch.histc(levels, bins=10, min=0.0, max=1.0) / len(levels)
    asked = torch.histc(ltx2_sigmas(30)[:-1], bins=10, min=0.0, max=1.0) / 30
    assert counts.min() > 0.03 and torch.all(counts > 0.4 * asked)


def test_loss_leaves_out_what_is_given(data, rng):
    batch = draw_batch(data, Kind(32, 2, 2, 128), 0.0, rng)
    batch.first_weight[:] = torch.tensor([0.0, 1.0, 0.0, 1.0])
    video, audio = batch.video_target.clone(), batch.audio_target
    video[::2, 0] += 100
    assert [float(term) for term in flow_loss((video, audio), batch, 32)] == [0.0, 0.0]
    video[1, 0] += 1
    assert flow_loss((video, audio), batch, 32)[0] == pytest.approx(1 / 18)


def test_captions_are_dropped_for_both_negatives(data, rng):
    numbers = data.captions(torch.zeros(4000, dtype=torch.long), rng, 0.2)
    shares = torch.bincount(numbers, minlength=6) / 4000
    assert shares.tolist() == pytest.approx([0.2] * 4 + [0.1] * 2, abs=0.03)
    values, lengths = data.text.take(torch.tensor([1, 5]), 9)
    assert lengths.tolist() == [7, 9]
    assert torch.equal(values[0, :7], data.text.values[3:10]) and torch.equal(values[1], data.text.values[20:])


def test_rows_that_share_keys_are_attended_as_if_each_had_its_own(rng):
    q, k, v = (torch.randn(n, 2, t, 8, generator=rng) for n, t in ((6, 5), (2, 7), (2, 7)))
    expected = attention(q, k.repeat_interleave(3, dim=0), v.repeat_interleave(3, dim=0))
    torch.testing.assert_close(attention(q, k, v), expected)


def test_projection_in_the_file_equals_the_components(network, rng):
    """Up to bfloat16: the official layer on all normalised states, and the trained one on their components."""
    states = [torch.randn(1, 300, 16, generator=rng) + 3 * torch.randn(16, generator=rng) for _ in range(3)]
    components = principal_components(flatten_states(states)[0], COMPONENTS, rng)
    official = network.official(components, 16)["text_projection"]
    extractor = FeatureExtractor(FeatureExtractorParams(16, 3, 64, 32))
    extractor.load_state_dict(official)
    values = components.of(flatten_states(states))
    with torch.no_grad():
        for made, projection in zip(
            extractor(states), (network.video_projection, network.audio_projection), strict=True
        ):
            wanted = projection(values)
            assert (made - wanted).norm() < 0.02 * wanted.norm()


def test_components_are_the_largest_ones(rng):
    mixing = torch.randn(4, 30, generator=rng) * torch.tensor([[9.0], [5.0], [3.0], [2.0]])
    states = torch.randn(500, 4, generator=rng) @ mixing + 0.01 * torch.randn(500, 30, generator=rng) + 7
    components = principal_components(states, 4, rng)
    values = components.of(states)
    assert values.mean(0).abs().max() < 0.05 and values.std(0).max() < 1.1
    again = torch.linalg.lstsq(values, states - components.mean).solution
    assert (values @ again + components.mean - states).norm() < 0.01 * (states - states.mean(0)).norm()


def test_flat_adamw_is_adamw(rng):
    layers = [torch.nn.Linear(5, 3) for _ in range(2)]
    layers[1].load_state_dict(layers[0].state_dict())
    mine = FlatAdamW(layers[0], dtype=torch.float32, weight_decay=0.1, clip=1e9)
    decay = [{"params": [layers[1].weight], "weight_decay": 0.1}, {"params": [layers[1].bias], "weight_decay": 0.0}]
    theirs = torch.optim.AdamW(decay, lr=0.01, betas=BETAS)
    for _ in range(5):
        x = torch.randn(4, 5, generator=rng)
        for layer in layers:
            layer(x).square().sum().backward()
        mine.step(torch.tensor(0.01))
        theirs.step()
        theirs.zero_grad()
    for own, other in zip(layers[0].parameters(), layers[1].parameters(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-6)
        assert own.grad.abs().max() == 0


def test_matrices_that_muon_learns_move_in_all_directions_alike(rng):
    layers = torch.nn.ModuleList([torch.nn.Linear(8, 16, bias=False) for _ in range(2)] + [torch.nn.Linear(4, 6)])
    optimizer = FlatAdamW(layers, dtype=torch.float32, muon=lambda name: not name.startswith("2."), clip=1e9)
    before = [p.detach().clone() for p in layers.parameters()]
    loss = sum(layer(torch.randn(5, layer.in_features, generator=rng)).square().sum() for layer in layers)
    loss.backward()
    optimizer.step(torch.tensor(0.01))
    moved = [(b - p.detach()) / 0.01 for b, p in zip(before, layers.parameters(), strict=True)]
    for update in moved[:2]:
        sizes = torch.linalg.svdvals(update / (SIZE * 16**0.5))
        assert ((sizes[:5] > 0.6) & (sizes[:5] < 1.3)).all()  # five samples give five directions
    assert torch.allclose(moved[2].abs(), torch.ones(6, 4), atol=1e-3)  # AdamW's first step
    after = optimizer.averaged()
    assert [tuple(after[name].shape) for name, _ in layers.named_parameters()] == [tuple(p.shape) for p in before]


def test_lora_learns_on_the_steps_that_the_pipeline_takes(network, rng):
    """The noisy tokens of each of its steps are those of `sample_euler` from the same start, an image being kept."""
    drawn, upsampled, noise = (torch.randn(1, 5, 128, generator=rng) for _ in range(3))
    sound, sound_noise = (torch.randn(1, 34, 128, generator=rng) for _ in range(2))
    contexts = Contexts(torch.randn(1, 128, 64, generator=rng), torch.randn(1, 128, 32, generator=rng))
    ropes = network.ropes(geometry(32), 128, torch.device("cpu"))
    model, seen = network.transformer.requires_grad_(False), []

    def run(video: ModalityInput, audio: ModalityInput) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append((video.tokens, audio.tokens))
        return model(video, audio, [GuidancePass("cond", contexts.video, contexts.audio)])[0]

    state = video_state(geometry(32), initial=unpatchify_video(upsampled, geometry(32)), dtype=torch.float32)
    state.clean[:, :1] = drawn[:, :1]
    state.denoise_mask[:, :1] = 0.0
    sounds = audio_state(geometry(32), dtype=torch.float32)
    sounds.latent[:], sounds.clean[:] = sound, sound
    start = AVState(geometry(32), noised(state, noise, STAGE_TWO[0]), noised(sounds, sound_noise, STAGE_TWO[0]))
    expected = []

    def spy(video, audio, passes, run_blocks=None):
        expected.append((video.tokens, audio.tokens))
        return model(video, audio, passes)

    spy.params, spy.rope_tables = model.params, model.rope_tables
    sample_euler(guided_denoiser(spy, start, OFF, contexts), start, torch.tensor(STAGE_TWO))

    empty, made_anew = torch.zeros(1), [torch.ones(1, tokens, dtype=torch.bool) for tokens in (5, 34)]
    made_anew[0][:, :1] = False
    batch = LoraBatch(upsampled, drawn, sound, noise, sound_noise, *made_anew, torch.zeros(1), empty, empty)
    with torch.no_grad():
        distillation_loss(run, batch, ropes)
    assert len(seen) == len(expected) == 3
    for own, other in zip(seen, expected, strict=True):
        torch.testing.assert_close(own[0], other[0], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(own[1], other[1], rtol=1e-3, atol=1e-4)


def test_modulation_that_learns_alone_keeps_its_gradient(monkeypatch, rng):
    """Under a LoRA the text context needs no gradient, what it is modulated by does: no fused kernel then."""
    monkeypatch.setattr("ltx_duo.ltx_core.kernels.norm.can_fuse", lambda x: not x.requires_grad)
    shift, scale = (torch.randn(2, 8, generator=rng, requires_grad=True) for _ in range(2))
    norm = Norm(TokenVector(shift, Runs((3,))), TokenVector(scale, Runs((3,))))
    modulate(torch.randn(2, 3, 8, generator=rng), norm).tensor.square().sum().backward()
    assert shift.grad.abs().min() > 0 and scale.grad.abs().min() > 0


def test_runs_are_left_to_the_plain_functions(monkeypatch, rng):
    """Where only the blocks learn, as under a LoRA, what enters the first of them needs no gradient."""
    x, update, *values = (torch.randn(shape, generator=rng) for shape in ((2, 3, 8), (2, 3, 8), (2, 8), (2, 8)))
    shift, scale = (TokenVector(each, Runs((3,))) for each in values)
    norm = Norm(shift, scale)

    def results() -> list[torch.Tensor]:
        total, normed = residual_norm(x, update, None, (norm,), 1e-6)
        added = [residual(x, update, shift), residual(torch.cat((x, x)), update, shift)]
        return [
            modulated_norm(x, norm, 1e-6).tensor,
            modulate(x, norm).tensor,
            total,
            *(n.tensor for n in normed),
            *added,
        ]

    plain = results()
    monkeypatch.setattr("ltx_duo.ltx_core.kernels.norm.can_fuse", lambda x: True)
    assert all(map(torch.equal, results(), plain))


def test_lora_lowers_the_loss_of_a_batch_and_leaves_the_weights(network, rng):
    student = AVTransformer(network.transformer.params, attention=attention, ops=LoraOps)
    student.load_state_dict(network.transformer.state_dict(), strict=False)
    begin(student, rng)
    optimizer = FlatAdamW(student, dtype=torch.float32)
    contexts = [torch.randn(1, 128, width, generator=rng) for width in (64, 32)]
    ropes = network.ropes(geometry(32), 128, torch.device("cpu"))
    video = [torch.randn(2, 5, 128, generator=rng) for _ in range(3)]
    sound = [torch.randn(2, 34, 128, generator=rng) for _ in range(2)]
    empty, made_anew = torch.zeros(1), [torch.ones(2, tokens, dtype=torch.bool) for tokens in (5, 34)]
    made_anew[0][0, :1] = False
    batch = LoraBatch(video[0], video[1], sound[0], video[2], sound[1], *made_anew, torch.zeros(2), empty, empty)

    def run(*inputs: ModalityInput) -> tuple[torch.Tensor, torch.Tensor]:
        return student(*inputs, [GuidancePass("cond", *contexts)])[0]

    losses = []
    for _ in range(12):
        loss = sum(distillation_loss(run, batch, ropes))
        loss.backward()
        optimizer.step(torch.tensor(0.01))
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
    after = student.state_dict()
    assert all(torch.equal(after[name], value) for name, value in network.transformer.state_dict().items())


def test_scenes_that_are_alike_fit_the_same_captions():
    generator = random.Random(0)
    for _ in range(50):
        scene = draw_scene(generator)
        other = alike(scene, generator)
        told = ("shape", "colour", "background", "motion", "size")
        assert all(getattr(scene, name) == getattr(other, name) for name in told)
        assert (scene.x, scene.y, scene.angle) != (other.x, other.y, other.angle)


def test_a_batch_is_refilled_where_it_lies(data, rng):
    one, other = (draw_batch(data, Kind(32, 2, 2, 128), 0.0, rng) for _ in range(2))
    places = {name: value.data_ptr() for name, value in vars(one).items()}
    assert not torch.equal(one.video, other.video)
    refill(one, other)
    for name, value in vars(other).items():
        assert torch.equal(getattr(one, name), value)
        assert getattr(one, name).data_ptr() == places[name] != value.data_ptr()
