"""How much memory the activations of each component need, so that ComfyUI can make room before it loads weights.

Rough upper bounds in bytes, from the largest tensors that are alive at the same time.
"""

from ...ltx_core.sampling.geometry import LatentGeometry
from ...ltx_core.text.gemma_params import GemmaParams
from ...ltx_core.transformer.params import TransformerParams

# How many copies of a token's vector live at once in a transformer block (the feed-forward network alone has eight).
COPIES = 25


def transformer(params: TransformerParams, geometry: LatentGeometry, passes: int, images: int, itemsize: int) -> float:
    """`passes` guidance passes at once over a stage's tokens; each later image adds a frame of tokens."""
    video = (geometry.video_tokens + images * geometry.frame_tokens) * params.video.width
    audio = geometry.audio_frames * params.audio.width
    return passes * (video + audio) * COPIES * itemsize


def text_encoder(params: GemmaParams, tokens: int, itemsize: int) -> float:
    """All hidden states, one flattened copy of them, and one layer at work."""
    return tokens * params.hidden_size * (2 * (params.layers + 1) + COPIES) * itemsize


def video_decoder(frames: int, height: int, width: int, itemsize: int) -> float:
    """Decoding `frames` x `height` x `width` pixels in one piece: 75 values a pixel, as ComfyUI counts for LTX."""
    return frames * height * width * 75 * itemsize


def video_encoder(height: int, width: int, itemsize: int) -> float:
    """Encoding one image."""
    return 7 * height * width * 80 * itemsize


def upsampler(mid_channels: int, latent_pixels: int, itemsize: int) -> float:
    """`latent_pixels` = frames x height x width of the result; about six copies of its widest layer."""
    return mid_channels * latent_pixels * 6 * itemsize


def audio_decoder(latents: int) -> float:
    """Mel decoder and vocoder in float32: 1920 samples a latent, some dozens of channels at the highest rate."""
    return latents * 1920 * 200 * 4
