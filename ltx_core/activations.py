"""How much memory the activations of each component need: what a memory manager must keep free beside the weights.

Every estimate counts the largest tensors that are alive at the same moment, in copies of one size.  The numbers of
copies are in `COPIES` and nowhere else; `benchmarks/memory.py` measures them on a GPU.  All results are bytes.
"""

from dataclasses import dataclass

from .sampling.geometry import LatentGeometry
from .text.gemma_params import GemmaParams
from .transformer.params import TransformerParams
from .upsampler.params import UpsamplerParams
from .video_vae.params import PIXEL_CHANNELS, SPATIAL_FACTOR, TEMPORAL_FACTOR, Resample, VideoVAEParams


@dataclass(frozen=True)
class Copies:
    """How many copies live at once, measured with fused kernels; each in units of the tensor that its comment names."""

    fixed: int = 96 * 2**20  # bytes: workspaces of libraries, small tensors
    # Of one row's stream (tokens x width): the stream itself, text query, two norms and the update for audio-video
    # attention, the network's input.
    block: float = 6.0
    # Of the same: the hidden layer, four times as wide, once, and with float8 weights its float8 rows too; a chunk's
    # share of it when chunked, with the result beside it.
    hidden: float = 5.2
    hidden_fp8: float = 8.3
    result: float = 1.0
    # Of the same, while it attends: stream, norm, query twice, keys, values, heads, gated heads.
    attention: float = 8.0
    # Of a VAE level: a residual block's input, its convolution's input with padding, between, and output.
    residual_block: float = 5.0
    # Of what an enlarging convolution makes: the convolution's output and its rearranged copy; and of its input.
    enlarged: float = 2.1
    before_enlarging: float = 2.2
    # Of what a reducing convolution takes: its input, padded input, output and the channel means.
    reduced: float = 4.2
    # Of a frame of pixels: decoded values, rearranged, and the float32 ones on their way to the CPU.
    pixels: float = 4.0
    # Of the frames of the tiles in time that are at work, in float32: those, and the part that waits for the next.
    blended: float = 1.35
    # Of the upsampler's widest layer after enlarging.
    upsampler: float = 3.5
    # Of a token's hidden state, in one layer of the language model.
    language_layer: float = 20.0
    # Values of float32 per sample of sound at the vocoder's rate.
    sound: float = 200.0


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
) -> float:
    """`rows` guidance passes at once over a stage's tokens; each image that is no first frame adds a frame of tokens.

    `chunks` as in `transformer.chunks`; `fp8`: with float8 weights.
    """
    c = copies
    hidden = c.hidden_fp8 if fp8 else c.hidden
    video = (geometry.video_tokens + extra_frames * geometry.frame_tokens) * params.video.width
    audio = geometry.audio_frames * params.audio.width
    network = c.block + (hidden if chunks == 1 else hidden / chunks + c.result)
    peak = max(network, c.attention)
    return c.fixed + rows * (video * peak + audio * c.block) * itemsize


def text_encoder(params: GemmaParams, tokens: int, itemsize: int = 2, copies: Copies = COPIES) -> float:
    """A prompt of `tokens`: all hidden states, one flattened copy of them, and a layer at work."""
    states = 2 * (params.layers + 1)
    return copies.fixed + tokens * params.hidden_size * (states + copies.language_layer) * itemsize


def video_decoder(
    params: VideoVAEParams, frames: int, height: int, width: int, itemsize: int = 2, copies: Copies = COPIES
) -> float:
    """Decoding `frames` x `height` x `width` pixels in one piece."""
    c = copies
    cells = [(frames - 1) // TEMPORAL_FACTOR + 1, -(-height // SPATIAL_FACTOR), -(-width // SPATIAL_FACTOR)]
    channels = params.decoder_bottleneck_channels
    peak = 0.0
    for block in params.decoder_blocks:
        size = _volume(cells) * channels
        if isinstance(block, Resample):
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
    blended = copies.blended * tile[0] * size[1] * size[2] * PIXEL_CHANNELS * 4
    return video_decoder(params, *tile, itemsize, copies) + blended


def video_encoder(
    params: VideoVAEParams, frames: int, height: int, width: int, itemsize: int = 2, copies: Copies = COPIES
) -> float:
    """Encoding `frames` x `height` x `width` pixels in one piece; an image is one frame."""
    c = copies
    cells = [frames, height // params.patch_size, width // params.patch_size]
    channels = params.encoder_base_channels
    # Frames that causal convolutions repeat in front count for a single image.
    peak = (_volume(cells) * PIXEL_CHANNELS * params.patch_size**2 + _padded(cells) * channels) * 2.0
    for block in params.encoder_blocks:
        size = _padded(cells) * channels
        if isinstance(block, Resample):
            peak = max(peak, size * c.reduced)
            channels *= block.multiplier
            cells = [-(-cell // step) for cell, step in zip(cells, block.stride, strict=True)]
        else:
            peak = max(peak, size * c.residual_block)
    return c.fixed + peak * itemsize


def upsampler(
    params: UpsamplerParams, frames: int, height: int, width: int, itemsize: int = 2, copies: Copies = COPIES
) -> float:
    """Enlarging a latent to `frames` x `height` x `width` cells."""
    return copies.fixed + params.mid_channels * frames * height * width * copies.upsampler * itemsize


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
