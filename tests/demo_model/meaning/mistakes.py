"""Mistakes that are easily made, each by exchanging weights, settings or one function."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ltx_duo.ltx_core import two_stage
from ltx_duo.ltx_core.sampling import denoiser
from ltx_duo.ltx_core.sampling.conditions import images
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.sampling.schedule import STAGE_TWO, ltx2_sigmas

from .plants import BOUNCING_FIRST, STAR_FIRST, Run, plant
from .studio import FPS, STEPS


def _blocks(run: Run, order: list[int]) -> None:
    model = run.spoil("transformer")
    model.transformer_blocks = torch.nn.ModuleList(model.transformer_blocks[number] for number in order)


def _count(run: Run) -> int:
    return run.setup.components.transformer.params.num_layers


def _statistics(run: Run, component: str) -> tuple[Tensor, Tensor]:
    """Mean and deviation of a copy, to be changed in place."""
    statistics = run.spoil(component).per_channel_statistics
    return statistics.get_buffer("mean-of-means"), statistics.get_buffer("std-of-means")


def _drop_statistics(run: Run, component: str) -> None:
    mean, deviation = _statistics(run, component)
    mean.zero_()
    deviation.fill_(1)


@plant(phases=0)
def transformer_untrained(run: Run) -> None:
    generator = torch.Generator().manual_seed(0)
    for weight in run.spoil("transformer").parameters():
        if weight.ndim == 2:
            weight.data = torch.randn(weight.shape, generator=generator) * weight.shape[1] ** -0.5


@plant(phases=0)
def blocks_reversed(run: Run) -> None:
    _blocks(run, list(reversed(range(_count(run)))))


@plant(phases=0)
def first_and_last_block_exchanged(run: Run) -> None:
    last = _count(run) - 1
    _blocks(run, [last, *range(1, last), 0])


@plant(phases=0)
def two_neighbouring_blocks_exchanged(run: Run) -> None:
    order = list(range(_count(run)))
    middle = len(order) // 2
    order[middle - 1], order[middle] = order[middle], order[middle - 1]
    _blocks(run, order)


@plant(phases=0)
def one_block_left_out(run: Run) -> None:
    """Nothing is added to either stream."""
    for name, weight in run.spoil("transformer").transformer_blocks[_count(run) // 2].named_parameters():
        if ".to_out." in name or ".net.2." in name:
            weight.data.zero_()


@plant(phases=0)
def velocity_with_the_wrong_sign(run: Run) -> None:
    def x0(modality, velocity):
        return modality.tokens + velocity * modality.timesteps[..., None]

    run.patch.setattr(denoiser, "_x0", x0)


@plant(phases=0)
def velocity_taken_for_the_clean_latent(run: Run) -> None:
    run.patch.setattr(denoiser, "_x0", lambda modality, velocity: velocity)


@plant(phases=0)
def timesteps_from_0_to_1(run: Run) -> None:
    model = run.spoil("transformer")
    model.params = replace(model.params, timestep_scale=1.0)


@plant(phases=0)
def modulation_rows_exchanged(run: Run) -> None:
    """Self-attention's shift is taken for its scale."""
    model = run.spoil("transformer")
    linear = model.adaln_single.linear
    width = linear.in_features
    rows = [block.scale_shift_table.data for block in model.transformer_blocks]
    rows += [tensor.data.unflatten(0, (-1, width)) for tensor in (linear.weight, linear.bias)]
    for row in rows:
        row[[0, 1]] = row[[1, 0]]


def _positions(run: Run, name: str, change) -> None:
    original = getattr(LatentGeometry, name)
    run.patch.setattr(LatentGeometry, name, lambda self, device=None: change(original(self, device).clone()))


@plant(phases=0)
def time_in_frames_not_seconds(run: Run) -> None:
    def change(bounds: Tensor) -> Tensor:
        bounds[:, 0] *= FPS
        return bounds

    _positions(run, "video_positions", change)


@plant(phases=0)
def picture_at_twice_the_frame_rate(run: Run) -> None:
    def change(bounds: Tensor) -> Tensor:
        bounds[:, 0] /= 2
        return bounds

    _positions(run, "video_positions", change)


@plant(phases=0)
def rows_and_columns_exchanged(run: Run) -> None:
    _positions(run, "video_positions", lambda bounds: bounds[:, [0, 2, 1]])


@plant(phases=0)
def places_in_latents_not_pixels(run: Run) -> None:
    def change(bounds: Tensor) -> Tensor:
        bounds[:, 1:] /= 32
        return bounds

    _positions(run, "video_positions", change)


@plant(phases=0, takes=BOUNCING_FIRST)
def sound_half_a_second_late(run: Run) -> None:
    _positions(run, "audio_positions", lambda bounds: bounds + 0.5)


@plant(phases=0)
def text_states_in_layer_order(run: Run) -> None:
    """The text projection's inputs flattened layer by layer instead of channel by channel."""
    extractor = run.spoil("text_encoder").feature_extractor
    for linear in (extractor.video_aggregate_embed, extractor.audio_aggregate_embed):
        weight = linear.weight.data.unflatten(1, (-1, extractor.params.states))
        linear.weight.data = weight.transpose(1, 2).flatten(1)


@plant(phases=0)
def text_states_from_the_last_to_the_first(run: Run) -> None:
    extractor = run.spoil("text_encoder").feature_extractor
    for linear in (extractor.video_aggregate_embed, extractor.audio_aggregate_embed):
        weight = linear.weight.data.unflatten(1, (-1, extractor.params.states))
        linear.weight.data = weight.flip(2).flatten(1)


@plant(phases=0)
def prompt_and_negative_prompt_exchanged(run: Run) -> None:
    run.change(lambda r: replace(r, prompt=r.negative_prompt, negative_prompt=r.prompt))


@plant(phases=0)
def guided_towards_the_negative_prompt(run: Run) -> None:
    def change(request: two_stage.Request) -> two_stage.Request:
        video, audio = (replace(m, cfg=2 - m.cfg) for m in (request.guidance.video, request.guidance.audio))
        return replace(request, guidance=replace(request.guidance, video=video, audio=audio))

    run.change(change)


@plant(phases=0, takes=BOUNCING_FIRST)
def picture_and_sound_never_meet(run: Run) -> None:
    passes = denoiser.passes
    run.patch.setattr(denoiser, "passes", lambda *a, **o: [replace(p, isolated=True) for p in passes(*a, **o)])


@plant(phases=0)
def lora_left_on_in_stage_one(run: Run) -> None:
    run.lora(1.0, 1.0)


@plant(phases=0)
def image_in_0_to_1(run: Run) -> None:
    fit = images.fitted
    run.patch.setattr(images, "fitted", lambda *arguments: (fit(*arguments) + 1) / 2)


@plant(phases=0)
def image_mask_the_wrong_way_round(run: Run) -> None:
    run.change(lambda r: replace(r, images=tuple(replace(i, strength=1 - i.strength) for i in r.images)))


@plant(phases=0)
def encoder_without_statistics(run: Run) -> None:
    _drop_statistics(run, "video_encoder")


@plant(phases=0)
def stage_one_sigmas_halved(run: Run) -> None:
    """The model is told, and steps by, half of the noise that is there."""
    run.change(lambda r: replace(r, stage_one_sigmas=r.stage_one_sigmas / 2))


@plant(phases=0)
def stage_one_without_its_last_two_steps(run: Run) -> None:
    run.change(lambda r: replace(r, stage_one_sigmas=r.stage_one_sigmas[:-2]))


@plant(phases=0, takes=BOUNCING_FIRST)
def stage_one_with_stage_two_sigmas(run: Run) -> None:
    run.change(lambda r: replace(r, stage_one_sigmas=torch.tensor(STAGE_TWO)))


@plant(phases=1, takes=BOUNCING_FIRST)
def stage_two_with_stage_one_sigmas(run: Run) -> None:
    run.change(lambda r: replace(r, stage_two_sigmas=ltx2_sigmas(STEPS)))


@plant(phases=1)
def stage_two_without_its_last_step(run: Run) -> None:
    run.change(lambda r: replace(r, stage_two_sigmas=torch.tensor(STAGE_TWO[:-1])))


def _start_stage_two(run: Run, **changes) -> None:
    """Both streams of stage two begin otherwise."""
    stage_two = two_stage.stage_two

    def change(*arguments, **options):
        stage = stage_two(*arguments, **options)
        return replace(stage, video=replace(stage.video, **changes), audio=replace(stage.audio, **changes))

    run.patch.setattr(two_stage, "stage_two", change)


@plant(phases=1, takes=BOUNCING_FIRST)
def stage_two_from_pure_noise(run: Run) -> None:
    """As much noise as in stage one, with stage two's sigmas."""
    _start_stage_two(run, noise_scale=1.0)


@plant(phases=1)
def stage_two_without_noise(run: Run) -> None:
    _start_stage_two(run, noise_scale=0.0)


@plant(phases=1, takes=BOUNCING_FIRST)
def stage_two_without_the_upsampled_latent(run: Run) -> None:
    stage_two = two_stage.stage_two

    def start_empty(*arguments, **options):
        stage = stage_two(*arguments, **options)
        return replace(stage, video=replace(stage.video, latent=torch.zeros_like(stage.video.latent)))

    run.patch.setattr(two_stage, "stage_two", start_empty)


@plant(phases=1)
def stage_two_without_the_image(run: Run) -> None:
    run.patch.setattr(two_stage, "encode_images", lambda *arguments, **options: ())


@plant(phases=1, takes=STAR_FIRST)
def lora_twice_as_strong(run: Run) -> None:
    run.lora(0.0, 2.0)


@plant(phases=1, takes=BOUNCING_FIRST)
def enlarged_without_the_upsampler(run: Run) -> None:
    def upsample(_upsampler, _vae, latent, *_reporter):
        return two_stage.AVLatent(interpolate(latent.video, scale_factor=(1, 2, 2)), latent.audio)

    run.patch.setattr(two_stage, "upsample", upsample)


@plant(phases=2)
def decoder_without_statistics(run: Run) -> None:
    _drop_statistics(run, "video_decoder")


@plant(phases=2)
def mean_taken_for_deviation(run: Run) -> None:
    mean, deviation = _statistics(run, "video_decoder")
    kept = mean.clone()
    mean.copy_(deviation)
    deviation.copy_(kept)


@plant(phases=2)
def latent_frames_in_reverse(run: Run) -> None:
    decode = two_stage.decode_video
    run.patch.setattr(two_stage, "decode_video", lambda d, latent, *rest: decode(d, latent.flip(2), *rest))


@plant(phases=2)
def frames_blue_first(run: Run) -> None:
    decode = two_stage.decode_video
    run.patch.setattr(two_stage, "decode_video", lambda *arguments: decode(*arguments).flip(-1))


@plant(phases=2, takes=BOUNCING_FIRST)
def sound_without_statistics(run: Run) -> None:
    _drop_statistics(run, "audio_decoder")


@plant(phases=2, takes=BOUNCING_FIRST)
def sound_statistics_bin_first(run: Run) -> None:
    """Read as bin * 8 + channel."""
    for table in _statistics(run, "audio_decoder"):
        table.copy_(table.clone().view(16, 8).T.flatten())


def _other_sound(run: Run, change) -> None:
    decode = two_stage.decode_audio
    run.patch.setattr(two_stage, "decode_audio", lambda d, v, latent, *rest: decode(d, v, change(latent), *rest))


@plant(phases=2, takes=BOUNCING_FIRST)
def sound_from_an_empty_latent(run: Run) -> None:
    _other_sound(run, torch.zeros_like)


@plant(phases=2, takes=BOUNCING_FIRST)
def sound_from_noise(run: Run) -> None:
    _other_sound(run, lambda latent: torch.randn(latent.shape, generator=torch.Generator().manual_seed(0)))


@plant(phases=2, takes=BOUNCING_FIRST)
def sound_bins_first(run: Run) -> None:
    """Tokens unpacked as 16 bins of 8 channels."""
    _other_sound(run, lambda latent: latent.permute(0, 2, 1, 3).reshape(1, -1, 16, 8).permute(0, 3, 1, 2))


@plant(phases=2, takes=BOUNCING_FIRST)
def sound_in_reverse(run: Run) -> None:
    _other_sound(run, lambda latent: latent.flip(2))


@plant(phases=2, takes=BOUNCING_FIRST)
def sound_a_fifth_of_a_second_late(run: Run) -> None:
    _other_sound(run, lambda latent: latent.roll(5, dims=2))


@plant(phases=2, takes=BOUNCING_FIRST)
def vocoder_at_16_khz(run: Run) -> None:
    """The waveform without bandwidth extension, taken for 48 kHz."""
    narrow = run.spoil("vocoder").vocoder
    narrow.output_sampling_rate = run.setup.components.vocoder.output_sampling_rate
    run.exchange("vocoder", narrow)
