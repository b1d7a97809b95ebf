"""A given film and its sound as what a stage keeps of them."""

import torch

from ...audio_vae.encoder import AudioEncoder
from ...progress import SILENT, Reporter
from ...video_vae.encoder import VideoEncoder
from ...video_vae.encoding_tiles import encode_tiled
from ...video_vae.params import PIXEL_CHANNELS
from ...video_vae.tiling import Tiling
from ..geometry import TEMPORAL_FACTOR, VIDEO_CHANNELS, LatentGeometry
from .film import GivenFilm
from .fitting import resize_and_crop
from .kept import Kept
from .sound import encode_sound, silence


@torch.no_grad()
def encode_film(
    encoder: VideoEncoder,
    film: GivenFilm,
    geometry: LatentGeometry,
    *,
    dtype: torch.dtype,
    device: torch.device | str | None = None,
    tiling: Tiling | None = None,
    reporter: Reporter = SILENT,
) -> Kept:
    """Fits the film to a stage's size, encodes it there, whole without `tiling`, and says what of it stays.

    Every stage encodes its own: in stage two the clean latent is the full-size encode, not the enlarged one.  Frames
    are not compressed first, as images are (the vendor's retake).  What is added to the film has zeros, which nothing
    reads.
    """
    film.check(geometry.frames, geometry.fps)
    pixels = torch.empty(1, PIXEL_CHANNELS, film.used, geometry.height, geometry.width, dtype=dtype)
    for number in range(film.used):
        reporter.check_cancel()
        frame = film.frames[film.source(film.before + number)]
        pixels[:, :, number] = resize_and_crop(frame, geometry.width, geometry.height, reporter)[:, :, 0]
    encoded = encode_tiled(encoder, pixels, tiling, device, reporter)
    latent = encoded.new_zeros(1, VIDEO_CHANNELS, *geometry.video_shape[1:])
    first = film.before // TEMPORAL_FACTOR
    latent[:, :, first : first + encoded.shape[2]] = encoded
    return Kept(latent, film.video_mask(geometry).to(latent.device))


def encode_film_sound(
    encoder: AudioEncoder,
    film: GivenFilm,
    geometry: LatentGeometry,
    *,
    dtype: torch.dtype,
    device: torch.device | str | None = None,
    reporter: Reporter = SILENT,
) -> Kept | None:
    """The film's sound and what of it stays; None for a silent film that is to get a sound.  Both stages take it."""
    sound = film.placed_sound()
    if sound is None:
        if film.new_sound:
            return None
        sound = silence(encoder.params.sampling_rate)
    latent = encode_sound(encoder, sound, geometry, dtype=dtype, device=device, reporter=reporter)
    return Kept(latent, film.audio_mask(geometry).to(latent.device))
