"""How much memory the activations of each component need: what a memory manager must keep free beside the weights.

Every estimate counts the largest tensors that are alive at the same moment, in copies of one size.  The numbers of
copies are in `COPIES` and nowhere else; `benchmarks/memory.py` measures them on a GPU.  All results are bytes.
"""

from dataclasses import dataclass
from math import prod

from ..audio_vae.params import DOWNSAMPLE_FACTOR, AudioVAEParams
from ..sampling.geometry import AUDIO_BINS, AUDIO_CHANNELS, VIDEO_CHANNELS, LatentGeometry, SoundGeometry
from ..text.gemma4_params import Gemma4Params
from ..text.gemma_params import GemmaParams
from ..transformer.params import TransformerParams
from ..upsampler.params import UpsamplerParams
from ..video_vae.params import PIXEL_CHANNELS, SPATIAL_FACTOR, TEMPORAL_FACTOR, Resample, VideoVAEParams
from .graphs import MOST_TOKENS

# Text contexts are filled up to this length.
TEXT_TOKENS = 1024
# Values of a convolution's kernel for each pair of channels, in three dimensions and in two.
KERNEL, FLAT_KERNEL = 27, 9


@dataclass(frozen=True)
class Copies:
    """How many copies live at once, measured with fused kernels; each in units of the tensor that its comment names."""

    fixed: int = 8 * 2**20  # bytes: small tensors
    # Of one row's stream (tokens x width): the stream itself, text query, two norms and the update for audio-video
    # attention, the network's input.
    block: float = 6.05
    # Of the same: the hidden layer, four times as wide, once, and with float8 weights its float8 rows too; a chunk's
    # share of it when chunked, with the result beside it.
    hidden: float = 5.05
    hidden_fp8: float = 8.0
    result: float = 1.0
    # Of the same, while it attends: stream, norm, query twice, keys, values, heads, gated heads.
    attention: float = 7.0
    # Of one row's text (tokens x both widths) beside the network: modulated contexts.
    text: float = 0.5
    # Of a prompt's text (tokens x the picture's width) while the picture attends to it: as it is, modulated, keys,
    # values.
    text_attention: float = 4.0
    # Of a VAE level: a residual block's input, its convolution's input with padding, between, and output.
    residual_block: float = 5.0
    encoder_block: float = 4.0
    # Of the largest convolution's kernel, which libraries rearrange: what small tiles and images need most.
    kernel: float = 1.0
    encoder_kernel: float = 1.3
    # Of what an enlarging convolution makes: the convolution's output and its rearranged copy; and of its input.
    enlarged: float = 2.1
    before_enlarging: float = 2.2
    # Of what a reducing convolution takes: its input, padded input, output and the channel means.
    reduced: float = 4.2
    # Of a frame of pixels: decoded values, rearranged, and the float32 ones on their way to the CPU.
    pixels: float = 4.0
    # Of the frames of the tiles in time that are at work, in float32: those, and the part that waits for the next.
    blended: float = 1.65
    # Of the upsampler's widest layer after enlarging.
    upsampler: float = 4.9
    # Of a token's hidden state, in one layer of the language model.
    language_layer: float = 7.0
    # Of the audio encoder's first level: a residual block's input, its norm, the convolution's padded input and output.
    heard: float = 6.0
    # Values of float32 per sample of sound at the vocoder's rate.
    sound: float = 198.0
    # Of the diffusion decoder's features, in its stages before the last two; and of its context, in those two: the
    # context, the tokens, query, key and value with their rotated copies, and the parts that are attended to at once.
    # Counted in its tensors on the meta device, not measured on a GPU.
    diffusion_features: float = 2.2
    diffusion_context: float = 12.2


COPIES = Copies()


def transformer(
    params: TransformerParams,
    geometry: LatentGeometry,
    rows: int,
    extra_frames: int = 0,
    itemsize: int = 2,
    chunks: int = 1,
    fp8: bool = False,
    copies: Copies = COPIES,
    extra_audio: int = 0,
    biased: bool = False,
) -> float:
    """`rows` guidance passes at once over a stage's tokens; each image that is no first frame adds a frame of tokens.

    `chunks` as in `splitting.Pieces`; `fp8`: with float8 weights; `extra_audio`: tokens behind those of the sound;
    `biased`: with a bias of the picture's self-attention, which a recorded graph has a copy of.
    """
    c = copies
    tokens = geometry.video_tokens + extra_frames * geometry.frame_tokens
    audio = (geometry.audio_frames + extra_audio) * params.audio.width
    bias = tokens**2 * (2 if tokens <= MOST_TOKENS else 1) if biased else 0
    peak = _stream_peak(tokens, params.video.width, params.video.width + params.audio.width, rows, chunks, fp8, c)
    return c.fixed + (peak + rows * audio * c.block + bias) * itemsize


def sound_transformer(
    params: TransformerParams,
    geometry: SoundGeometry,
    rows: int,
    extra: int = 0,
    itemsize: int = 2,
    chunks: int = 1,
    fp8: bool = False,
    copies: Copies = COPIES,
) -> float:
    """As `transformer`, of a sound without a picture: its stream takes what the picture's would, with `extra` tokens
    behind its own."""
    width = params.audio.width
    peak = _stream_peak(geometry.audio_frames + extra, width, width, rows, chunks, fp8, copies)
    return copies.fixed + peak * itemsize


def _stream_peak(tokens: int, width: int, text_widths: int, rows: int, chunks: int, fp8: bool, copies: Copies) -> float:
    """Values of the larger stream and of its text, at their most; `text_widths`: of all streams together."""
    c, stream = copies, tokens * width
    hidden = c.hidden_fp8 if fp8 else c.hidden
    network = c.block + (hidden if chunks == 1 else hidden / chunks + c.result)
    # Passes have no more than two prompts.
    return max(
        rows * (stream * network + TEXT_TOKENS * text_widths * c.text),
        rows * stream * c.attention + min(rows, 2) * TEXT_TOKENS * width * c.text_attention,
    )


def sampling_state(geometry: LatentGeometry, extra_frames: int = 0, itemsize: int = 2) -> float:
    """What a stage holds whatever the model: noisy tokens, clean ones and the prediction; masks, positions, timesteps
    and places in the rotary tables, 64 bytes a token."""
    video = geometry.video_tokens + extra_frames * geometry.frame_tokens
    values = video * VIDEO_CHANNELS + geometry.audio_frames * AUDIO_CHANNELS * AUDIO_BINS
    return 3 * values * itemsize + 64 * (video + geometry.audio_frames)


def text_encoder(params: GemmaParams | Gemma4Params, tokens: int, itemsize: int = 2, copies: Copies = COPIES) -> float:
    """A prompt of `tokens`: all hidden states, one flattened copy of them, and a layer at work."""
    states = 2 * (params.layers + 1)
    return tokens * params.hidden_size * (states + copies.language_layer) * itemsize


def video_decoder(
    params: VideoVAEParams, frames: int, height: int, width: int, itemsize: int = 2, copies: Copies = COPIES
) -> float:
    """Decoding `frames` x `height` x `width` pixels in one piece."""
    c = copies
    cells = [(frames - 1) // TEMPORAL_FACTOR + 1, -(-height // SPATIAL_FACTOR), -(-width // SPATIAL_FACTOR)]
    channels = params.decoder_bottleneck_channels
    peak = 0.0
    kernel = KERNEL * channels**2
    for block in params.decoder_blocks:
        size = _volume(cells) * channels
        if isinstance(block, Resample):
            kernel = max(kernel, KERNEL * channels**2 * prod(block.stride) / block.multiplier)
            channels //= block.multiplier
            cells = [
                cell * step - (step - 1 if axis == 0 else 0)
                for axis, (cell, step) in enumerate(zip(cells, block.stride, strict=True))
            ]
            # With a residual the input is enlarged as well, and both are added.
            made = (2 if block.residual else 1) * c.enlarged
            peak = max(peak, size * c.before_enlarging + _volume(cells) * channels * made)
        else:
            peak = max(peak, size * c.residual_block)
    last = _volume(cells) * channels * 2
    peak = max(peak, kernel * c.kernel)
    return c.fixed + max(peak, last + frames * height * width * PIXEL_CHANNELS * c.pixels) * itemsize


def tiled_decoder(
    params: VideoVAEParams,
    size: tuple[int, int, int],
    tile: tuple[int, int, int],
    itemsize: int = 2,
    copies: Copies = COPIES,
) -> float:
    """Decoding `size` (frames, height, width) in tiles of at most `tile` (see `tiling.largest_tile`): one tile, and
    whole frames of the current and of the finished tiles in time, in float32."""
    blended = min(copies.blended * tile[0], size[0]) * size[1] * size[2] * PIXEL_CHANNELS * 4
    return video_decoder(params, *tile, itemsize, copies) + blended


def video_encoder(
    params: VideoVAEParams, frames: int, height: int, width: int, itemsize: int = 2, copies: Copies = COPIES
) -> float:
    """Encoding `frames` x `height` x `width` pixels in one piece; an image is one frame."""
    c = copies
    cells = [frames, height // params.patch_size, width // params.patch_size]
    channels = params.encoder_base_channels
    kernel = 0
    # Frames that causal convolutions repeat in front count for a single image.
    peak = (_volume(cells) * PIXEL_CHANNELS * params.patch_size**2 + _padded(cells) * channels) * 2.0
    for block in params.encoder_blocks:
        size = _padded(cells) * channels
        if isinstance(block, Resample):
            peak = max(peak, size * c.reduced)
            channels *= block.multiplier
            cells = [-(-cell // step) for cell, step in zip(cells, block.stride, strict=True)]
        else:
            peak = max(peak, size * c.encoder_block)
            kernel = max(kernel, KERNEL * channels**2)
    return c.fixed + max(peak, kernel * c.encoder_kernel) * itemsize


def upsampler(
    params: UpsamplerParams, frames: int, height: int, width: int, itemsize: int = 2, copies: Copies = COPIES
) -> float:
    """Enlarging a latent to `frames` x `height` x `width` cells."""
    kernel = FLAT_KERNEL * 4 * params.mid_channels**2 * copies.kernel
    return copies.fixed + (params.mid_channels * frames * height * width * copies.upsampler + kernel) * itemsize


def audio_encoder(params: AudioVAEParams, latents: int, copies: Copies = COPIES) -> float:
    """Encoding sound to so many latents in float32: its first level, as wide in time and pitch as the spectrogram."""
    cells = latents * DOWNSAMPLE_FACTOR * params.mel_bins
    return copies.fixed + cells * params.base_channels * max(params.channel_multipliers[0], 1) * copies.heard * 4


def audio_decoder(latents: int, copies: Copies = COPIES) -> float:
    """Mel decoder and vocoder in float32, 1920 samples at 48 kHz for each of the audio latents."""
    return copies.fixed + latents * 1920 * copies.sound * 4


def _volume(cells: list[int]) -> int:
    frames, height, width = cells
    return frames * height * width


def _padded(cells: list[int]) -> float:
    """As `_volume`, with half of the two frames that a convolution puts in front."""
    frames, height, width = cells
    return (frames + 1) * height * width
