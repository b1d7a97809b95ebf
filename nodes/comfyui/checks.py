"""Checks of constant node inputs, before anything runs."""

from collections.abc import Sequence

from ...ltx_core.errors import GeometryError
from ...ltx_core.sampling.geometry import check_two_stage
from ...ltx_core.usable import Use
from ..names import SAME_FILE
from ..validation import Wrong
from . import open_files

# What the engine calls the sizes of tiles, and what the node does.
_TILE_WIDGETS = {
    "spatial_tile": "tile_size",
    "spatial_overlap": "tile_overlap",
    "temporal_tile": "tile_frames",
    "temporal_overlap": "tile_frame_overlap",
}

# Stand-ins for inputs that are linked, and so unknown until the node runs.
_ANY = {"width": 64, "height": 64, "frames": 25, "fps": 24.0}
REQUEST = tuple(_ANY)  # in the order of check_request


def check_request(width: int | None, height: int | None, frames: int | None, fps: float | None) -> None:
    """GeometryError unless the final size is a multiple of 64, frames 8n+1 and fps positive; None counts as good."""
    given = {"width": width, "height": height, "frames": frames, "fps": fps}
    check_two_stage(**{name: _ANY[name] if value is None else value for name, value in given.items()})


def custom_tiling(tile_size: int, tile_overlap: int, tile_frames: int, tile_frame_overlap: int):
    """The engine's Tiling of custom values; GeometryError for values that do not go together."""
    from ...ltx_core.video_vae.tiling import Tiling

    try:
        return Tiling(tile_size, tile_overlap, tile_frames, tile_frame_overlap)
    except GeometryError as error:
        message = str(error)
        for engine_name, widget in _TILE_WIDGETS.items():
            message = message.replace(engine_name, widget)
        raise GeometryError(message) from error


def find_wrong_tiles(wrong: Wrong, *sizes: int | None) -> None:
    """Adds what is wrong with custom tiles, in the order of `custom_tiling`; None is not known yet."""
    usual = (768, 64, 80, 24)
    for axis in (slice(0, 2), slice(2, 4)):
        asked = [*usual]
        asked[axis] = sizes[axis]
        if None in asked:
            continue
        try:
            custom_tiling(*asked)
        except GeometryError as error:
            wrong.add(str(error).split()[0], str(error))  # the message begins with the widget


def find_wrong_model_files(
    wrong: Wrong, checkpoint: str | None, folders: Sequence[str], connectors: str | None, its_folders: Sequence[str]
) -> None:
    """Adds what is wrong with the model's file or the connectors'; None is not known yet."""
    if connectors is None:
        wrong.attempt("checkpoint", open_files.check_file, checkpoint, folders, Use.TRANSFORMER)
    elif connectors == SAME_FILE:
        if wrong.attempt("checkpoint", open_files.check_file, checkpoint, folders, Use.TRANSFORMER):
            wrong.attempt("connectors", open_files.check_file, checkpoint, folders, Use.MODEL)
    elif not wrong.attempt("checkpoint", open_files.check_file, checkpoint, folders, Use.TRANSFORMER) or not checkpoint:
        wrong.attempt("connectors", open_files.check_opens, connectors, its_folders)
    else:
        wrong.attempt("connectors", open_files.check_connectors, checkpoint, folders, connectors, its_folders)


def find_wrong_vae_files(wrong: Wrong, checkpoint: str | None, audio_file: str | None, folders: Sequence[str]) -> None:
    """Adds what is wrong with the file of the video VAE or with that of the sound; None is not known yet."""
    other = None if audio_file == SAME_FILE else audio_file
    if not wrong.attempt("checkpoint", open_files.check_video, checkpoint, folders):
        wrong.attempt("audio_file", open_files.check_opens, other, folders)
    elif checkpoint is not None and audio_file is not None:
        wrong.attempt("audio_file", open_files.check_sound, checkpoint, other, folders)


def find_wrong_text_files(
    wrong: Wrong, text_encoder: str | None, folders: Sequence[str], projection: str | None, its_folders: Sequence[str]
) -> None:
    """Adds what is wrong with Gemma's file or the text projection's; None is not known yet."""
    good = wrong.attempt("text_encoder", open_files.check_file, text_encoder, folders, Use.TEXT_ENCODER)
    good &= wrong.attempt("projection", open_files.check_file, projection, its_folders, Use.PROJECTION)
    if good and text_encoder is not None and projection is not None:
        wrong.attempt("text_encoder", open_files.check_text, text_encoder, folders, projection, its_folders)
