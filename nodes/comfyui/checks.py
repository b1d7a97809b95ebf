"""Checks of constant node inputs, before anything runs."""

from ...ltx_core.errors import GeometryError
from ...ltx_core.sampling.geometry import check_two_stage

# What the engine calls the sizes of tiles, and what the node does.
_TILE_WIDGETS = {
    "spatial_tile": "tile_size",
    "spatial_overlap": "tile_overlap",
    "temporal_tile": "tile_frames",
    "temporal_overlap": "tile_frame_overlap",
}

# Stand-ins for inputs that are linked, and so unknown until the node runs.
_ANY = {"width": 64, "height": 64, "frames": 25, "fps": 24.0}


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
