"""The whole-run bars can fail: mistakes that are easily made, planted in our side, move a final result beyond its bar.

Each plant is one wrong formula, made by exchanging weights, settings or one function.  All are compared with the same
run of the vendor: an image, another one appended, four guidance passes, both stages, the sound of stage one; those
about a sound that is given with that run to a sound, those about a film with a retake of it, those about references
with a run of the IC-LoRA pipeline.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
from torch import Tensor, nn

from ltx_duo.ltx_core import two_stage
from ltx_duo.ltx_core.sampling import denoiser, stage
from ltx_duo.ltx_core.sampling.conditions import GivenFilm
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.sampling.schedule import ltx2_sigmas
from ltx_duo.ltx_core.sampling.state import AVState, ModalityState
from ltx_duo.ltx_core.transformer import block
from ltx_duo.tests.parity.whole_run import our_pipeline
from ltx_duo.tests.parity.whole_run.planting import Run, times_the_bar
from ltx_duo.tests.parity.whole_run.reference_mistakes import REFERENCE_PLANTS
from ltx_duo.tests.parity.whole_run.scene import bar, errors

MADE = "two-stage", "image and keyframe"
GIVEN = "sound-given", "sound, image and keyframe"
RETAKEN = "retake", "film"
REFERRED = "IC-LoRA", "two references, weaker attention"
SOUND_KEPT = "distilled retake", "film, new picture"
KEYFRAMES = "keyframes", "image and keyframe"
HQ = "HQ", "image and keyframe"
ONE_STAGE = "one stage", "image and keyframe"


def swap_rows(tables: list[Tensor], linears: list[nn.Linear], first: int, second: int) -> None:
    """Exchanges two rows of modulation: in the blocks' tables and in what the timestep gives."""
    for table in tables:
        table.data[[first, second]] = table.data[[second, first]]
    for linear in linears:
        width = linear.in_features
        for tensor in (linear.weight.data, linear.bias.data):
            rows = tensor.unflatten(0, (-1, width))
            rows[[first, second]] = rows[[second, first]]


def modulation_rows_swapped(run: Run) -> None:
    """Self-attention's shift is taken for its scale."""
    model = run.spoil("transformer")
    swap_rows([b.scale_shift_table for b in model.transformer_blocks], [model.adaln_single.linear], 0, 1)


def cross_rows_swapped(run: Run) -> None:
    """Audio-video attention's rows read as shift, scale, the order of all others."""
    model = run.spoil("transformer")
    tables = [b.scale_shift_table_a2v_ca_video for b in model.transformer_blocks]
    swap_rows(tables, [model.av_ca_video_scale_shift_adaln_single.linear], 0, 1)


def rescale_dropped(run: Run) -> None:
    def drop(request: two_stage.Request) -> two_stage.Request:
        video, audio = (replace(m, rescale=0.0) for m in (request.guidance.video, request.guidance.audio))
        return replace(request, guidance=replace(request.guidance, video=video, audio=audio))

    run.settings["change_request"] = drop


def video_to_audio_sees_the_updated_video(run: Run) -> None:
    """The norm that video gives to audio is taken after audio was added to video."""
    model, attention = block.AVTransformerBlock, block.Attention
    forward, text_attention, attend = model.forward, model._text_attention, attention.forward
    seen = {}

    def forward_noted(self, video, audio, v, a, plan, *arrangement):
        seen.update(block=self, v=v, plan=plan, streams=[])
        return forward(self, video, audio, v, a, plan, *arrangement)

    def text_attention_noted(self, *arguments):
        stream, norms = text_attention(self, *arguments)
        seen["streams"].append(stream)
        return stream, norms

    def attend_updated(self, x, context=None, **how):
        of = seen.get("block")
        if of is not None and self is of.video_to_audio_attn:
            table, v = of.scale_shift_table_a2v_ca_video, seen["v"]
            video, gate = block._take(seen["streams"][0], seen["plan"].joined), block._cross_gate(v, table)
            _, norm = block._cross_norms(v, table, of.audio_to_video_attn.to_q, self.to_k)
            _, (context,) = block.residual_norm(video, seen["to_video"], gate, (norm,), of.eps)
        result = attend(self, x, context, **how)
        if of is not None and self is of.audio_to_video_attn:
            seen["to_video"] = result
        return result

    run.patch.setattr(model, "forward", forward_noted)
    run.patch.setattr(model, "_text_attention", text_attention_noted)
    run.patch.setattr(attention, "forward", attend_updated)


def cross_timestep_of_the_other(run: Run) -> None:
    """Audio-video attention is modulated by the other modality's sigma: the vendor's 1.0, no longer its rule."""
    run.settings["cross_timestep"] = "other"


def perturbed_block_off_by_one(run: Run) -> None:
    def move(request: two_stage.Request) -> two_stage.Request:
        blocks = tuple(number + 1 for number in request.guidance.stg_blocks)
        return replace(request, guidance=replace(request.guidance, stg_blocks=blocks))

    run.settings["change_request"] = move


def negative_sound_is_the_positive(run: Run) -> None:
    """The negative pass keeps the prompt's context for audio."""
    connect = two_stage.connect

    def connect_once(*arguments):
        contexts = connect(*arguments)
        return replace(contexts, negative_audio=contexts.audio)

    run.patch.setattr(two_stage, "connect", connect_once)


def stage_two_sound_without_noise(run: Run) -> None:
    add_noise = stage.add_noise

    def add_noise_to_video(state: AVState, generator, scales, dtype=None, reporter=None) -> AVState:
        noised = add_noise(state, generator, scales, dtype)
        return noised if scales[0] == 1 else AVState(state.geometry, noised.video, state.audio)

    run.patch.setattr(stage, "add_noise", add_noise_to_video)


def sound_drawn_before_video(run: Run) -> None:
    add_noise = stage.add_noise

    def add_noise_reversed(state: AVState, generator, scales, dtype=None, reporter=None) -> AVState:
        audio = add_noise(AVState(state.geometry, state.audio, None), generator, scales[1:], dtype).video
        video = add_noise(AVState(state.geometry, state.video, None), generator, scales[:1], dtype).video
        return AVState(state.geometry, video, audio)

    run.patch.setattr(stage, "add_noise", add_noise_reversed)


def mean_taken_for_deviation(run: Run) -> None:
    """The video decoder reads one statistic for the other."""
    statistics = run.spoil("video_decoder").per_channel_statistics
    mean, deviation = (statistics.get_buffer(f"{name}-of-means") for name in ("mean", "std"))
    mean.data, deviation.data = deviation.data, mean.data


def audio_statistics_bin_first(run: Run) -> None:
    """The sound's statistics read as bin * 8 + channel."""
    statistics = run.spoil("audio_decoder").per_channel_statistics
    for name in ("mean", "std"):
        buffer = statistics.get_buffer(f"{name}-of-means")
        buffer.data = buffer.data.view(16, 8).T.flatten()


def upsampled_while_normalised(run: Run) -> None:
    """The upsampler takes the transformer's latent as it is."""

    def upsample(upsampler, _vae, latent, _reporter):
        return two_stage.AVLatent(upsampler(latent.video), latent.audio)

    run.patch.setattr(two_stage, "upsample", upsample)


def keyframe_lasts_eight_frames(run: Run) -> None:
    """An appended image covers the time of a whole latent frame."""
    positions = LatentGeometry.keyframe_positions

    def long_positions(self, frame, device=None):
        bounds = positions(self, frame, device)
        bounds[:, 0, :, 1] = bounds[:, 0, :, 0] + 8 / self.fps
        return bounds

    run.patch.setattr(LatentGeometry, "keyframe_positions", long_positions)


def states_in_layer_order(run: Run) -> None:
    """The text projection's inputs flattened layer by layer instead of channel by channel."""
    extractor = run.spoil("text_encoder").feature_extractor
    for linear in (extractor.video_aggregate_embed, extractor.audio_aggregate_embed):
        states = extractor.params.states
        linear.weight.data = linear.weight.data.unflatten(1, (states, -1)).transpose(1, 2).flatten(1)


def last_state_without_norm(run: Run) -> None:
    """Gemma's last hidden state left as its last layer gives it."""
    run.spoil("text_encoder").gemma.norm = nn.Identity()


def given_sound_refined_in_stage_two(run: Run) -> None:
    """Stage two noises and denoises it, as it does with a sound that stage one made."""
    preset = two_stage.stage_two
    run.patch.setattr(two_stage, "stage_two", lambda *arguments, audio, **rest: preset(*arguments, **rest))


def given_sound_with_noise(run: Run) -> None:
    """Kept by its mask, but as the noise was laid over it."""
    freeze, keeping = stage.frozen, two_stage._keeping

    def keeping_noised(*arguments) -> stage.Start:
        start = keeping(*arguments)
        return replace(start, noise_scale=1.0) if start.frozen else start

    run.patch.setattr(stage, "frozen", lambda state: replace(freeze(state), latent=state.latent))
    run.patch.setattr(two_stage, "_keeping", keeping_noised)


def given_sound_at_the_stages_sigma(run: Run) -> None:
    """Its tokens have the timestep 0, but gates and text modulation read noise."""
    run.settings["given_sigma"] = "the stage's"


def given_sound_late(run: Run) -> None:
    """By a tenth of a second."""

    def move(request: two_stage.Request) -> two_stage.Request:
        return replace(request, sound=replace(request.sound, start=request.sound.start - 0.1))

    run.settings["change_request"] = move


def given_sound_has_the_negative_prompt(run: Run) -> None:
    guide = denoiser.for_made_streams
    run.patch.setattr(denoiser, "for_made_streams", lambda g, c, **given: (guide(g, c, **given)[0], c))


def given_sound_is_perturbed(run: Run) -> None:
    """STG bypasses its self-attention too."""
    needed = denoiser.passes

    def perturb_both(*arguments, **settings):
        made = needed(*arguments, **settings)
        return [replace(own, perturbed_audio_blocks=own.perturbed_video_blocks) for own in made]

    run.patch.setattr(denoiser, "passes", perturb_both)


def retake_one_latent_frame_late(run: Run) -> None:
    mask = GivenFilm.video_mask
    run.patch.setattr(GivenFilm, "video_mask", lambda *arguments: mask(*arguments).roll(1, dims=1))


def retake_of_what_was_to_stay(run: Run) -> None:
    """Masks of the sound that say what is kept, as ComfyUI's say what is made."""
    mask = GivenFilm.audio_mask
    run.patch.setattr(GivenFilm, "audio_mask", lambda *arguments: 1 - mask(*arguments))


def retake_of_what_touches_the_window(run: Run) -> None:
    def inside(self, bounds: Tensor) -> Tensor:
        ((start, end),) = self.windows
        return (bounds[..., 1] >= start) & (bounds[..., 0] <= end)

    run.patch.setattr(GivenFilm, "_inside", inside)


def kept_tokens_read_as_noise(run: Run) -> None:
    """They go back to the film after every step, but the model is told the stage's sigma of them."""
    run.patch.setattr(
        ModalityState, "timesteps", lambda self, sigma: sigma.view(-1, 1).expand(self.latent.shape[:2]).float()
    )


def kept_sound_begins_as_noise(run: Run) -> None:
    """The vendor's defect since 1.1."""
    given_sound_with_noise(run)


def first_keyframe_in_place(run: Run) -> None:
    def place(request: two_stage.Request) -> two_stage.Request:
        return replace(request, images=[replace(image, keyframe=False) for image in request.images])

    run.settings["change_request"] = place


def keyframe_in_stage_one_alone(run: Run) -> None:
    encode = two_stage.encode_images

    def encode_small(encoder, images, geometry, *rest, **placement):
        return encode(encoder, [i for i in images if geometry.width < 128 or i.frame], geometry, *rest, **placement)

    run.patch.setattr(two_stage, "encode_images", encode_small)


def schedule_of_any_size(run: Run) -> None:
    """The schedule that standard pipelines have, whatever the size, where the HQ pipeline counts tokens."""

    def fix(request: two_stage.Request) -> two_stage.Request:
        return replace(request, stage_one_sigmas=ltx2_sigmas(len(request.stage_one_sigmas) - 1))

    run.settings["change_request"] = fix


def schedule_of_its_size(run: Run) -> None:
    """The schedule that the HQ pipeline has, where one stage alone has that of any size."""

    def fit(request: two_stage.Request) -> two_stage.Request:
        steps = len(request.stage_one_sigmas) - 1
        return replace(request, stage_one_sigmas=ltx2_sigmas(steps, request.geometry.video_tokens))

    run.settings["change_request"] = fit


RECIPE_PLANTS: dict[Callable[[Run], None], tuple[str, str]] = {
    first_keyframe_in_place: KEYFRAMES,
    keyframe_in_stage_one_alone: KEYFRAMES,
    schedule_of_any_size: HQ,
    schedule_of_its_size: ONE_STAGE,
}
FILM_PLANTS: tuple[Callable[[Run], None], ...] = (
    retake_one_latent_frame_late,
    retake_of_what_was_to_stay,
    retake_of_what_touches_the_window,
    kept_tokens_read_as_noise,
)
SOUND_PLANTS: tuple[Callable[[Run], None], ...] = (
    given_sound_refined_in_stage_two,
    given_sound_with_noise,
    given_sound_at_the_stages_sigma,
    given_sound_late,
    given_sound_has_the_negative_prompt,
    given_sound_is_perturbed,
)
PLANTS: tuple[Callable[[Run], None], ...] = (
    modulation_rows_swapped,
    cross_rows_swapped,
    rescale_dropped,
    video_to_audio_sees_the_updated_video,
    cross_timestep_of_the_other,
    perturbed_block_off_by_one,
    negative_sound_is_the_positive,
    stage_two_sound_without_noise,
    sound_drawn_before_video,
    mean_taken_for_deviation,
    audio_statistics_bin_first,
    upsampled_while_normalised,
    keyframe_lasts_eight_frames,
    states_in_layer_order,
    last_state_without_norm,
)


RUNS = {
    **dict.fromkeys(PLANTS, MADE),
    **dict.fromkeys(SOUND_PLANTS, GIVEN),
    **dict.fromkeys(FILM_PLANTS, RETAKEN),
    **dict.fromkeys(REFERENCE_PLANTS, REFERRED),
    kept_sound_begins_as_noise: SOUND_KEPT,
    **RECIPE_PLANTS,
}


@pytest.fixture
def compare(small_model, scenes, vendor_trace, components, monkeypatch) -> Callable[..., dict[str, float]]:
    def compare(plant: Callable[[Run], None], name: str, scene: str) -> dict[str, float]:
        run = Run(components, monkeypatch)
        plant(run)
        # Two pipelines decode stage two's sound.
        run.settings["stage_one_sound"] = name not in ("keyframes", "IC-LoRA")
        ours = our_pipeline.run(run.components, small_model, scenes[scene], name, **run.settings)
        return errors(ours, vendor_trace(name, scene, True))

    return compare


@pytest.mark.parametrize("plant", RUNS, ids=lambda plant: plant.__name__)
def test_mistake_is_seen(plant, compare, parity):
    found = compare(plant, *RUNS[plant])
    times = times_the_bar(found)
    parity.add_mistake(plant.__name__.replace("_", " "), times)
    assert times > 1, {name: f"{error:.1e}" for name, error in found.items()}


@pytest.mark.parametrize(
    "run", [MADE, GIVEN, RETAKEN, REFERRED, SOUND_KEPT, KEYFRAMES, HQ, ONE_STAGE], ids=lambda run: run[0]
)
def test_without_a_mistake_all_is_well(run, compare):
    found = compare(lambda run: None, *run)
    assert all(error <= bar(name) for name, error in found.items()), found
