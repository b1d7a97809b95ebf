"""From latents to video, frames and sound."""

from comfy_api.latest import io, ui

from .declared import declared
from .names import DECODE
from .prompt_graph import PromptGraph
from .schema import CATEGORY, advanced, audio_vae_input, vae_input
from .validation import Wrong, validation


def _tile_input(name: str, default: int, low: int, step: int, tooltip: str) -> io.Input:
    text = tooltip + " Used with tiling 'custom'."
    return advanced(io.Int.Input(name, default=default, min=low, max=8192, step=step, tooltip=text))


class AVDecode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=DECODE,
            display_name="LTX Audio-Video Decode",
            category=CATEGORY,
            description="Decodes picture and sound. The frame rate comes with the latent. Plays the video itself when "
            "nothing is connected to its outputs.",
            is_output_node=True,
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
            inputs=[
                io.Latent.Input("latent", tooltip="The latent from LTX Stage Two Sampler, or of any stage."),
                vae_input("decodes picture and sound"),
                io.Combo.Input(
                    "tiling",
                    options=["auto", "off", "custom"],
                    default="auto",
                    tooltip="auto: in one piece if memory allows, else in the vendor's tiles. off: always in one "
                    "piece. custom: the tiles below.",
                ),
                _tile_input("tile_size", 768, 64, 32, "Longest side of a tile in pixels."),
                _tile_input("tile_overlap", 64, 0, 32, "Overlap of tiles in pixels."),
                _tile_input("tile_frames", 80, 16, 8, "Frames in a tile."),
                _tile_input("tile_frame_overlap", 24, 0, 8, "Overlap of tiles in frames."),
                audio_vae_input(),
            ],
            outputs=[
                io.Video.Output(display_name="video", tooltip="Frames and sound together, for Save Video."),
                io.Image.Output(display_name="images", tooltip="The frames."),
                io.Audio.Output(display_name="audio", tooltip="The sound alone."),
            ],
        )

    @validation
    def validate_inputs(
        wrong: Wrong, tiling=None, tile_size=None, tile_overlap=None, tile_frames=None, tile_frame_overlap=None
    ):
        from .comfyui import checks

        if tiling == "custom":
            checks.find_wrong_tiles(wrong, tile_size, tile_overlap, tile_frames, tile_frame_overlap)

    @classmethod
    @declared
    def execute(
        cls,
        latent,
        vae,
        tiling: str,
        tile_size: int,
        tile_overlap: int,
        tile_frames: int,
        tile_frame_overlap: int,
        audio_vae=None,
    ) -> io.NodeOutput:
        from .comfyui import decoding, report

        told = report.NodeReport()
        tile = tile_size, tile_overlap, tile_frames, tile_frame_overlap
        video, images, audio = decoding.run_decode(latent, vae, audio_vae, tiling, tile, told)
        done = told.output(video, images, audio)
        player = None if cls._is_shown() else _player(video)
        if player is not None:
            done.ui = {**(done.ui or {}), **player.as_dict()}
        return done

    @classmethod
    def _is_shown(cls) -> bool:
        """Whether another node takes what is decoded, and will show it; so too where no workflow is around this."""
        if cls.hidden is None or cls.hidden.prompt is None:
            return True
        return PromptGraph(cls.hidden.prompt).is_used(str(cls.hidden.unique_id))


def _player(video) -> ui.PreviewVideo | None:
    from .comfyui import film_preview

    entry = film_preview.save(video)
    return None if entry is None else ui.PreviewVideo([entry])
